"""Prints what ``wattribute gateway`` costs: requests per second on one core, CPU per request, memory with 100 zones.

Two kinds of client: one that connects anew for each question, as an agent does that asks every five minutes, and one
that keeps its connection. ``python -m bench.gateway``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from exporter.carbon.grid_table import Entry, read_lines
from exporter.units import BYTES_PER_KIBIBYTE, MICROSECONDS_PER_SECOND, NANOSECONDS_PER_SECOND

__all__ = ["GatewayCost", "measure_gateway"]

_AGENTS = 10_000
_ASKED_EVERY_S = 300.0
_START_TIMEOUT_S = 30.0
_HOUR_S = 3600
_FORECAST_HOURS = 48


class GatewayCost(NamedTuple):
    """What was measured: requests per second and CPU microseconds per request for both clients, and memory."""

    zones: int
    body_bytes: int
    anew_per_s: float
    anew_cpu_us: float
    kept_per_s: float
    kept_cpu_us: float
    pss_mib: float

    def lines(self) -> list[str]:
        """Return the figures in words."""
        per_s = _AGENTS / _ASKED_EVERY_S
        load = per_s * self.anew_cpu_us / MICROSECONDS_PER_SECOND
        return [
            f"{self.zones} zones, answers of {self.body_bytes} bytes, memory {self.pss_mib:.1f} MiB (PSS)",
            f"a connection per request: {self.anew_per_s:.0f} requests/s, {self.anew_cpu_us:.0f} us of CPU each",
            f"one connection for all:   {self.kept_per_s:.0f} requests/s, {self.kept_cpu_us:.0f} us of CPU each",
            f"{_AGENTS} agents every {_ASKED_EVERY_S:.0f} s: {per_s:.1f} requests/s, {load:.2%} of one core",
        ]


def measure_gateway(directory: Path, *, zones: int, seconds: float, port: int) -> GatewayCost:
    """Start a gateway that reads intensities with a forecast from a file, and ask it as fast as it answers."""
    names = [line.zone for line in read_lines() if isinstance(line, Entry)][:zones]
    with _running(directory, names, port) as process:
        for name in names:
            body_bytes = len(_ask(port, name))
        anew = _load(process.pid, port, names, seconds, keeps=False)
        kept = _load(process.pid, port, names, seconds, keeps=True)
        return GatewayCost(len(names), body_bytes, *anew, *kept, _pss_mib(process.pid))


def _config(directory: Path, names: list[str], port: int) -> Path:
    start_s = int(time.time()) // _HOUR_S * _HOUR_S
    moments = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_s + hour * _HOUR_S)) for hour in range(_FORECAST_HOURS)
    ]
    values = [f'- {{from: "{moment}", g_per_kwh: {300 + hour}}}' for hour, moment in enumerate(moments)]
    (directory / "values.yaml").write_text("\n".join(values) + "\n")
    config = directory / "gateway.yaml"
    config.write_text(
        f"carbon:\n  providers: [{{kind: file, path: {directory / 'values.yaml'}}}]\n"
        f'gateway:\n  listen_addresses: ["127.0.0.1:{port}"]\n  state_path: {directory / "gateway.json"}\n'
        f"  zones: {[*names]}\n"
    )
    return config


@contextmanager
def _running(directory: Path, names: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "exporter.cli", "gateway", f"--config.file={_config(directory, names, port)}"]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            end_s = time.monotonic() + _START_TIMEOUT_S
            while not _has_all(port, names):
                if process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError((directory / "log").read_text())
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()


def _has_all(port: int, names: list[str]) -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        return all(_ask(port, name) for name in names)
    return False


def _ask(port: int, zone: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/api/v1/intensity?zone={zone}&signal=average&forecast=1")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{zone}: {answer.status} {body[:80]!r}")
    return body


def _load(pid: int, port: int, names: list[str], seconds: float, *, keeps: bool) -> tuple[float, float]:
    """Return requests per second and CPU microseconds of the gateway per request, with one question at a time."""
    heads = [
        f"GET /api/v1/intensity?zone={name}&signal=average&forecast=1 HTTP/1.1\r\nHost: gateway\r\n"
        f"{'' if keeps else 'Connection: close' + chr(13) + chr(10)}\r\n".encode()
        for name in names
    ]
    count = 0
    client: socket.socket | None = None
    started_s, started_cpu_s = time.perf_counter(), _cpu_s(pid)
    while time.perf_counter() - started_s < seconds:
        client = client or socket.create_connection(("127.0.0.1", port), timeout=5)
        client.sendall(heads[count % len(heads)])
        _read_answer(client)
        count += 1
        if not keeps:
            client.close()
            client = None
    took_s, cpu_s = time.perf_counter() - started_s, _cpu_s(pid) - started_cpu_s
    if client:
        client.close()
    return count / took_s, cpu_s / count * MICROSECONDS_PER_SECOND


def _read_answer(client: socket.socket) -> None:
    text = b""
    while b"\r\n\r\n" not in text:
        text += _received(client)
    head, _, body = text.partition(b"\r\n\r\n")
    match = re.search(rb"content-length: ([0-9]+)", head, re.IGNORECASE)
    missing = (int(match[1]) if match else 0) - len(body)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    while missing > 0:
        missing -= len(_received(client))


def _received(client: socket.socket) -> bytes:
    part = client.recv(65_536)
    if not part:
        raise RuntimeError("the gateway closed the connection within an answer")
    return part


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads, from /proc/PID/task/TID/schedstat (nanoseconds)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / NANOSECONDS_PER_SECOND


def _pss_mib(pid: int) -> float:
    match = re.search(r"^Pss: +([0-9]+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) / BYTES_PER_KIBIBYTE if match else 0.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--zones", type=int, default=100, help="default: 100")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load per kind of client; default: 5")
    parser.add_argument("--port", type=int, default=19_188, help="loopback port for the gateway")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattribute-bench-") as directory:
        cost = measure_gateway(Path(directory), zones=arguments.zones, seconds=arguments.seconds, port=arguments.port)
    print("\n".join(cost.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
