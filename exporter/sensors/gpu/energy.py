"""The joules of one GPU: from its counter, or from its power where the counter is missing, stands still or is refused.

One total per GPU, whatever it is fed from, so that a change of method never makes it step back. What two readings of a
register mean is ``counter``'s; this module decides which register is believed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from exporter.sensors.counter import Step, integrate, unwrap
from exporter.sensors.gpu.records import GpuReading
from exporter.sensors.records import CounterState
from exporter.units import MICROJOULES_PER_JOULE, MICROWATTS_PER_WATT

__all__ = ["EnergyMethod", "EnergyStep", "GpuEnergy"]

EnergyMethod = Literal["counter", "power", "none"]
"""counter: the hardware's own; power: power readings, integrated; none: nothing to tell energy by."""

_NO_COUNTER = -1
"""What stands for the register in the state of a GPU whose counter was not read: no counter shows it."""
_BACKSTEP_UJ = MICROJOULES_PER_JOULE
"""A counter that is this little behind its last reading was read out of order, not reset."""
_FROZEN_READS = 3
_FROZEN_MIN_W = 5.0
_MOVING_READS = 3
_CHECK_MIN_S = 60.0
_CHECK_SPAN_S = 600.0
_CHECK_TOLERANCE_RATIO = 0.2


class EnergyStep(NamedTuple):
    """What one reading added: joules over seconds, and what happened, in ``Step``'s words or ``frozen``."""

    energy_j: float
    interval_s: float
    kind: str


class GpuEnergy:
    """The running total of one GPU.

    Attributes:
        state: register, time and total of the last reading that counted; None before the first.
        method: what feeds the total now.
    """

    def __init__(self, *, gain_ratio: float = 1.0, offset_w: float = 0.0, state: CounterState | None = None) -> None:
        self.state = state
        self.method: EnergyMethod = "none"
        self._gain_ratio, self._offset_w = gain_ratio, offset_w
        self._is_refused = False
        self._still_reads = self._moving_reads = 0
        self._watched_uj = -1
        self._power: CounterState | None = None
        self._owed_j = 0.0
        self._counted_j = self._averaged_j = self._checked_s = 0.0

    @property
    def total_j(self) -> float:
        """Joules since the GPU was first read on this boot; never decreasing."""
        return self.state.total_j if self.state else 0.0

    @property
    def is_refused(self) -> bool:
        """Whether the GPU has a counter that is not believed, because it stands still while power flows."""
        return self._is_refused

    @property
    def disagreement_ratio(self) -> float | None:
        """How far counter and mean power reading are apart over the last minutes; None while too little is known."""
        if self._checked_s < _CHECK_MIN_S or self._averaged_j <= 0:
            return None
        return self._counted_j / self._averaged_j - 1

    @property
    def is_in_doubt(self) -> bool:
        """Whether the counter and the power reading disagree by more than a fifth."""
        ratio = self.disagreement_ratio
        return ratio is not None and abs(ratio) > _CHECK_TOLERANCE_RATIO

    def take(self, reading: GpuReading, *, max_power_w: float) -> EnergyStep | None:
        """Count a reading; None where it ends no interval: the first of all, or one whose joules come later."""
        power = self._integrated(reading)
        if reading.energy_uj is None:
            return self._by_power(reading, power, "power" if reading.power_w is not None else self.method)
        if self._is_refused and not self._moves_again(reading.energy_uj):
            return self._by_power(reading, power, "power")
        return self._by_counter(reading, reading.energy_uj, power, max_power_w)

    def _integrated(self, reading: GpuReading) -> Step | None:
        """Return what the power readings say of the time since the last one."""
        if reading.power_w is None:
            return None
        before, raw_uw = self._power, round(reading.power_w * MICROWATTS_PER_WATT)
        self._power = CounterState(raw_uw, reading.read_at_s, 0.0)
        return integrate(before, raw_uw, reading.read_at_s) if before else None

    def _by_power(self, reading: GpuReading, step: Step | None, method: EnergyMethod) -> EnergyStep | None:
        self.method = method
        if reading.power_w is None:
            return None
        raw = _NO_COUNTER if reading.energy_uj is None else reading.energy_uj
        before, now_s = self.state, reading.read_at_s
        if before is None or step is None:  # what was drawn before this process looked is not known
            self.state = CounterState(raw, now_s, before.total_j if before else 0.0)
            return None if before is None else EnergyStep(0.0, max(now_s - before.read_at_s, 0.0), "gap")
        if self._owed_j and step.kind == "counted":  # the counter stood still and then fell silent
            step = Step(step.kind, step.energy_j + self._owed_j, now_s - before.read_at_s)
            self._owed_j, self._still_reads = 0.0, 0
        return self._counted(before, raw, step, now_s)

    def _by_counter(
        self, reading: GpuReading, raw_uj: int, power: Step | None, max_power_w: float
    ) -> EnergyStep | None:
        self.method = "counter"
        before, now_s = self.state, reading.read_at_s
        if before is None or before.raw == _NO_COUNTER:
            return self._first_of_counter(before, raw_uj, power, now_s)
        if 0 < before.raw - raw_uj <= _BACKSTEP_UJ:
            return None
        if raw_uj == before.raw and (reading.power_w or 0.0) > _FROZEN_MIN_W:
            return self._standing_still(before, raw_uj, power, now_s)
        self._still_reads, self._owed_j = 0, 0.0
        step = unwrap(before, raw_uj, now_s, range_uj=None, max_power_w=max_power_w)
        if step.kind == "counted" and reading.cross_check_power_w is not None:
            self._check(step, reading.cross_check_power_w)
        return self._counted(before, raw_uj, step, now_s)

    def _first_of_counter(
        self, before: CounterState | None, raw_uj: int, power: Step | None, now_s: float
    ) -> EnergyStep | None:
        """Begin to count from here; what came before, if it was counted, was counted by power up to now."""
        if before is not None and power is not None:
            return self._counted(before, raw_uj, power, now_s)
        self.state = CounterState(raw_uj, now_s, before.total_j if before else 0.0)
        return None

    def _standing_still(self, before: CounterState, raw_uj: int, power: Step | None, now_s: float) -> EnergyStep | None:
        """Wait for the counter's next step; give it up for the power reading after a few reads."""
        self._still_reads += 1
        self._owed_j += power.energy_j if power else 0.0
        if self._still_reads < _FROZEN_READS:
            return None
        self._is_refused, self.method, self._moving_reads, self._watched_uj = True, "power", 0, raw_uj
        step = Step("counted", self._owed_j, max(now_s - before.read_at_s, 0.0))
        self._owed_j = 0.0
        return self._counted(before, raw_uj, step, now_s)._replace(kind="frozen")

    def _moves_again(self, raw_uj: int) -> bool:
        """Whether a refused counter has moved for some reads in a row; it then goes on from where it is now."""
        self._moving_reads = self._moving_reads + 1 if raw_uj > self._watched_uj else 0
        self._watched_uj = raw_uj
        if self._moving_reads < _MOVING_READS or self.state is None:
            return False
        self._is_refused, self._still_reads = False, 0
        return True

    def _counted(self, before: CounterState, raw: int, step: Step, now_s: float) -> EnergyStep:
        energy_j = step.energy_j
        if step.kind in {"counted", "reset"}:
            energy_j = max(energy_j * self._gain_ratio + self._offset_w * step.interval_s, 0.0)
        self.state = CounterState(raw, now_s, before.total_j + energy_j)
        return EnergyStep(energy_j, step.interval_s, step.kind)

    def _check(self, step: Step, average_power_w: float) -> None:
        keep = 0.5 ** (step.interval_s / _CHECK_SPAN_S)
        self._counted_j = self._counted_j * keep + step.energy_j
        self._averaged_j = self._averaged_j * keep + average_power_w * step.interval_s
        self._checked_s = self._checked_s * keep + step.interval_s
