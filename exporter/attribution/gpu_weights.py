"""How the active energy of a GPU is weighed: by samples of use where they can tell, else by what is declared or held.

Methods, in the order of how much they know: exclusive (one leaf, whatever its utilisation), time-sliced (sampled
ownership of the multiprocessors), MPS (declared thread share, else equal among busy clients: samples see one client at
a time), MIG (slices × activity, then exclusive or equal), the last samples known, equal, nobody.
Sources: the NVML reference on process utilisation; NVIDIA's MPS documentation, "Volta MPS execution resource
provisioning"; the method is DESIGN.md §3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from exporter.attribution.gpu_parts import Part, User
from exporter.attribution.gpu_records import GpuMemory, ProcessId, SplitMethod
from exporter.sensors.gpu.records import GpuReading

__all__ = ["PartWeights", "Weights", "part_weights", "user_weights"]


class PartWeights(NamedTuple):
    """Who used one part, in any common unit: known processes, leaves without a visible process, and unknown ones."""

    users: Mapping[User, float]
    leaves: Mapping[int, float]
    unknown: float


class Weights(NamedTuple):
    """Who used the GPU, part by part; ``fresh`` is what the driver said in this interval."""

    method: SplitMethod
    parts: Sequence[PartWeights]
    fresh: Mapping[ProcessId, float]


def part_weights(parts: Sequence[Part], reading: GpuReading | None) -> list[float]:
    """Return how active energy goes to the parts: slices × activity, or by slices among those that have users."""
    if reading is None or not any(part.is_partition for part in parts):
        return [part.share for part in parts]
    weights = [part.share * _activity(part) for part in parts]
    if sum(weights) > 0:
        return weights
    return [part.share if part.has_context or part.departed else 0.0 for part in parts]


def _activity(part: Part) -> float:
    if part.activity_ratio is not None:
        return part.activity_ratio
    return 1.0 if part.has_context or part.departed else 0.0


def user_weights(
    parts: Sequence[Part], reading: GpuReading | None, memory: GpuMemory, *, interval_s: float, carry_s: float
) -> Weights:
    """Return who used each part of a GPU."""
    if any(part.is_partition for part in parts):
        return Weights("mig", [_held_alike(part) for part in parts], {})
    part = parts[0]
    fresh, sampled_unknown = _fresh(part, reading, memory)
    present = [*part.users, *(user for user in part.departed if user.process in fresh)] or part.departed
    carried = memory.weights if memory.weights_age_s + interval_s <= carry_s else {}
    has_strangers = part.outsiders > 0 or sampled_unknown > 0
    if not present and not has_strangers:
        leaves = dict.fromkeys(part.allotted, 1.0)
        method: SplitMethod = "none" if not leaves else "exclusive" if len(leaves) == 1 else "equal"
        used = PartWeights({}, leaves, 0.0)
    elif len({user.leaf for user in present}) == 1 and not has_strangers:
        known = _of(present, fresh) or _of(present, carried) or dict.fromkeys(present, 1.0)
        method, used = "exclusive", PartWeights(known, {}, 0.0)
    elif reading is not None and reading.is_mps:
        method, used = _under_mps(part, present, fresh)
    elif fresh or sampled_unknown:
        method, used = "time_sliced", PartWeights(_of(present, fresh), {}, sampled_unknown)
    elif _of(present, carried):
        method, used = "carried", PartWeights(_of(present, carried), {}, 0.0)
    elif reading is not None and reading.has_samples:
        method, used = "none", PartWeights({}, {}, 0.0)
    else:
        method, used = "equal", _held_alike(part)
    return Weights(method, [used], fresh)


def _fresh(part: Part, reading: GpuReading | None, memory: GpuMemory) -> tuple[dict[ProcessId, float], float]:
    """Return what known processes used since the last reading, and what others did.

    Samples of a pid that passed to another process meanwhile may be either's: they count for nobody known.
    """
    samples = reading.samples if reading else {}
    before = {process.pid: process for process in memory.residents}
    fresh = {}
    for user in (*part.users, *part.departed):
        used = samples.get(user.process.pid, 0.0)
        if used > 0 and before.get(user.process.pid, user.process) == user.process:
            fresh[user.process] = used
    named = {process.pid for process in fresh} | part.servers
    return fresh, sum(value for pid, value in samples.items() if pid not in named and value > 0)


def _of(users: Collection[User], weights: Mapping[ProcessId, float]) -> dict[User, float]:
    return {user: weights[user.process] for user in users if weights.get(user.process, 0.0) > 0}


def _under_mps(
    part: Part, present: Sequence[User], fresh: Mapping[ProcessId, float]
) -> tuple[SplitMethod, PartWeights]:
    """Return the weights under MPS: declared thread shares, else equal, among the clients that were seen busy."""
    clients = [user for user in present if user.is_mps_client] or present
    clients = [user for user in clients if user.process in fresh] or clients
    declared = {user: user.mps_share_ratio for user in clients if user.mps_share_ratio is not None}
    if declared:
        weights = {user: declared.get(user, 1.0) for user in clients}  # 100 % is what a client has by default
        return "mps_declared", PartWeights(weights, {}, float(part.outsiders))
    return "mps_equal", PartWeights(dict.fromkeys(clients, 1.0), {}, float(part.outsiders))


def _held_alike(part: Part) -> PartWeights:
    """Return equal weights for the leaves on a part, and within each for its processes."""
    present = part.users or ([] if part.outsiders else part.departed)
    if not present and not part.outsiders:
        return PartWeights({}, dict.fromkeys(part.allotted, 1.0), 0.0)
    counts: dict[int, int] = {}
    for user in present:
        counts[user.leaf] = counts.get(user.leaf, 0) + 1
    return PartWeights({user: 1 / counts[user.leaf] for user in present}, {}, float(part.outsiders))
