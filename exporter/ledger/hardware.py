"""What making this node's hardware emitted, and how much of it has fallen due since it was last asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.attribution.embodied import held_grams
from exporter.attribution.gpu_records import GpuShares
from exporter.carbon.embodied import SERVER, HardwareFigure, accelerator_figure, grams_per_second, server_figure
from exporter.carbon.settings import EmbodiedSettings
from exporter.workloads.records import UsageSample

__all__ = ["Hardware", "held_of"]


class Hardware:
    """The hardware whose emissions are written off second by second, used or idle.

    Attributes:
        figures: what each piece took; empty where this is not counted.
    """

    def __init__(self, settings: EmbodiedSettings) -> None:
        self.figures: Sequence[HardwareFigure] = ()
        self._settings = settings
        self._models: Mapping[str, str] | None = None
        self._g_per_s: dict[str, float] = {}
        self._due_since_s: float | None = None

    def configure(self, settings: EmbodiedSettings) -> None:
        """Go on by other settings; what fell due before is not touched."""
        if settings != self._settings:
            self._settings = settings
            self._look()
            if not settings.enabled:
                self._due_since_s = None

    def restore(self, *, saved_at_s: float) -> None:
        """Go on from the save of an earlier process that counted."""
        self._due_since_s = saved_at_s if self._settings.enabled else None

    def see(self, models: Mapping[str, str]) -> None:
        """Note which accelerators there are: models by UUID.

        None at all is no news: a driver that is let go, or fails, takes no hardware out of the server.
        """
        if self._models is None or (models and models != self._models):
            self._models = dict(models)
            self._look()

    def _look(self) -> None:
        figures: list[HardwareFigure] = []
        if self._settings.enabled:
            models = self._models or {}
            figures.append(server_figure(self._settings, has_accelerators=bool(models)))
            figures += [accelerator_figure(self._settings, uuid=uuid, model=model) for uuid, model in models.items()]
        self.figures = figures
        self._g_per_s = {figure.item: grams_per_second(figure, self._settings) for figure in figures}

    @property
    def is_counted(self) -> bool:
        """Whether emissions of making the hardware are counted."""
        return bool(self._g_per_s)

    def take_due_g(self, *, now_s: float) -> Mapping[str, float]:
        """Return the grams by item that fell due since the previous call; nothing where this is not counted."""
        if not self._g_per_s:
            return {}
        seconds = 0.0 if self._due_since_s is None else max(now_s - self._due_since_s, 0.0)
        self._due_since_s = now_s
        return {item: rate * seconds for item, rate in self._g_per_s.items()}


def held_of(due_g: Mapping[str, float], usage: UsageSample, gpus: Collection[GpuShares]) -> Sequence[float]:
    """Return what each leaf of ``usage`` is charged of ``due_g`` (by item); nothing for nobody where nothing is due."""
    if not due_g:
        return ()
    accelerators_g = {item: grams for item, grams in due_g.items() if item != SERVER}
    return held_grams(usage, gpus, server_g=due_g.get(SERVER, 0.0), accelerators_g=accelerators_g)
