"""Names of devices as device plugins and drivers of dynamic resources give them, in the form of ``GpuClaim.device``.

Sources: NVIDIA device plugin (UUIDs; ``::N`` for replicas of a shared device), the device plugin of Google's clusters
(``nvidia0/gi1/vgpu2``: device file, GPU instance, client), AMD device plugin (PCI address), NVIDIA's driver for dynamic
resources (``gpu-0``, by the number of the device file), Intel's (``0000-03-00-0-0x56c0``).
"""

from __future__ import annotations

import re

__all__ = ["claim_device", "claim_dynamic_device", "is_gpu_resource"]

_HEX = "[0-9a-fA-F]"
_UUID = f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"
_NVIDIA_UUID = re.compile(rf"((?:GPU|MIG)-{_UUID}|MIG-GPU-{_UUID}/[0-9]{{1,3}}/[0-9]{{1,3}})(?:::[0-9]{{1,6}})?")
_NVIDIA_FILE = re.compile(r"nvidia([0-9]{1,3})(?:/(gi[0-9]{1,3}))?(?:/vgpu[0-9]{1,6})?")
_PCI_ADDRESS = re.compile(rf"{_HEX}{{4,8}}:{_HEX}{{2}}:{_HEX}{{2}}\.[0-7]")
_DYNAMIC_NVIDIA = re.compile(r"gpu-([0-9]{1,3})")
_DYNAMIC_INTEL = re.compile(rf"({_HEX}{{4}})-({_HEX}{{2}})-({_HEX}{{2}})-([0-7])-0x{_HEX}{{4}}")
_UUID_WITHIN = re.compile(rf"(?:GPU|MIG)-{_UUID}")
_GPU_RESOURCE = re.compile(r"(?:nvidia|amd|intel|habana)\.[a-z]+/.*(?:gpu|mig-|gaudi|i915|xe)|gpu\.[a-z.]+/.*")
_NO_GPU = re.compile(r".*(?:monitoring|memory|millicores|tiles)")
_GPU_DRIVER = re.compile(r"gpu\..+")


def is_gpu_resource(resource: str) -> bool:
    """Return whether a resource, such as ``nvidia.com/gpu``, is GPUs or parts of GPUs."""
    return bool(_GPU_RESOURCE.match(resource)) and not _NO_GPU.match(resource)


def claim_device(device_id: str) -> str:
    """Return a plugin's device as ``GpuClaim`` names it, replicas of one device the same; empty if it tells none."""
    match = _NVIDIA_UUID.fullmatch(device_id)
    if match is not None:
        return match[1]
    match = _NVIDIA_FILE.fullmatch(device_id)
    if match is not None:
        instance = f"/{match[2]}" if match[2] else ""
        return f"minor:{int(match[1])}{instance}"
    return _pci(device_id) if _PCI_ADDRESS.fullmatch(device_id) else ""


def claim_dynamic_device(driver: str, device_name: str, cdi_names: tuple[str, ...]) -> str | None:
    """Return a claimed device as ``GpuClaim`` names it, empty if it tells none; None where it is no GPU."""
    if not _GPU_DRIVER.fullmatch(driver):
        return None
    told = next((match[0] for name in cdi_names if (match := _UUID_WITHIN.search(name)) is not None), "")
    if told:
        return told
    match = _DYNAMIC_NVIDIA.fullmatch(device_name)
    if match is not None and driver == "gpu.nvidia.com":
        return f"minor:{int(match[1])}"
    match = _DYNAMIC_INTEL.fullmatch(device_name)
    if match is not None and driver == "gpu.intel.com":
        return _pci(f"{match[1]}:{match[2]}:{match[3]}.{match[4]}")
    return claim_device(device_name)


def _pci(address: str) -> str:
    domain, _, rest = address.lower().partition(":")
    return f"pci:{int(domain, 16):04x}:{rest}"
