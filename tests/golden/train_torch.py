#!/usr/bin/env python3
"""Trains the workloads in PyTorch on IDX images: the yardstick for accuracy
and time of `train_classifier`, with the same options.

    train_torch.py --data DIR --model convnet --optimizer adamw --lr 3e-3 \\
                   --schedule cosine --epochs 10
    train_torch.py --data DIR --model mlp --threads 2 --time-epoch

DIR holds one pair of IDX files, maybe .gz; a seeded shuffle gives 80 % to
training and 20 % to the test. Prints one line per epoch.
"""

import argparse
import glob
import gzip
import math
import os
import time

import numpy as np
import torch
from torch import nn

import workloads

DECAY = {"sgd": 0.0, "momentum": 0.0, "adam": 0.0, "adamw": 0.01}
RATE = {"sgd": 0.1, "momentum": 0.05, "adam": 1e-3, "adamw": 1e-3}


def read_idx(folder, pattern):
    paths = sorted(glob.glob(os.path.join(folder, pattern)))
    if not paths:
        raise SystemExit(f"{folder} has no {pattern}")
    opener = gzip.open if paths[0].endswith(".gz") else open
    with opener(paths[0], "rb") as file:
        raw = file.read()
    dims = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, -1, 4 + 4 * raw[3]).reshape(dims)


def load(folder, split_seed):
    x = read_idx(folder, "*images-idx3-ubyte*")
    y = read_idx(folder, "*labels-idx1-ubyte*")
    x = torch.from_numpy(x.astype(np.float32) / 255).unsqueeze(1)
    y = torch.from_numpy(y.astype(np.int64))
    order = torch.from_numpy(np.random.default_rng(split_seed)
                             .permutation(len(y)))
    train, test = order[:len(y) * 4 // 5], order[len(y) * 4 // 5:]
    return (x[train], y[train]), (x[test], y[test])


def make_net(model, x, classes):
    if model == "mlp":
        text = workloads.mlp(x[0].numel(), classes)
        return nn.Sequential(nn.Flatten(), workloads.Net(text))
    return workloads.Net(workloads.convnet(*x.shape[1:], classes))


def make_optimizer(args, params):
    lr = RATE[args.optimizer] if args.lr is None else args.lr
    decay = args.weight_decay
    if decay is None:
        decay = DECAY[args.optimizer]
    if args.optimizer == "adam":
        return torch.optim.Adam(params, lr, weight_decay=decay)
    if args.optimizer == "adamw":
        return torch.optim.AdamW(params, lr, weight_decay=decay)
    momentum = 0.9 if args.optimizer == "momentum" else 0.0
    return torch.optim.SGD(params, lr, momentum=momentum, weight_decay=decay)


def make_schedule(args, opt, steps):
    """The factor of the rate in step s; the same formula as libtrain's."""
    def factor(step):
        if step < args.warmup:
            return (step + 1) / args.warmup
        if args.schedule == "cosine":
            share = (step - args.warmup) / max(steps - args.warmup, 1)
            return (1 + math.cos(math.pi * share)) / 2
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(opt, factor)


def train_epoch(net, opt, schedule, data, batch):
    x, y = data
    order = torch.randperm(len(y))
    total = 0.0
    for ids in order.split(batch):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x[ids]), y[ids])
        loss.backward()
        opt.step()
        schedule.step()
        total += loss.item() * len(ids)
    return total / len(y)


@torch.no_grad()
def evaluate(net, data):
    x, y = data
    losses, right = 0.0, 0
    for first in range(0, len(y), 500):
        logits = net(x[first:first + 500])
        target = y[first:first + 500]
        losses += nn.functional.cross_entropy(logits, target,
                                              reduction="sum").item()
        right += (logits.argmax(1) == target).sum().item()
    return losses / len(y), right / len(y)


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", choices=["mlp", "convnet"], default="mlp")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--optimizer", choices=list(DECAY), default="adamw")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--schedule", choices=["constant", "cosine"],
                        default="constant")
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--time-epoch", action="store_true",
                        help="one epoch to warm up, then the median of three")
    return parser.parse_args()


def main():
    args = options()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, test = load(args.data, args.split_seed)
    net = make_net(args.model, train[0], int(train[1].max()) + 1)
    opt = make_optimizer(args, net.parameters())
    epochs = 4 if args.time_epoch else args.epochs
    steps = epochs * math.ceil(len(train[1]) / args.batch)
    schedule = make_schedule(args, opt, steps)
    times = []
    for epoch in range(1, epochs + 1):
        begin = time.perf_counter()
        loss = train_epoch(net, opt, schedule, train, args.batch)
        times.append(time.perf_counter() - begin)
        test_loss, accuracy = evaluate(net, test)
        print(f"epoch {epoch}  loss {loss:.4f}  test loss {test_loss:.4f}  "
              f"test accuracy {accuracy:.4f}  {times[-1]:.2f} s", flush=True)
    if args.time_epoch:
        print(f"{args.model}: {sorted(times[1:])[1]:.2f} s per epoch with "
              f"{torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
