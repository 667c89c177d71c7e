"""What a driver says of GPUs, whatever the vendor: facts of a device, one reading of it, and what a driver must offer.

Vendor words, error codes and struct layouts stop at the driver modules (``nvml``, ``amdgpu``, ``intel``, ``gaudi``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from exporter.health import Finding

__all__ = ["GpuDriver", "GpuFacts", "GpuInstance", "GpuProcess", "GpuReading", "GpuScope", "Restricted"]

GpuScope = Literal["gpu", "module"]
"""gpu: the board or package of one GPU; module: a CPU, a GPU and their memory together (Grace Hopper)."""

Restricted = Literal["", "module", "vgpu_guest", "vgpu_host", "no_processes"]
"""Why a device's energy is not split among processes; empty if it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One GPU as a look at the driver found it; does not change until the next look.

    Attributes:
        source: the driver's fixed name: nvml, amdgpu, intel_gpu, gaudi, simulated.
        uuid: what identifies the board across restarts and changes of order; unique on the node.
        index: the driver's number of it, as users write it in CUDA_VISIBLE_DEVICES; may change at the next look.
        vendor: NVIDIA, AMD, Intel, Habana.
        model: the product's name, cleaned.
        minor: number of its device file (``/dev/nvidia3`` → 3), or None where it has none.
        pci_bus_id: ``0000:3b:00.0`` in lower case, or empty.
        scope: what its energy and power cover.
        restricted: why it is measured but not split among processes.
        is_partitioned: whether it is divided into instances (MIG) now.
        max_power_w: highest plausible mean power in watts, for the judgement of counters.
        notes: what people should know of it, a few words each.
    """

    source: str
    uuid: str
    index: int
    vendor: str
    model: str
    minor: int | None = None
    pci_bus_id: str = ""
    scope: GpuScope = "gpu"
    restricted: Restricted = ""
    is_partitioned: bool = False
    max_power_w: float = 2000.0
    notes: tuple[str, ...] = ()

    @property
    def feeds_component(self) -> bool:
        """Whether its joules are the component ``gpu``'s: a module's overlap the CPU's."""
        return self.scope == "gpu"


class GpuInstance(NamedTuple):
    """One partition (MIG compute instance) of a GPU.

    Attributes:
        name: ``gi1/ci0``; unique on its GPU, and what ``GpuProcess.instance`` refers to.
        uuid: its own UUID (``MIG-…``), or empty.
        profile: the maker's name of its size (``3g.40gb``), or empty.
        share: its slices over all slices of the GPU, 0–1.
        activity_ratio: how busy its multiprocessors were since the previous reading, 0–1, or None where the hardware
            does not tell.
    """

    name: str
    uuid: str
    profile: str
    share: float
    activity_ratio: float | None


class GpuProcess(NamedTuple):
    """A process with a context on the GPU.

    Attributes:
        pid: as the driver gives it to this agent; the host's, where this agent is in the host's PID namespace.
        memory_bytes: GPU memory it holds, or None where that is not told.
        instance: name of the partition it is on, or empty.
        is_mps_client: whether it reaches the GPU through an MPS server.
    """

    pid: int
    memory_bytes: int | None = None
    instance: str = ""
    is_mps_client: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """What one read of one GPU gave. None: the hardware does not tell; never a made-up value.

    Attributes:
        read_at_s: boot-clock time at which the energy was read.
        energy_uj: energy counter in microjoules since an unknown start, or None where there is none.
        power_w: power of the board now or over the last second, in watts, or None.
        cross_check_power_w: a second, independent power reading (a mean), to judge the counter by, or None.
        power_limit_w: limit in force in watts.
        utilization_ratio: share of time in which anything ran on it, 0–1.
        memory_used_bytes, memory_total_bytes: of its own memory.
        temperature_celsius: of its chip.
        processes: every process with a context; one entry per (pid, instance).
        has_processes: whether ``processes`` is the truth; False: the driver does not tell (who holds it is unknown).
        samples: how much of the GPU each pid used since the previous reading, in any unit that is common to them;
            pids without use are absent. May hold pids that have exited.
        has_samples: whether ``samples`` is the truth.
        is_mps: whether an MPS server serves this GPU now, so that ``samples`` cannot tell who used it.
        instances: its partitions now; empty if it has none.
    """

    read_at_s: float
    energy_uj: int | None = None
    power_w: float | None = None
    cross_check_power_w: float | None = None
    power_limit_w: float | None = None
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    processes: Sequence[GpuProcess] = ()
    has_processes: bool = False
    samples: Mapping[int, float] = field(default_factory=dict)
    has_samples: bool = False
    is_mps: bool = False
    instances: Sequence[GpuInstance] = ()


class GpuDriver(Protocol):
    """One vendor's driver. Any call may block for ever; no two calls about the same GPU run at once.

    ``look`` and ``release`` are called while no ``read`` runs, except for reads that hang.
    """

    source: str

    def look(self) -> Sequence[GpuFacts]:
        """Return every GPU, in the driver's order; opens the driver where it is not open.

        Raises:
            SourceUnsupportedError: this machine has no such driver or no such GPU; the message says which.
            DriverGoneError: the driver went away; ``release`` and look again later.
            DriverReplacedError: only a new process can talk to the driver.
            SourceError: it is there and fails.
        """
        ...

    def read(self, gpu: GpuFacts) -> GpuReading:
        """Return a reading of ``gpu``, which the last look found.

        Raises:
            DeviceLostError: this GPU fell off; the others go on.
            DriverGoneError, DriverReplacedError: as for ``look``.
            SourceError: this read failed; the next may work.
        """
        ...

    def findings(self, gpu: GpuFacts) -> Sequence[Finding]:
        """Return what is missing of ``gpu`` (a permission, a capability), one finding each, ``item`` filled."""
        ...

    def unusable(self) -> Sequence[Finding]:
        """Return the GPUs that the last look had to leave out, one finding each, ``item`` filled."""
        ...

    def release(self) -> None:
        """Close everything, so that the driver can be unloaded; ``look`` opens it again. Never raises."""
        ...
