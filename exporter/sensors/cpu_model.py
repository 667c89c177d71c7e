"""What /proc/cpuinfo says of the CPU: its model, how many there are, and whether a hypervisor stands between.

Source: proc_cpuinfo(5); the ``hypervisor`` flag is CPUID leaf 1 ECX bit 31, reserved for guests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuFacts", "model_key", "read_cpu_facts"]

_TAIL = re.compile(r"\s(with|w/)\s.*|@.*|,.*")
_MARKS = re.compile(r"\((r|tm|c)\)|[®™©\u200b]")
_FILLERS = re.compile(
    r"\b(\d+(st|nd|rd|th)\s+gen|\d+-cores?|(dual|triple|quad|six|eight|twelve|sixteen)[- ]core|cpu|processors?"
    r"|coprocessor|apu|soc|intel|amd|x-series)(?=\s|$)"
)
_ARM_IMPLEMENTERS = {"0x41": "Arm", "0x4e": "NVIDIA", "0xc0": "Ampere", "0x48": "HiSilicon", "0x46": "Fujitsu"}
_FIELDS = {
    b"vendor_id": "vendor",
    b"cpu family": "family",
    b"model": "model",
    b"model name": "name",
    b"cpu cores": "cores",
    b"CPU implementer": "implementer",
    b"CPU part": "part",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFacts:
    """The CPU of this node, as the kernel describes it. Unknown texts are empty, unknown numbers 0.

    Attributes:
        model_name: the model in the kernel's words.
        vendor: ``GenuineIntel``, ``AuthenticAMD`` …
        family: CPU family number.
        model: CPU model number.
        packages: CPU packages, at least 1.
        threads: logical CPUs that are online, at least 1.
        cores_per_package: physical cores of one package.
        is_virtual: whether the CPU says that it belongs to a virtual machine.
        has_sgx: whether SGX is enabled, which makes the CPU blur its energy counters.
    """

    model_name: str = ""
    vendor: str = ""
    family: int = 0
    model: int = 0
    packages: int = 1
    threads: int = 1
    cores_per_package: int = 0
    is_virtual: bool = False
    has_sgx: bool = False


def read_cpu_facts(procfs: Path) -> CpuFacts:
    """Return what ``cpuinfo`` under ``procfs`` says; all unknown where it cannot be read. Reads line by line."""
    values: dict[str, str] = {}
    packages: set[bytes] = set()
    flags: frozenset[bytes] = frozenset()
    threads = 0
    try:
        with (procfs / "cpuinfo").open("rb") as lines:
            for line in lines:
                key, _, value = line.partition(b":")
                key = key.strip()
                if key == b"processor":
                    threads += 1
                elif key == b"physical id":
                    packages.add(value.strip())
                elif key == b"flags" and not flags:
                    flags = frozenset(value.split())
                elif key in _FIELDS and _FIELDS[key] not in values:
                    values[_FIELDS[key]] = value.decode("utf-8", "replace").strip()
    except OSError:
        return CpuFacts()
    return CpuFacts(
        model_name=values.get("name") or _arm_name(values),
        vendor=values.get("vendor", ""),
        family=_number(values.get("family")),
        model=_number(values.get("model")),
        packages=max(1, len(packages)),
        threads=max(1, threads),
        cores_per_package=_number(values.get("cores")),
        is_virtual=b"hypervisor" in flags,
        has_sgx=b"sgx" in flags,
    )


def model_key(model_name: str) -> str:
    """Return ``model_name`` reduced to what tells models apart, lower case: the key of the table of models.

    "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz" becomes "xeon gold 6248"; a name that only says "Xeon" or "EPYC", as
    clouds show it, becomes just that and is in no table.
    """
    text = _MARKS.sub("", model_name.lower())
    text = _TAIL.sub("", text)
    return " ".join(_FILLERS.sub(" ", text).split())


def _arm_name(values: dict[str, str]) -> str:
    """Arm kernels give numbers instead of a name: say who made it and which part it is."""
    if "implementer" not in values:
        return ""
    maker = _ARM_IMPLEMENTERS.get(values["implementer"], values["implementer"])
    return f"{maker} part {values.get('part', 'unknown')}"


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004
