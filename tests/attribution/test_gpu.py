"""The split of one GPU: conservation whatever happens, and each method's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution import BaselineSettings, Floor, Floors, GpuMemory, GpuShares, Reason, split_gpu
from exporter.attribution.gpu_records import ProcessId
from exporter.sensors.gpu.interval import GpuInterval
from exporter.sensors.gpu.records import GpuInstance
from exporter.workloads.records import GpuClaim, UsageSample
from tests.attribution.gpu_samples import gpu_usage, interval, intervals, process, reading, usages, user

NO_IDLE = BaselineSettings(gpu_idle_power_w=0.0)
LEARNED = GpuMemory(Floors(Floor(50.0, 1e4), Floor(80.0, 1e4)))


def split(
    gpu: GpuInterval,
    usage: UsageSample,
    memory: GpuMemory | None = None,
    settings: BaselineSettings = NO_IDLE,
) -> GpuShares:
    return split_gpu(gpu, usage, memory or GpuMemory(), settings)[0]


def everything(shares: GpuShares) -> list[float]:
    return [*shares.active_j.values(), *shares.idle_j.values(), *shares.unattributed_j.values()]


@given(ticks=st.lists(st.tuples(intervals(), usages()), max_size=6), idle_w=st.one_of(st.none(), st.floats(0, 500)))
def test_every_tick_adds_up_whatever_processes_and_samples_say(
    ticks: Sequence[tuple[GpuInterval, UsageSample]], idle_w: float | None
) -> None:
    """Σ active + Σ idle + unattributed = the counter's difference, within 1e-9, over any history."""
    memory = GpuMemory()
    settings = BaselineSettings(gpu_idle_power_w=idle_w)
    for gpu, usage in ticks:
        shares, memory = split_gpu(gpu, usage, memory, settings)

        parts = everything(shares)
        assert all(part >= 0 for part in parts)
        assert math.fsum(parts) == pytest.approx(gpu.energy_j or 0.0, rel=1e-9, abs=1e-12)


@given(gpu=intervals(), usage=usages())
def test_processes_are_never_charged_more_than_their_leaves(gpu: GpuInterval, usage: UsageSample) -> None:
    shares = split(gpu, usage, LEARNED, BaselineSettings())

    for leaf in range(4):
        active = math.fsum(a for owner, a, _ in shares.processes_j.values() if owner == leaf)
        idle = math.fsum(i for owner, _, i in shares.processes_j.values() if owner == leaf)
        assert active <= shares.active_j.get(leaf, 0.0) * (1 + 1e-9) + 1e-12
        assert idle <= shares.idle_j.get(leaf, 0.0) * (1 + 1e-9) + 1e-12


@given(gpu=intervals(), usage=usages())
def test_no_more_than_the_whole_gpu_is_held_and_unused_is_part_of_held(gpu: GpuInterval, usage: UsageSample) -> None:
    shares = split(gpu, usage, LEARNED, BaselineSettings())

    assert math.fsum(holding.share for holding in shares.holdings.values()) <= 1 + 1e-9
    assert all(holding.unused_share <= holding.share + 1e-12 for holding in shares.holdings.values())
    assert all(h.unused_j <= shares.idle_j.get(leaf, 0.0) + 1e-9 for leaf, h in shares.holdings.items())


def test_one_process_gets_all_of_the_active_energy_also_at_zero_utilisation() -> None:
    gpu = interval(reading(process(7), utilization_ratio=0.0))

    shares = split(gpu, gpu_usage({7: user(2)}))

    assert shares.method == "exclusive"
    assert shares.active_j == {2: pytest.approx(1000.0)}


def test_processes_of_one_leaf_share_it_by_their_samples() -> None:
    gpu = interval(reading(process(7), process(8), samples={7: 30.0, 8: 10.0}))

    shares = split(gpu, gpu_usage({7: user(1), 8: user(1)}))

    assert shares.method == "exclusive"
    assert shares.processes_j[ProcessId(7, 1)] == pytest.approx((1, 750.0, 0.0))


def test_two_leaves_share_by_fresh_samples() -> None:
    gpu = interval(reading(process(7), process(8), samples={7: 30.0, 8: 10.0}))

    shares = split(gpu, gpu_usage({7: user(0), 8: user(1)}))

    assert shares.method == "time_sliced"
    assert shares.active_j == {0: pytest.approx(750.0), 1: pytest.approx(250.0)}


def test_without_fresh_samples_the_last_known_ones_stand_in_for_a_while() -> None:
    users = gpu_usage({7: user(0), 8: user(1)})
    known = interval(reading(process(7), process(8), samples={7: 30.0, 8: 10.0}))
    silent = interval(reading(process(7), process(8)))

    _, memory = split_gpu(known, users, GpuMemory(), NO_IDLE)
    methods = []
    for _ in range(8):
        shares, memory = split_gpu(silent, users, memory, NO_IDLE)
        methods.append(shares.method)

    assert methods == ["carried"] * 6 + ["none"] * 2


def test_what_nobody_can_be_found_for_stays_unattributed() -> None:
    shares = split(interval(reading(process(7), process(8))), gpu_usage({7: user(0), 8: user(1)}))

    assert shares.unattributed_j == {Reason.UNKNOWN: pytest.approx(1000.0)}


def test_a_pid_that_nobody_knows_keeps_its_part_from_the_others() -> None:
    gpu = interval(reading(process(7), process(9), samples={7: 10.0, 9: 10.0}))

    shares = split(gpu, gpu_usage({7: user(0)}))

    assert shares.active_j == {0: pytest.approx(500.0)}
    assert shares.unattributed_j == {Reason.UNKNOWN: pytest.approx(500.0)}


def test_a_process_that_exited_between_ticks_is_charged_by_its_last_samples() -> None:
    gpu = interval(reading(process(8), samples={7: 30.0, 8: 10.0}), before=[7])

    shares = split(gpu, gpu_usage({7: user(0, is_alive=False), 8: user(1)}))

    assert shares.active_j == {0: pytest.approx(750.0), 1: pytest.approx(250.0)}


def test_samples_of_a_reused_pid_are_nobodys() -> None:
    """The pid was another process's a tick ago: its samples may be either's, so the newcomer does not inherit them."""
    users = gpu_usage({7: user(0, start_ticks=1), 8: user(1)})
    _, memory = split_gpu(interval(reading(process(7), process(8), samples={7: 1.0})), users, GpuMemory(), NO_IDLE)
    reused = gpu_usage({7: user(2, start_ticks=99), 8: user(1)})

    shares = split(interval(reading(process(7), process(8), samples={7: 30.0, 8: 10.0})), reused, memory)

    assert shares.active_j == {1: pytest.approx(250.0)}
    assert shares.unattributed_j == {Reason.UNKNOWN: pytest.approx(750.0)}


def test_the_mps_server_is_charged_nothing_and_its_busy_clients_share_equally() -> None:
    clients = [process(pid, is_mps_client=True) for pid in (7, 8, 9)]
    gpu = interval(reading(process(5), *clients, samples={5: 80.0, 7: 10.0, 8: 30.0}, is_mps=True))
    users = {5: user(3, command="nvidia-cuda-mps"), 7: user(0), 8: user(1), 9: user(2)}

    shares = split(gpu, gpu_usage(users))

    assert shares.method == "mps_equal"
    assert shares.active_j == {0: pytest.approx(500.0), 1: pytest.approx(500.0)}


def test_mps_clients_share_by_the_threads_they_declared() -> None:
    clients = [process(pid, is_mps_client=True) for pid in (7, 8)]
    gpu = interval(reading(*clients, is_mps=True))

    shares = split(gpu, gpu_usage({7: user(0, share=0.25), 8: user(1, share=0.75)}))

    assert shares.method == "mps_declared"
    assert shares.active_j == {0: pytest.approx(250.0), 1: pytest.approx(750.0)}


def mig(*instances: tuple[int, float | None]) -> list[GpuInstance]:
    return [GpuInstance(f"gi{i}/ci0", f"MIG-{i}", "", size / 7, ratio) for i, (size, ratio) in enumerate(instances)]


def test_mig_splits_by_slices_times_activity() -> None:
    parts = mig((3, 0.5), (4, 0.25))
    gpu = interval(reading(process(7, instance="gi0/ci0"), process(8, instance="gi1/ci0"), instances=parts))

    shares = split(gpu, gpu_usage({7: user(0), 8: user(1)}))

    assert shares.method == "mig"
    assert shares.active_j == {0: pytest.approx(600.0), 1: pytest.approx(400.0)}


def test_mig_without_activity_splits_by_the_slices_that_have_processes() -> None:
    parts = mig((1, None), (2, None), (4, None))
    gpu = interval(reading(process(7, instance="gi0/ci0"), process(8, instance="gi1/ci0"), instances=parts))

    shares = split(gpu, gpu_usage({7: user(0), 8: user(1)}))

    assert shares.active_j == {0: pytest.approx(1000 / 3), 1: pytest.approx(2000 / 3)}


def test_idle_energy_of_slices_nobody_holds_stays_unattributed() -> None:
    parts = mig(
        (3, 0.0),
    )
    gpu = interval(reading(process(7, instance="gi0/ci0"), instances=parts), energy_j=700.0)

    shares = split(gpu, gpu_usage({7: user(0)}), settings=BaselineSettings(gpu_idle_power_w=140.0))

    assert shares.idle_j == {0: pytest.approx(300.0)}
    assert shares.unattributed_j == {Reason.IDLE: pytest.approx(400.0)}


def test_a_held_idle_gpu_is_charged_to_its_holder_as_idle_and_as_unused() -> None:
    gpu = interval(reading(process(7), utilization_ratio=0.0), energy_j=400.0)

    shares = split(gpu, gpu_usage({7: user(1)}), LEARNED, BaselineSettings())

    assert shares.idle_j == {1: pytest.approx(400.0)}
    assert shares.is_idle
    assert shares.holdings[1] == pytest.approx((1.0, 1.0, 400.0))


@pytest.mark.parametrize("device", ["minor:0", "index:0", "GPU-1"])
def test_an_allotted_gpu_without_any_process_is_its_holders(device: str) -> None:
    gpu = interval(reading(utilization_ratio=0.0), energy_j=250.0)

    shares = split(gpu, gpu_usage(claims=[GpuClaim(3, device)]), LEARNED, BaselineSettings())

    assert shares.idle_j == {3: pytest.approx(250.0)}
    assert shares.holdings[3].unused_j == pytest.approx(250.0)


def test_a_guest_on_an_allotted_gpu_pays_for_its_context_and_the_holder_for_the_floor() -> None:
    gpu = interval(reading(process(7), utilization_ratio=0.0), energy_j=400.0)

    shares = split(gpu, gpu_usage({7: user(0)}, [GpuClaim(3, "GPU-1")]), LEARNED, BaselineSettings())

    assert shares.idle_j == {3: pytest.approx(250.0), 0: pytest.approx(150.0)}


def test_a_gpu_nobody_holds_leaves_its_idle_energy_unattributed() -> None:
    shares = split(interval(reading(utilization_ratio=0.0), energy_j=250.0), gpu_usage(), LEARNED, BaselineSettings())

    assert shares.unattributed_j == {Reason.IDLE: pytest.approx(250.0)}


def test_until_it_is_learned_the_linear_power_model_tells_the_idle_power() -> None:
    busy = interval(reading(process(7), samples={7: 1.0}, utilization_ratio=1.0))
    quiet = interval(reading(process(7), utilization_ratio=0.0))
    settings = BaselineSettings(gpu_full_to_idle_ratio=8.0)

    shares = [split(gpu, gpu_usage({7: user(0)}), settings=settings) for gpu in (busy, quiet)]

    assert [one.idle_j[0] for one in shares] == [pytest.approx(125.0), pytest.approx(1000.0)]
    assert all(one.baseline.origin == "prior" for one in shares)


@pytest.mark.parametrize("restricted", ["module", "vgpu_host", "vgpu_guest"])
def test_what_is_only_measured_as_a_whole_is_charged_to_nobody(restricted: str) -> None:
    gpu = interval(reading(process(7), samples={7: 1.0}), restricted=restricted)  # type: ignore[arg-type]  # a parameter

    shares = split(gpu, gpu_usage({7: user(0)}))

    assert shares.method == "device"
    assert shares.unattributed_j == {Reason.UNKNOWN: 1000.0}


@pytest.mark.parametrize(
    ("before", "charged_j"), [([7], 1000.0), ([], 0.0), ([7, 9], 500.0)], ids=["same", "new", "others"]
)
def test_over_a_long_gap_only_those_who_were_there_at_both_ends_are_charged(
    before: Sequence[int], charged_j: float
) -> None:
    gpu = interval(reading(process(7), has_samples=False), interval_s=600.0, before=before)
    users = gpu_usage({7: user(0), 9: user(1, is_alive=False)})

    shares = split(gpu, users)

    assert shares.active_j.get(0, 0.0) == pytest.approx(charged_j)
    assert shares.unattributed_j.get(Reason.UNKNOWN, 0.0) == pytest.approx(1000.0 - charged_j)


def test_over_a_long_gap_an_allotment_counts_that_was_there_before_it() -> None:
    """What was drawn while nobody looked is not the newcomer's, and was not wasted by it."""
    idle = interval(reading(utilization_ratio=0.0))
    claims = [GpuClaim(2, "index:0")]
    _, before = split_gpu(idle, gpu_usage(claims=claims), GpuMemory(), BaselineSettings())
    gap = interval(reading(utilization_ratio=0.0), energy_j=60_000.0, interval_s=600.0)

    kept = split(gap, gpu_usage(claims=claims), before, BaselineSettings())
    new = split(gap, gpu_usage(claims=[GpuClaim(3, "index:0")]), before, BaselineSettings())

    assert kept.idle_j == {2: pytest.approx(60_000.0)}
    assert new.idle_j == {}
    assert new.unattributed_j == {Reason.UNKNOWN: pytest.approx(60_000.0)}
    assert new.holdings == {}


def test_a_gap_in_which_somebody_left_unseen_is_not_charged_to_who_is_there_now() -> None:
    gap = interval(reading(process(8), has_samples=False), interval_s=600.0, before=[7, 8])

    shares = split(gap, gpu_usage({8: user(1)}))

    assert shares.active_j == {1: pytest.approx(500.0)}
    assert shares.unattributed_j == {Reason.UNKNOWN: pytest.approx(500.0)}


def test_down_time_is_nobodys() -> None:
    down = replace(interval(reading(process(7))), is_down_time=True)

    assert split(down, gpu_usage({7: user(0)})).unattributed_j == {Reason.AGENT_DOWN: 1000.0}


def test_a_zero_that_samples_contradict_is_no_reason_to_call_energy_idle() -> None:
    """The driver's utilisation is of the last second; the samples are of the whole interval."""
    gpu = interval(reading(process(7), samples={7: 27.0}, utilization_ratio=0.0))

    shares = split(gpu, gpu_usage({7: user(0)}), settings=BaselineSettings())

    assert shares.active_j == {0: pytest.approx(1000.0)}
    assert not shares.is_idle


def test_without_samples_a_gpu_was_idle_only_if_both_ends_of_the_interval_say_so() -> None:
    quiet = interval(reading(process(7), utilization_ratio=0.0, has_samples=False))
    users = gpu_usage({7: user(0)})

    first, memory = split_gpu(quiet, users, GpuMemory(), BaselineSettings())
    second, _ = split_gpu(quiet, users, memory, BaselineSettings())

    assert (first.is_idle, second.is_idle) == (False, True)


def test_a_job_that_ended_in_the_interval_is_charged_what_it_used_before_any_floor_is_learned() -> None:
    gpu = interval(reading(samples={7: 20.0}, utilization_ratio=0.0), before=[7])

    shares = split(gpu, gpu_usage({7: user(0, is_alive=False)}), settings=BaselineSettings())

    assert shares.active_j == {0: pytest.approx(1000.0)}


def test_a_pid_that_passed_to_a_stranger_charges_nobody_without_samples() -> None:
    _, memory = split_gpu(interval(reading(process(7))), gpu_usage({7: user(0)}), GpuMemory(), NO_IDLE)
    gone = interval(reading(has_samples=False), before=[7])

    shares = split(gone, gpu_usage({7: user(1, start_ticks=99)}), memory)

    assert shares.unattributed_j == {Reason.UNKNOWN: pytest.approx(1000.0)}


def test_who_left_a_partition_is_charged_for_that_one() -> None:
    parts = mig((3, None), (3, None))
    both = interval(reading(process(7, instance="gi0/ci0"), process(8, instance="gi1/ci0"), instances=parts))
    users = gpu_usage({7: user(0), 8: user(1)})
    _, memory = split_gpu(both, users, GpuMemory(), NO_IDLE)
    left = interval(reading(process(7, instance="gi0/ci0"), instances=parts), before=[7, 8])

    shares = split(left, gpu_usage({7: user(0), 8: user(1, is_alive=False)}), memory)

    assert shares.active_j == {0: pytest.approx(500.0), 1: pytest.approx(500.0)}


def test_a_gpu_that_tells_no_energy_is_held_all_the_same() -> None:
    gpu = replace(interval(reading(process(7)), energy_j=None), method="none")

    shares = split(gpu, gpu_usage({7: user(0)}))

    assert shares.holdings[0].share == 1.0
    assert (shares.energy_j, shares.interval_s) == (0.0, 5.0)


def test_a_tick_without_a_reading_still_tells_who_holds_the_gpu() -> None:
    shares = split(interval(None, energy_j=None), gpu_usage(claims=[GpuClaim(2, "minor:0")]))

    assert shares.holdings[2].share == 1.0
    assert everything(shares) == []
