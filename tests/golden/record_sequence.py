#!/usr/bin/env python3
"""Records 20 AdamW steps of nets in PyTorch fp64, for test_golden_sequence.c.

    record_sequence.py            write gpt*.txt and shapes.txt beside this script
    record_sequence.py --check    record again and compare, as TAP

`gpt` is a small one of workloads.py, `gpt_tied` the same whose head has the
weight of the embedding; `gpt_full` is the workload with a batch
that plain C can pay in fp64, `gpt_workload` the workload as it is. `shapes` is
the class Shapes below, which has what `gpt` has not. The keys are those of
record.py's runs.
"""

import sys

import numpy as np
import torch
from torch import nn

import record
import workloads

GPT = dict(layers=2, heads=2, width=32, context=16, classes=65)
FULL = dict(layers=4, heads=6, width=192, context=128, classes=65)
# Context, inputs, width, heads, classes.
SHAPES = dict(context=6, inputs=4, width=6, heads=3, classes=5)


class Shapes(nn.Module):
    """Full attention, a product, another order of extents, another shape, and
    values side by side, some of them used more than once."""

    def __init__(self, dtype, context, inputs, width, heads, classes):
        super().__init__()
        self.context, self.heads, self.classes = context, heads, classes
        self.front = nn.Linear(inputs, 3 * width)
        self.gate = nn.Linear(inputs, width)
        self.mix = nn.Linear(context, context)
        self.back = nn.Linear(3 * width, classes)
        self.to(dtype)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2)
                   for part in self.front(x).chunk(3, dim=2))
        a = nn.functional.scaled_dot_product_attention(q, k, v)
        a = a.transpose(1, 2).reshape(n, t, -1)
        gated = a * self.gate(x)
        mixed = self.mix(gated.permute(0, 2, 1)).reshape(n, t, -1)
        return self.back(torch.cat([mixed, a, gated], dim=2))


class TiedGpt(workloads.Gpt):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.head.weight = self.tok.weight


def batch(net, step, count):
    """Ids or numbers, and a target for each place."""
    ids, targets = workloads.tokens(net, step, count)
    if isinstance(net, workloads.Gpt):
        return ids, targets
    inputs = net.front.in_features
    x = workloads.values(f"x{step}", count * net.context * inputs)
    x = torch.from_numpy(x.astype(np.float32)).to(net.front.weight.dtype)
    return x.view(count, net.context, inputs), targets


def run(rec, net, batches, rate, samples):
    workloads.set_params(net)
    opt = torch.optim.AdamW(net.parameters(), rate)
    losses = []
    for step in range(record.STEPS):
        x, targets = batch(net, step, batches[step % len(batches)])
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x).flatten(0, 1),
                                           targets.flatten())
        loss.backward()
        losses.append(loss.item())
        for name, param in net.named_parameters() if step == 0 else ():
            at = record.positions(name, param.grad, samples)
            rec.integers(f"{name}/at", at)
            record.tensor(rec, f"first/grad64/{name}", at, param.grad, 12)
        opt.step()
    rec.numbers("loss64", losses)


def record_net(make, sizes, batches, rate, samples):
    rec = record.Recording()
    rec.integers("sizes", sizes.values())
    rec.integers("batch", batches)
    rec.numbers("rate", [rate])
    run(rec, make(dtype=torch.float64, **sizes), batches, rate, samples)
    return rec


# name: net, sizes, batch sizes in turn, rate, samples of each gradient
NETS = {
    "gpt": (workloads.Gpt, GPT, [4, 4, 1], 3e-3, 48),
    "gpt_tied": (TiedGpt, GPT, [4, 4, 1], 3e-3, 48),
    "shapes": (Shapes, SHAPES, [4, 4, 1], 3e-3, 48),
    "gpt_full": (workloads.Gpt, FULL, [2, 2, 2, 2, 1], 3e-4, 8),
    "gpt_workload": (workloads.Gpt, FULL, [16, 16, 16, 16, 9], 3e-4, 4),
}


def main():
    torch.set_num_threads(1)
    failed = 0
    if "--check" in sys.argv[1:]:
        print(f"1..{len(NETS)}")
    for number, (name, net) in enumerate(NETS.items(), 1):
        rec = record_net(*net)
        if "--check" not in sys.argv[1:]:
            record.write(name, rec)
            continue
        why = record.difference(record.read(name), rec.lines)
        if why is not None:
            print(f"# {name}.txt: {why}")
            failed = 1
        print(f"{'ok' if why is None else 'not ok'} {number} - PyTorch "
              f"{torch.__version__} still gives {name}.txt")
    return failed


if __name__ == "__main__":
    sys.exit(main())
