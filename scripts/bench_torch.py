#!/usr/bin/env python3
"""PyTorch's side of scripts/bench: the same model, batch and optimizer.

  bench_torch.py step --workload mlp [--batch N] [--threads N] [--seconds S]
                      [--adam fused|default]
  bench_torch.py ddp  ... --ranks N     DistributedDataParallel over Gloo, the
                                        batch is of all ranks
  bench_torch.py comm --bytes A,B,C [--ranks N] [--seconds S]

Prints JSON lines with the members of bench_step and bench_allreduce.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import sys
import time

import torch
from torch import nn

WARM_UP = 5


# name: (global batch, optimizer); the nets are in tests/golden/workloads.py
WORKLOADS = {
    "mlp": (32, torch.optim.Adam),
    "convnet28": (64, torch.optim.AdamW),
    "convnet224": (8, torch.optim.AdamW),
}


def net_of(workload):
    """The PyTorch twin, from the one definition that the tests use."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__))), "tests", "golden"))
    import workloads
    return workloads.Net(workloads.WORKLOADS[workload])


def bench_step(options, rank=0, ranks=1):
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    batch, optimizer_type = WORKLOADS[options.workload]
    batch = options.batch or batch
    net = net_of(options.workload)
    shape, classes = net.shape, net.classes
    if ranks > 1:
        net = nn.parallel.DistributedDataParallel(net)
    fused = True if options.adam == "fused" else None
    optimizer = optimizer_type(net.parameters(), lr=1e-3, fused=fused)
    x = torch.rand(batch // ranks, *shape)
    y = torch.randint(classes, (batch // ranks,))
    loss_of = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss_of(net(x), y).backward()
        optimizer.step()

    for _ in range(WARM_UP):
        step()
    times = []
    begin = time.perf_counter()
    step()
    steps = torch.tensor([max(3.0, options.seconds /
                              (time.perf_counter() - begin))])
    if ranks > 1:
        torch.distributed.all_reduce(steps, op=torch.distributed.ReduceOp.MIN)
    for _ in range(int(steps.item())):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    if rank > 0:
        return
    median = statistics.median(times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({
        "workload": options.workload, "ranks": ranks,
        "threads": options.threads, "adam": options.adam, "step_ms_median": median * 1e3,
        "step_ms_min": min(times) * 1e3, "samples_per_s": batch / median,
        "peak_rss_mib": peak}))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ddp_rank(rank, options, port):
    import torch.distributed as dist
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=options.ranks)
    bench_step(options, rank, options.ranks)
    dist.destroy_process_group()


def bench_ddp(options):
    import torch.multiprocessing as processes
    processes.spawn(ddp_rank, args=(options, free_port()),
                    nprocs=options.ranks)


def comm_rank(rank, options, port):
    import torch.distributed as dist
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=options.ranks)
    for size in [int(text) for text in options.bytes.split(",")]:
        values = torch.zeros(size // 4)
        times = []
        total = torch.zeros(1, dtype=torch.float64)
        for i in range(3 + 100000):
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(values)
            took = torch.tensor([time.perf_counter() - begin],
                                dtype=torch.float64)
            dist.all_reduce(took, op=dist.ReduceOp.MAX)
            if i >= 3:
                times.append(took.item())
                total += took
            if times and total.item() >= options.seconds:
                break
        if rank == 0:
            median = statistics.median(times)
            rate = size / median * 1e-9
            print(json.dumps({
                "bytes": size, "ranks": options.ranks, "algorithm": "gloo",
                "us_median": median * 1e6, "algbw_gb_s": rate,
                "busbw_gb_s": rate * 2 * (options.ranks - 1) /
                options.ranks}), flush=True)
    dist.destroy_process_group()


def bench_comm(options):
    import torch.multiprocessing as processes
    processes.spawn(comm_rank, args=(options, free_port()),
                    nprocs=options.ranks)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("step", "ddp", "comm"))
    parser.add_argument("--workload", choices=sorted(WORKLOADS),
                        default="mlp")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--adam", choices=("fused", "default"),
                        default="default")
    parser.add_argument("--bytes", default="4096")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    {"step": bench_step, "ddp": bench_ddp,
     "comm": bench_comm}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
