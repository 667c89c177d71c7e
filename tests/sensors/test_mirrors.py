from __future__ import annotations

from exporter.sensors import CounterState, DomainKey
from exporter.sensors.meter import Found, Meter, Role
from exporter.sensors.mirrors import MirrorWatch


def _die(package: int, die: int) -> Meter:
    place = f"{package}-die-{die}"
    return Meter(Found(DomainKey("rapl", "package", place), "", "energy", None, 500, Role("package", place)))


def _seen(watch: MirrorWatch, dies: list[Meter], raws_j: list[float], now_s: float) -> set[str]:
    for die, raw_j in zip(dies, raws_j, strict=True):
        die.state = CounterState(int(raw_j * 1e6), now_s, 0.0)
    watch.update(dies, now_s)
    return {key.device for key in watch.mirrored}


def test_one_read_that_was_interrupted_does_not_turn_the_verdict() -> None:
    """F14: two reads of one register differ by what the package drew in between."""
    watch, dies = MirrorWatch(), [_die(0, 0), _die(0, 1)]
    verdicts = [
        _seen(watch, dies, [100.0 * now, 100.0 * now + late], now) for now, late in enumerate([0, 50, 50, 0, 50])
    ]

    assert verdicts == [{"0-die-1"}] * 5


def test_a_first_read_that_was_interrupted_is_corrected_after_three() -> None:
    watch, dies = MirrorWatch(), [_die(0, 0), _die(0, 1)]
    verdicts = [_seen(watch, dies, [100.0 * now, 100.0 * now + late], now) for now, late in enumerate([50, 0, 0, 0])]

    assert verdicts == [set(), set(), set(), {"0-die-1"}]


def test_dies_that_part_for_three_samples_are_both_kept() -> None:
    watch, dies = MirrorWatch(), [_die(0, 0), _die(0, 1)]
    verdicts = [_seen(watch, dies, [100.0 * now, 130.0 * now], now) for now in range(4)]

    assert verdicts == [{"0-die-1"}, {"0-die-1"}, {"0-die-1"}, set()]


def test_packages_that_happen_to_agree_are_not_mirrors() -> None:
    watch, dies = MirrorWatch(), [_die(0, 0), _die(1, 0)]

    assert _seen(watch, dies, [100.0, 100.0], 1) == set()


def test_a_die_that_was_not_read_now_is_not_judged() -> None:
    watch, dies = MirrorWatch(), [_die(0, 0), _die(0, 1)]
    _seen(watch, dies, [100.0, 100.0], 1)

    assert watch.update([dies[0]], 2) is False
    assert {key.device for key in watch.mirrored} == {"0-die-1"}
