"""A real training of a few seconds: data-parallel gradient descent, gloo on the CPU. Started by torchrun."""

import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    """Train until the seconds given as argument are over; every rank stops at the same step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model = DistributedDataParallel(torch.nn.Linear(512, 512))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    end_s = time.monotonic() + float(sys.argv[1])
    go_on = torch.ones(1)
    while go_on.item() > 0:
        optimiser.zero_grad()
        model(torch.randn(64, 512)).square().mean().backward()
        optimiser.step()
        go_on.fill_(float(time.monotonic() < end_s))
        dist.all_reduce(go_on, op=dist.ReduceOp.MIN)
    dist.barrier()
    os._exit(0)  # gloo's teardown now and then aborts when the other rank is gone already


if __name__ == "__main__":
    main()
