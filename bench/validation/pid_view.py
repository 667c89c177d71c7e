"""Which pids NVML shows to a process of this PID namespace: ``python -m bench.validation.pid_view INDEX LOAD…``.

Run inside ``unshare --pid --fork --mount-proc`` by the check, and by nobody else. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench.validation.driver import ValidatedGpu
from bench.validation.loads import Loads

_SAMPLED_FOR_S = 2.0


def main() -> int:
    """Print the lists, the sampled pids and this namespace's own load, if one can run."""
    gpu = ValidatedGpu(int(sys.argv[1]))
    loads = Loads(sys.argv[2:], gpu_uuid=gpu.facts.uuid)
    own: int | None = None
    with ExitStack() as stack:
        if loads.can_run():
            own = stack.enter_context(loads.running("steady")).pid
        time.sleep(_SAMPLED_FOR_S)
        found = {
            "namespace": str(Path("/proc/self/ns/pid").readlink()),
            "own_load": own,
            "listed": gpu.listed(),
            "sampled": sorted({row.pid for row in gpu.rows(0)[1]}),
            "pids_here": sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()),
        }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
