#!/usr/bin/env python3
"""Trains `gpt` on a text in PyTorch: the yardstick for the losses of
`train_gpt`, with the same options and numbers.

    train_gpt_torch.py --data input.txt --steps 300 --seeds 1
    train_gpt_torch.py --data input.txt --steps 300 --seeds 1 2 3 \\
                       --beside build/examples/train_gpt

The first 9/10 of the text are for training, the rest for the test. Samples are
windows of 128 characters that do not overlap, each once per epoch in a random
order; the test loss is the mean over all characters of all windows of the test
part. The model is workloads.Gpt as PyTorch initialises it.

With --beside the program named there makes the same runs first, one after
another, and a table shows the test losses of both, their means, and how far
the means are apart.
"""

import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
from torch import nn

import train_torch
import workloads

CONTEXT = 128


def windows(ids):
    """Inputs and targets, (N, CONTEXT) each."""
    count = (len(ids) - CONTEXT - 1) // CONTEXT + 1
    x = ids[:count * CONTEXT].view(count, CONTEXT)
    return x, ids[1:count * CONTEXT + 1].view(count, CONTEXT)


def load(path):
    """Both splits, and the number of different characters."""
    with open(path, "rb") as file:
        codes = np.frombuffer(file.read(), np.uint8)
    found, ids = np.unique(codes, return_inverse=True)
    ids = torch.from_numpy(ids.reshape(-1).astype(np.int64))
    cut = len(ids) * 9 // 10
    return windows(ids[:cut]), windows(ids[cut:]), len(found)


def loss_of(net, x, y, reduction="mean"):
    return nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten(),
                                       reduction=reduction)


@torch.no_grad()
def evaluate(net, data, batch):
    x, y = data
    losses = sum(loss_of(net, x[first:first + batch], y[first:first + batch],
                         "sum").item() for first in range(0, len(y), batch))
    return losses / y.numel()


def batches(data, batch):
    """Without end, in a new order each epoch."""
    x, y = data
    while True:
        for ids in torch.randperm(len(y)).split(batch):
            yield x[ids], y[ids]


def train(args, seed):
    torch.manual_seed(seed)
    training, test, classes = load(args.data)
    net = workloads.Gpt(classes=classes)
    first = evaluate(net, test, args.batch)
    opt = torch.optim.AdamW(net.parameters(), args.lr,
                            weight_decay=args.weight_decay)
    schedule = train_torch.make_schedule(args, opt, args.steps)
    for step, (x, y) in zip(range(1, args.steps + 1),
                            batches(training, args.batch)):
        opt.zero_grad()
        loss = loss_of(net, x, y)
        loss.backward()
        opt.step()
        schedule.step()
        if step % 50 == 0 or step == args.steps:
            print(f"step {step}  loss {loss.item():.4f}", flush=True)
    last = evaluate(net, test, args.batch)
    print(f"PyTorch, seed {seed}: {args.steps} steps  "
          f"test loss {first:.4f} -> {last:.4f}", flush=True)
    return last


def train_beside(args, seed):
    """The same run by the program."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        subprocess.run(
            [args.beside, "--data", args.data, "--no-checkpoint",
             "--log", log, "--seed", str(seed), "--steps", str(args.steps),
             "--batch", str(args.batch), "--lr", str(args.lr),
             "--weight-decay", str(args.weight_decay),
             "--schedule", args.schedule, "--warmup", str(args.warmup),
             "--threads", str(args.threads)],
            check=True, stdout=subprocess.DEVNULL)
        with open(log, encoding="utf-8") as file:
            last = json.loads(file.readlines()[-1])["test_loss"]
    print(f"libtrain, seed {seed}: {args.steps} steps  test loss {last:.4f}",
          flush=True)
    return last


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--schedule", choices=["constant", "cosine"],
                        default="constant")
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--beside", metavar="train_gpt")
    return parser.parse_args()


def main():
    args = options()
    torch.set_num_threads(args.threads)
    ours = [train_beside(args, seed) for seed in args.seeds if args.beside]
    theirs = [train(args, seed) for seed in args.seeds]
    if args.beside:
        print("seed  libtrain  PyTorch")
        for seed, mine, other in zip(args.seeds, ours, theirs):
            print(f"{seed:4}  {mine:8.4f}  {other:7.4f}")
        mean, other = np.mean(ours), np.mean(theirs)
        print(f"mean  {mean:8.4f}  {other:7.4f}   {mean - other:+.4f}")


if __name__ == "__main__":
    main()
