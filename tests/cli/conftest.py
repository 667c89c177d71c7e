from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.clock import SystemClock
from exporter.host import Roots
from exporter.testing import FakeClock
from exporter.testing.__main__ import demo_node
from tests.cli.agents import AgentProcess, agent_process


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """Return a node with a training run, a pod and a service; nobody advances it."""
    clock = FakeClock(monotonic_s=SystemClock().monotonic_s(), wall_s=SystemClock().wall_s())
    node, _ = demo_node(tmp_path_factory.mktemp("node"), clock=clock)
    node.advance(10.0)
    return node.roots


@pytest.fixture(scope="session")
def agent(roots: Roots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Run an agent on that node that nobody stops."""
    with agent_process(tmp_path_factory.mktemp("agent"), roots, "--carbon.grid-zone=DE") as agent:
        yield agent
