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
    if not settings.carbon.grid_zone and not settings.carbon.cloud_region:
        settings = replace(settings, carbon=replace(settings.carbon, grid_zone=_GRID_ZONE))
    values = options.values
    with tempfile.TemporaryDirectory(prefix="wattribute-demo-") as directory:
        settings = replace(settings, ledger=replace(settings.ledger, state_path=f"{directory}/state.db"))
        clock = SystemClock()
        demo = Demo(Path(directory) / "node", clock, node=values.node, nodes=values.nodes)

        def make_gpus(settings: Settings, roots: Roots, clock: Clock) -> GpuSampler:
            del roots
            return GpuSet([demo.driver], clock, settings.gpus)

        agent = Agent(settings, roots=demo.node.roots, clock=clock, make_gpus=make_gpus, simulated=SIMULATED)
        print(f"SIMULATED: {SIMULATED}.", file=sys.stderr)
        threading.Thread(target=obey_signals, args=(agent,), name="signals", daemon=True).start()
        demo.start()
        try:
            return agent.run()
        finally:
            demo.stop()
