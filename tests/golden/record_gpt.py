#!/usr/bin/env python3
"""Records 20 AdamW steps of a small `gpt` in PyTorch, for test_golden_gpt.c.

    record_gpt.py            write gpt.txt beside this script
    record_gpt.py --check    record again and compare, as TAP

The keys are those of record.py's runs. Attention is PyTorch's own, in math
mode, so that fp64 is exact.
"""

import sys

import torch
from torch import nn

import record
import workloads

SIZES = dict(layers=2, heads=2, width=32, context=16, classes=65)
BATCH = 4
RATE = 3e-3


def loss_of(net, step):
    ids, targets = workloads.tokens(net, step, BATCH)
    logits = net(ids).flatten(0, 1)
    return nn.functional.cross_entropy(logits, targets.flatten())


def run(rec, dtype):
    bits = 64 if dtype == torch.float64 else 32
    digits = 17 if bits == 64 else 9
    net = workloads.Gpt(**SIZES, dtype=dtype)
    workloads.set_params(net)
    opt = torch.optim.AdamW(net.parameters(), RATE)
    losses = []
    for step in range(record.STEPS):
        opt.zero_grad()
        loss = loss_of(net, step)
        loss.backward()
        losses.append(loss.item())
        for name, param in net.named_parameters() if step == 0 else ():
            if bits == 64:
                rec.integers(f"{name}/at",
                             record.positions(name, param.grad, 48))
            at = [int(v) for v in rec.lines[f"{name}/at"].split()]
            record.tensor(rec, f"first/grad{bits}/{name}", at, param.grad,
                          digits)
        opt.step()
    rec.numbers(f"loss{bits}", losses, digits)


def record_gpt():
    rec = record.Recording()
    rec.integers("sizes", SIZES.values())
    rec.integers("batch", [BATCH])
    rec.numbers("rate", [RATE])
    for dtype in (torch.float64, torch.float32):
        run(rec, dtype)
    return rec


def main():
    torch.set_num_threads(1)
    rec = record_gpt()
    if "--check" not in sys.argv[1:]:
        record.write("gpt", rec)
        return 0
    why = record.difference(record.read("gpt"), rec.lines)
    print("1..1")
    if why is not None:
        print(f"# gpt.txt: {why}")
    print(f"{'ok' if why is None else 'not ok'} 1 - PyTorch "
          f"{torch.__version__} still gives gpt.txt")
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
