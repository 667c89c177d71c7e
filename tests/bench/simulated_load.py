"""A load program whose GPU is simulated: tells the test by a file named by its pid, and waits until that has acted."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

WORK_PER_S = {"train": 2.0, "train_half": 1.0}


def main() -> int:
    mode, directory = sys.argv[1], Path(os.environ["SIMULATED_LOADS"])
    if mode == "probe":
        return 0
    claim = directory / str(os.getpid())
    claim.write_text(mode)
    while not claim.with_suffix(".on").exists():
        time.sleep(0.005)
    started_s = time.monotonic()
    _say("ready")
    for _ in sys.stdin:
        _say(f"work {(time.monotonic() - started_s) * WORK_PER_S.get(mode, 0.0)}")
    claim.unlink()
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
