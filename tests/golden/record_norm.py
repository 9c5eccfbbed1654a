#!/usr/bin/env python3
"""Records what PyTorch computes for activations, normalisation and the layers
of sequences and shapes.

    record_norm.py          write norm.txt beside this script
    record_norm.py --check  record again and compare, as TAP

A case is a layer `norm` on an input of some shape, then flatten, a linear
layer `back` with 4 outputs and cross-entropy, all in fp64: the layer's output,
the gradients of the input and the parameters in the first of 10 steps of SGD,
the 10 losses, parameters and buffers at the end and then the loss in
evaluation. Every third step has the first half of the samples only. Numbers come from names, as workloads.py says.
"""

import argparse
import copy
import math
import sys

import numpy as np
import torch
from torch import nn

import record
import workloads

STEPS = 10
RATE = 0.1



class Function(nn.Module):
    """A layer without parameters, as a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Position(nn.Module):
    def __init__(self, *extents):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(extents))

    def forward(self, x):
        return x + self.weight


def attention(heads, causal):
    def function(x):
        n, t, width = x.shape
        q, k, v = (part.view(n, t, heads, -1).transpose(1, 2)
                   for part in x.chunk(3, dim=2))
        y = nn.functional.scaled_dot_product_attention(q, k, v,
                                                       is_causal=causal)
        return y.transpose(1, 2).reshape(n, t, width // 3)

    return Function(function)


# name: (extents of a sample, samples, layer, layer and numbers as in
# test_golden_norm.c)
CASES = {
    "leaky_relu": ((3, 5), 4, nn.LeakyReLU(), "leaky_relu"),
    "leaky_relu_slope": ((13,), 3, nn.LeakyReLU(0.3), "leaky_relu 0.3"),
    "gelu": ((3, 5), 4, nn.GELU(), "gelu 0"),
    "gelu_tanh": ((3, 5), 4, nn.GELU(approximate="tanh"), "gelu 1"),
    "silu": ((3, 5), 4, nn.SiLU(), "silu"),
    "sigmoid": ((3, 5), 4, nn.Sigmoid(), "sigmoid"),
    "tanh": ((3, 5), 4, nn.Tanh(), "tanh"),
    "softmax": ((3, 5), 4, nn.Softmax(dim=-1), "softmax"),
    "softmax_one": ((4, 1), 3, nn.Softmax(dim=-1), "softmax"),
    "layernorm": ((3, 7), 4, nn.LayerNorm(7), "layernorm"),
    "layernorm_vector": ((11,), 3, nn.LayerNorm(11, eps=1e-2),
                         "layernorm 0.01"),
    "layernorm_nobias": ((2, 8), 3, nn.LayerNorm(8, bias=False),
                         "layernorm 1e-5 1"),
    "layernorm_plain": ((2, 8), 3, nn.LayerNorm(8, elementwise_affine=False),
                        "layernorm 1e-5 0 1"),
    "layernorm_one": ((5, 1), 3, nn.LayerNorm(1), "layernorm"),
    "rmsnorm": ((3, 7), 4, nn.RMSNorm(7, eps=1e-6), "rmsnorm 1e-6"),
    "rmsnorm_eps": ((9,), 3, nn.RMSNorm(9), "rmsnorm"),
    "rmsnorm_plain": ((2, 8), 3, nn.RMSNorm(8, elementwise_affine=False),
                      "rmsnorm 0 1"),
    "groupnorm": ((6, 2, 3), 3, nn.GroupNorm(3, 6), "groupnorm 3"),
    "groupnorm_one": ((4, 5), 3, nn.GroupNorm(1, 4), "groupnorm 1"),
    "groupnorm_plain": ((6, 3), 3, nn.GroupNorm(2, 6, affine=False),
                        "groupnorm 2 0 1"),
    "groupnorm_vector": ((8,), 3, nn.GroupNorm(2, 8, eps=1e-3),
                         "groupnorm 2 1e-3"),
    "batchnorm1d": ((7,), 5, nn.BatchNorm1d(7), "batchnorm"),
    "batchnorm1d_length": ((3, 5), 4, nn.BatchNorm1d(3, eps=1e-3,
                                                     momentum=0.3),
                           "batchnorm 1e-3 0.3"),
    "batchnorm2d": ((3, 2, 4), 3, nn.BatchNorm2d(3), "batchnorm"),
    "batchnorm2d_one": ((18, 2, 2), 1, nn.BatchNorm2d(18), "batchnorm"),
    "batchnorm3d": ((2, 2, 3, 2), 2, nn.BatchNorm3d(2), "batchnorm"),
    "batchnorm_plain": ((4, 3), 4, nn.BatchNorm1d(4, affine=False),
                        "batchnorm 0 0 1"),
    "linear": ((4, 5), 3, nn.Linear(5, 3), "linear 3"),
    "linear_one": ((1, 1), 1, nn.Linear(1, 1), "linear 1"),
    "attention": ((5, 18), 2, attention(3, False), "attention 3 0"),
    "attention_causal": ((3, 12), 3, attention(2, True), "attention 2 1"),
    "attention_primes": ((7, 15), 2, attention(1, True), "attention 1 1"),
    "attention_one_place": ((1, 12), 3, attention(2, True), "attention 2 1"),
    "attention_one_number": ((7, 3), 1, attention(1, False), "attention 1 0"),
    "position": ((5, 3), 3, Position(5, 3), "position"),
    "position_one": ((1, 1), 1, Position(1, 1), "position"),
    "upsample2d": ((2, 1, 3), 3, nn.Upsample(scale_factor=2), "upsample2d 2"),
    "upsample2d_one": ((1, 1, 1), 1, nn.Upsample(scale_factor=3),
                       "upsample2d 3"),
    "add": ((3, 5), 3, Function(lambda x: x + torch.tanh(x)), "add"),
    "add_itself": ((1,), 1, Function(lambda x: x + x), "add 1"),
    "mul": ((3, 5), 3, Function(lambda x: x * torch.tanh(x)), "mul"),
    "mul_itself": ((7,), 1, Function(lambda x: x * x), "mul 1"),
    "concat": ((3, 5), 3, Function(lambda x: torch.cat([x, torch.tanh(x)], 1)),
               "concat 0"),
    "concat_last": ((3, 1), 2,
                    Function(lambda x: torch.cat([x, torch.tanh(x)], 2)),
                    "concat 1"),
    "transpose": ((2, 3, 5), 2, Function(lambda x: x.permute(0, 3, 1, 2)),
                  "transpose 2 0 1"),
    "reshape": ((4, 3), 3, Function(lambda x: x.reshape(-1, 6, 2)),
                "reshape 6"),
}


def rounded(name, count, bound=1.0, first=0.0):
    value = workloads.values(name, count) * bound + first
    return torch.from_numpy(value.astype(np.float32)).double()


def record_case(rec, name):
    shape, samples, layer, text = CASES[name]
    net = nn.Sequential()
    net.add_module("norm", layer)
    net.add_module("flat", nn.Flatten())
    with torch.no_grad():  # a copy: statistics stay as they are
        out = copy.deepcopy(layer)(torch.zeros(2, *shape))
    net.add_module("back", nn.Linear(math.prod(out.shape[1:]), 4))
    net.double()
    with torch.no_grad():
        for key, param in net.named_parameters():
            first = 1.0 if key == "norm.weight" else 0.0
            param.copy_(rounded(key, param.numel(), 0.5,
                                first).reshape(param.shape))
    x = rounded("x", samples * math.prod(shape), 2.0)
    x = x.reshape(samples, *shape).requires_grad_()
    y = torch.from_numpy((workloads.bits("y", samples)
                          % np.uint64(4)).astype(np.int64))
    rec.text(f"{name}/layer", text)
    rec.integers(f"{name}/shape", shape)
    rec.integers(f"{name}/batch", [samples])
    opt = torch.optim.SGD(net.parameters(), RATE)
    losses = []
    for step in range(STEPS):
        rows = (samples + 1) // 2 if step % 3 == 2 else samples
        out = net.norm(x[:rows])
        loss = nn.functional.cross_entropy(net.back(net.flat(out)), y[:rows])
        opt.zero_grad()
        x.grad = None
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            rec.numbers(f"{name}/out", out.detach(), 12)
            rec.numbers(f"{name}/dx", x.grad, 12)
            for key, param in net.named_parameters():
                rec.numbers(f"{name}/grad/{key}", param.grad, 12)
        opt.step()
    rec.numbers(f"{name}/losses", losses, 12)
    for key, value in net.state_dict().items():
        rec.numbers(f"{name}/final/{key}", value, 12)
    net.eval()
    loss = nn.functional.cross_entropy(net(x), y)
    rec.numbers(f"{name}/evaluation", [loss.item()], 12)


def record_all():
    rec = record.Recording()
    rec.text("cases", " ".join(CASES))
    for name in CASES:
        record_case(rec, name)
    return rec


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rec = record_all()
    if not args.check:
        record.write("norm", rec, "record_norm.py")
        return 0
    why = record.difference(record.read("norm"), rec.lines)
    if why is not None:
        print(f"# norm.txt: {why}")
    print(f"1..1\n{'ok' if why is None else 'not ok'} 1 - PyTorch "
          f"{torch.__version__} still gives norm.txt")
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
