#!/usr/bin/env python3
"""Records what PyTorch computes on a CPU, for the tests of this folder.

    record.py            write the *.txt files beside this script
    record.py --check    record again and compare with them, as TAP

A line of a file is a key and its values, separated by blanks. The file
of a run holds its net's text, loss and gradients of the first step, and per
optimizer 20 losses, all in fp64 and fp32, and the fp64 parameters at the end.
Large tensors are sampled: `at` lists the positions, among them that of the
largest gradient; `stats` is max |v|, sum of v, sum of |v|.
"""

import argparse
import math
import os
import sys

import numpy as np
import torch
from torch import nn

import record_conv
import record_losses
import record_muon
import record_optim
import record_resnet
import workloads

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 20
LAYER_STEPS = 10
RATES = 50

# Optimizers by number, as net.c reads them.
SGD, ADAM, ADAMW = 0, 1, 2
CONSTANT, COSINE, STEP = 0, 1, 2


def optimizer(kind, lr, **more):
    """An optimizer's numbers; PyTorch's defaults where none are given."""
    decay = 0.01 if kind == ADAMW else 0.0
    numbers = dict(kind=kind, lr=lr, momentum=0.0, beta1=0.9, beta2=0.999,
                   eps=1e-8, weight_decay=decay, schedule=CONSTANT, warmup=0,
                   total=0, every=0, gamma=0.0)
    numbers.update(more)
    return numbers


MAIN = {
    "sgd": optimizer(SGD, 0.1),
    "momentum": optimizer(SGD, 0.05, momentum=0.9, weight_decay=5e-4),
    "adam": optimizer(ADAM, 1e-3),
    "adamw": optimizer(ADAMW, 1e-3),
}
# The convnet at rates at which one changed maximum of a pool, which rounding
# alone can cause, does not show in the losses.
CONVNET = {**MAIN, "sgd": optimizer(SGD, 0.02),
           "momentum": optimizer(SGD, 0.01, momentum=0.9, weight_decay=5e-4)}
# Options that the main four leave at their defaults.
OTHER = {
    "sgd_decay": optimizer(SGD, 0.2, weight_decay=0.1),
    "adam_decay": optimizer(ADAM, 0.01, beta1=0.8, beta2=0.95, eps=1e-4,
                            weight_decay=0.1),
    "adamw_decay": optimizer(ADAMW, 0.02, beta1=0.7, beta2=0.9,
                             weight_decay=0.5),
    "cosine": optimizer(SGD, 0.2, momentum=0.9, schedule=COSINE, warmup=4,
                        total=20),
    "step": optimizer(ADAM, 0.01, schedule=STEP, warmup=3, every=5,
                      gamma=0.3),
}
SCHEDULES = {
    "cosine": optimizer(SGD, 0.1, schedule=COSINE, total=50),
    "cosine_warmup": optimizer(SGD, 0.1, schedule=COSINE, warmup=7, total=50),
    "step": optimizer(SGD, 0.3, schedule=STEP, every=10, gamma=0.1),
    "step_warmup": optimizer(SGD, 0.3, schedule=STEP, warmup=5, every=9,
                             gamma=0.5),
    "constant_warmup": optimizer(SGD, 0.3, warmup=5),
}

TINY = "input 20 | linear fc1 16 | relu | linear fc2 5"

# name: net, batch sizes in turn, optimizers, samples have weights
RUNS = {
    "mlp": (workloads.mlp(), [32], MAIN, False),
    "convnet28": (workloads.convnet(), [8], CONVNET, False),
    "convnet12": (workloads.convnet(1, 12, 12), [8], CONVNET, False),
    "convnet_rgb": (workloads.convnet(3, 16, 12, 1000), [4],
                    {"adamw": MAIN["adamw"]}, False),
    "mlp_uneven": (workloads.mlp(), [32, 31, 7, 3, 1],
                   {"momentum": MAIN["momentum"], "adamw": MAIN["adamw"]},
                   False),
    "tiny": (TINY, [6], {**MAIN, **OTHER}, False),
    "tiny_weighted": (TINY, [6, 8, 5], {"momentum": MAIN["momentum"],
                                        "adam": MAIN["adam"]}, True),
}


def image_cases(front, middle):
    return f"{front} | {middle} | flatten | linear back 4"


def layer_cases():
    """name: (net, batch, input scale, weighted).

    `front` is a filter as large as the image it makes, over images of one
    pixel, so its weight gradient holds the gradient of every pixel of every
    sample apart: the input gradient of the layer behind it.
    """
    def front(size, channels=2):
        return f"input 3 1 1 | conv front {channels} {size} 1 {size - 1}"

    cases = {
        "linear": "input 6 | linear front 6 | linear middle 5"
                  " | linear back 4",
        "linear_nobias": "input 6 | linear_nobias front 6"
                         " | linear_nobias middle 5 | linear back 4",
        "relu": "input 6 | linear front 8 | relu | linear back 4",
        "flatten": f"{front(3)} | flatten | linear back 4",
        "gap": f"{front(5, 3)} | gap | linear back 4",
        "gap_rectangle": "input 2 4 7 | conv front 3 3 1 1 | gap"
                         " | linear back 4",
        "conv_rectangle": image_cases("input 2 5 8 | conv front 3 3 1 0",
                                      "conv middle 2 3 2 1"),
        "maxpool_rectangle": image_cases("input 2 5 8 | conv front 2 3 1 1",
                                         "maxpool 2 2 0"),
        "maxpool_after_relu": image_cases(front(6) + " | relu",
                                          "maxpool 3 2 1"),
        "conv_nobias": image_cases(front(5), "conv_nobias middle 3 3 1 1"),
    }
    for size, k, s, p in [(5, 3, 1, 1), (6, 3, 2, 1), (5, 1, 1, 0),
                          (5, 5, 2, 2), (6, 2, 2, 0), (5, 3, 3, 2),
                          (4, 4, 1, 3), (5, 1, 2, 0)]:
        cases[f"conv_k{k}_s{s}_p{p}"] = image_cases(
            front(size), f"conv middle 3 {k} {s} {p}")
    for size, k, s, p in [(6, 2, 2, 0), (5, 3, 2, 1), (5, 3, 1, 1),
                          (5, 2, 1, 0), (5, 3, 3, 0), (6, 2, 3, 1)]:
        cases[f"maxpool_k{k}_s{s}_p{p}"] = image_cases(
            front(size), f"maxpool {k} {s} {p}")
    cases = {name: (net, 3, 1.0, False) for name, net in cases.items()}
    xent = "input 6 | linear back 7"
    cases["cross_entropy"] = (xent, 5, 1.0, False)
    cases["cross_entropy_weighted"] = (xent, 7, 1.0, True)
    cases["cross_entropy_large_logits"] = (xent, 5, 3000.0, False)
    cases["cross_entropy_one_sample"] = (xent, 1, 1.0, False)
    return cases


def torch_optimizer(numbers, params):
    n = numbers
    if n["kind"] == SGD:
        return torch.optim.SGD(params, n["lr"], momentum=n["momentum"],
                               weight_decay=n["weight_decay"])
    kind = torch.optim.Adam if n["kind"] == ADAM else torch.optim.AdamW
    return kind(params, n["lr"], betas=(n["beta1"], n["beta2"]),
                eps=n["eps"], weight_decay=n["weight_decay"])


def torch_schedule(numbers, opt):
    """Our warm-up, then PyTorch's own schedule as it is."""
    n = numbers
    if n["schedule"] == COSINE:
        after = torch.optim.lr_scheduler.CosineAnnealingLR(
            opt, n["total"] - n["warmup"])
    elif n["schedule"] == STEP:
        after = torch.optim.lr_scheduler.StepLR(opt, n["every"], n["gamma"])
    else:
        after = torch.optim.lr_scheduler.LambdaLR(opt, lambda t: 1.0)
    group = opt.param_groups[0]
    step = 0

    def advance():
        nonlocal step
        if step > n["warmup"]:
            after.step()
        if step < n["warmup"]:
            group["lr"] = n["lr"] * (step + 1) / n["warmup"]
        elif step == n["warmup"]:
            group["lr"] = n["lr"]
        step += 1
        return group["lr"]

    return advance


class Recording:
    def __init__(self):
        self.lines = {}

    def text(self, key, text):
        self.lines[key] = text

    def numbers(self, key, array, digits=17):
        array = np.asarray(array, dtype=np.float64).reshape(-1)
        self.lines[key] = " ".join(f"{v:.{digits}g}" for v in array)

    def integers(self, key, array):
        self.lines[key] = " ".join(str(int(v)) for v in array)


def positions(name, gradient, count):
    """Up to count fixed positions, that of the largest value among them."""
    flat = gradient.reshape(-1)
    if flat.numel() <= count:
        return np.arange(flat.numel())
    drawn = workloads.bits("at " + name, count - 1) % np.uint64(flat.numel())
    return np.unique(np.append(drawn.astype(np.int64),
                               int(flat.abs().argmax())))


def tensor(rec, key, at, value, digits):
    flat = value.detach().double().reshape(-1).numpy()
    rec.numbers(f"{key}/values", flat[at], digits)
    rec.numbers(f"{key}/stats",
                [np.abs(flat).max(), math.fsum(flat), np.abs(flat).sum()],
                digits)


def train(rec, name, text, sizes, numbers, weighted, dtype):
    """20 steps; the losses, and in fp64 the parameters at the end."""
    bits = 64 if dtype == torch.float64 else 32
    net = workloads.Net(text, dtype)
    workloads.set_params(net)
    opt = torch_optimizer(numbers, net.parameters())
    advance = torch_schedule(numbers, opt)
    losses = []
    for step in range(STEPS):
        advance()
        batch = workloads.batch(net, step, sizes[step % len(sizes)],
                                weighted=weighted)
        opt.zero_grad()
        loss = workloads.loss_of(net, *batch)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    rec.numbers(f"{name}/loss{bits}", losses, 17 if bits == 64 else 9)
    if bits == 64:
        for param_name, param in net.named_parameters():
            at = [int(v) for v in rec.lines[f"{param_name}/at"].split()]
            tensor(rec, f"{name}/final/{param_name}", at, param, 17)


def first_step(rec, text, sizes, weighted, dtype):
    bits = 64 if dtype == torch.float64 else 32
    net = workloads.Net(text, dtype)
    workloads.set_params(net)
    loss = workloads.loss_of(
        net, *workloads.batch(net, 0, sizes[0], weighted=weighted))
    loss.backward()
    digits = 17 if bits == 64 else 9
    rec.numbers(f"first/loss{bits}", [loss.item()], digits)
    for name, param in net.named_parameters():
        if bits == 64:
            rec.integers(f"{name}/at", positions(name, param.grad, 48))
        at = [int(v) for v in rec.lines[f"{name}/at"].split()]
        tensor(rec, f"first/grad{bits}/{name}", at, param.grad, digits)


def record_run(name):
    text, sizes, optimizers, weighted = RUNS[name]
    rec = Recording()
    rec.text("net", text)
    rec.integers("batch", sizes)
    rec.integers("weighted", [weighted])
    for dtype in (torch.float64, torch.float32):
        first_step(rec, text, sizes, weighted, dtype)
    for opt_name, numbers in optimizers.items():
        rec.numbers(f"{opt_name}/optimizer", list(numbers.values()))
        for dtype in (torch.float64, torch.float32):
            train(rec, opt_name, text, sizes, numbers, weighted, dtype)
    return rec


def record_layers():
    rec = Recording()
    cases = layer_cases()
    rec.text("cases", " ".join(cases))
    for name, (text, count, scale, weighted) in cases.items():
        net = workloads.Net(text, torch.float64)
        workloads.set_params(net)
        x, y, w = workloads.batch(net, 0, count, scale, weighted)
        rec.text(f"{name}/net", text)
        rec.integers(f"{name}/batch", [count])
        rec.integers(f"{name}/scale", [scale])
        rec.integers(f"{name}/weighted", [weighted])
        value = x
        for number, layer in enumerate(net, 1):
            value = layer(value)
            rec.numbers(f"{name}/node{number}", value.detach(), 12)
        loss = workloads.loss_of(net, x, y, w)
        loss.backward()
        rec.numbers(f"{name}/loss", [loss.item()], 12)
        for param_name, param in net.named_parameters():
            rec.numbers(f"{name}/grad/{param_name}", param.grad, 12)
        rec.numbers(f"{name}/losses",
                    layer_losses(net, count, scale, weighted))
    return rec


def layer_losses(net, count, scale, weighted):
    """Losses of ten steps; in every third the first half of the samples."""
    opt = torch.optim.SGD(net.parameters(), 0.1 / scale**2)
    losses = []
    for step in range(LAYER_STEPS):
        rows = (count + 1) // 2 if step % 3 == 2 else count
        opt.zero_grad()
        loss = workloads.loss_of(
            net, *workloads.batch(net, step, rows, scale, weighted))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def record_schedules():
    rec = Recording()
    for name, numbers in SCHEDULES.items():
        opt = torch_optimizer(numbers, [nn.Parameter(torch.zeros(1))])
        advance = torch_schedule(numbers, opt)
        rec.numbers(f"{name}/optimizer", list(numbers.values()))
        rates = []
        for _ in range(RATES):
            rates.append(advance())
            opt.step()
        rec.numbers(f"{name}/rates", rates)
    return rec


FILES = {
    "layers": record_layers,
    "resnet": lambda: record_resnet.record(Recording()),
    "conv": lambda: record_conv.record(Recording()),
    "schedules": record_schedules,
    "losses": lambda: record_losses.record(Recording()),
    "optim": lambda: record_optim.record(Recording()),
    "muon": lambda: record_muon.record(Recording()),
    **{name: (lambda name=name: record_run(name)) for name in RUNS},
}


def path_of(name):
    return os.path.join(HERE, name + ".txt")


def write(name, rec, script="record.py"):
    with open(path_of(name), "w") as out:
        out.write(f"# {name}: written by {script}; see there.\n")
        for key, value in rec.lines.items():
            out.write(f"{key} {value}\n")


def read(name):
    with open(path_of(name)) as lines:
        parts = [line.rstrip("\n").partition(" ") for line in lines
                 if not line.startswith("#")]
    return {key: value for key, _, value in parts}


def tolerance_of(key):
    """Of a line's largest value. Another processor sums in another order;
    an fp32 run multiplies that by its length."""
    if any(word in key for word in ("loss32", "grad32", "final32", "ema32",
                                    "norm32")):
        return 1e-5
    return 1e-10


def difference(old, new):
    """What is wrong with a new recording, or None."""
    if old.keys() != new.keys():
        return f"other keys: {sorted(old.keys() ^ new.keys())[:4]}"
    for key, text in new.items():
        if old[key] == text:
            continue
        try:
            a, b = (np.array(v.split(), dtype=float) for v in (old[key], text))
        except ValueError:
            return f"{key}: {old[key]} became {text}"
        if a.shape != b.shape:
            return f"{key}: {a.size} numbers became {b.size}"
        # The middle one of the three is a sum that may cancel.
        largest = max(np.abs(a).max(), 1e-300)
        worst = np.abs(a - b).max() / largest
        if not worst <= tolerance_of(key):
            return f"{key}: differs by {worst:.3g} of its largest value"
    return None


def check():
    print(f"1..{len(FILES)}")
    failed = False
    for number, (name, record) in enumerate(FILES.items(), 1):
        why = difference(read(name), record().lines)
        if why is not None:
            print(f"# {name}.txt: {why}")
            failed = True
        word = "ok" if why is None else "not ok"
        print(f"{word} {number} - PyTorch {torch.__version__} still gives "
              f"{name}.txt", flush=True)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        return check()
    for name in args.names or FILES:
        write(name, FILES[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
