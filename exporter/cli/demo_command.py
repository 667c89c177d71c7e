"""``wattribute demo``: the whole agent on a simulated node, so that everything can be seen without hardware."""

from __future__ import annotations

import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from exporter.agent import Agent
from exporter.cli.agent_command import block_signals, obey_signals
from exporter.cli.arguments import Options
from exporter.clock import Clock, SystemClock
from exporter.config import Settings
from exporter.host import Roots
from exporter.logs import set_up_logs
from exporter.sensors.gpu.gpu_set import GpuSet
from exporter.sensors.gpu.interval import GpuSampler
from exporter.testing.demo import Demo

__all__ = ["SIMULATED", "run_demo"]

SIMULATED = "a whole node with eight GPUs and three training runs; nothing here is measured"
_GRID_ZONE = "DE"


def run_demo(options: Options, settings: Settings) -> int:
    """Serve a simulated node until SIGTERM or SIGINT. Nothing of this machine is read, nothing is kept."""
    block_signals()
    set_up_logs(settings.log.level, settings.log.format)
    values = options.values
    with tempfile.TemporaryDirectory(prefix="wattribute-demo-") as directory:
        clock = SystemClock()
        demo = Demo(Path(directory) / "node", clock, node=values.node, nodes=values.nodes)

        def make_gpus(settings: Settings, roots: Roots, clock: Clock) -> GpuSampler:
            del roots
            return GpuSet([demo.driver], clock, settings.gpus)

        agent = Agent(
            _demo_settings(settings, directory),
            roots=demo.node.roots,
            clock=clock,
            reload=(lambda: _demo_settings(options.settings(), directory)) if options.config_path else None,
            make_gpus=make_gpus,
            simulated=SIMULATED,
        )
        print(f"SIMULATED: {SIMULATED}.", file=sys.stderr)
        threading.Thread(target=obey_signals, args=(agent,), name="signals", daemon=True).start()
        demo.start()
        try:
            return agent.run()
        finally:
            demo.stop()


def _demo_settings(settings: Settings, directory: str) -> Settings:
    """Return ``settings`` with a grid zone, unless they say where the node is, and with state that is thrown away."""
    carbon = settings.carbon
    if not carbon.grid_zone and not carbon.cloud_region:
        carbon = replace(carbon, grid_zone=_GRID_ZONE)
    return replace(settings, carbon=carbon, ledger=replace(settings.ledger, state_path=f"{directory}/state.db"))
