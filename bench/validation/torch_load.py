"""The load program of ``bench.validation.loads`` on PyTorch: matrix products, and the training of a small network."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

_SIDE = 4096
_HALF_PERIOD_S = 0.05
_BATCH = 512


class _Counted:
    """How many steps were done; ``done`` once the input has ended."""

    def __init__(self) -> None:
        self.steps = 0
        self.done = threading.Event()

    def answer(self) -> None:
        for line in sys.stdin:
            if line.strip() == "work":
                print(f"work {self.steps}", flush=True)
        self.done.set()


def main() -> int:
    """Run one mode until the input ends."""
    mode = sys.argv[1]
    reason = _missing()
    if reason:
        print(reason, flush=True)
        return 1
    if mode == "probe":
        return 0
    step = _training() if mode.startswith("train") else _product()
    counted = _Counted()
    step()
    threading.Thread(target=counted.answer, daemon=True).start()
    print("ready", flush=True)
    if mode == "context":
        counted.done.wait()
    while not counted.done.is_set():
        _round(mode, step, counted)
    return 0


def _missing() -> str:
    try:
        import torch
    except ImportError as exc:
        return f"PyTorch cannot be imported ({exc})"
    return "" if torch.cuda.is_available() else "this PyTorch sees no CUDA device"


def _round(mode: str, step: Callable[[], None], counted: _Counted) -> None:
    started_s = time.monotonic()
    if mode == "square":
        while time.monotonic() < started_s + _HALF_PERIOD_S:
            step()
            counted.steps += 1
        time.sleep(max(started_s + 2 * _HALF_PERIOD_S - time.monotonic(), 0.0))
        return
    step()
    counted.steps += 1
    if mode == "train_half":
        time.sleep(time.monotonic() - started_s)


def _product() -> Callable[[], None]:
    """Return one matrix product, waited for: a fraction of a millisecond on a data-centre GPU."""
    import torch

    left = torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16)
    into = torch.empty_like(left)

    def step() -> None:
        torch.mm(left, left, out=into)
        torch.cuda.synchronize()

    return step


def _training() -> Callable[[], None]:
    """Return one step of training, waited for."""
    import torch

    layers = [torch.nn.Sequential(torch.nn.Linear(_SIDE, _SIDE), torch.nn.ReLU()) for _ in range(4)]
    model = torch.nn.Sequential(*layers).cuda()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    batch = torch.randn(_BATCH, _SIDE, device="cuda")

    def step() -> None:
        optimiser.zero_grad()
        model(batch).square().mean().backward()
        optimiser.step()
        torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    sys.exit(main())
