"""What record.py writes to resnet.txt: losses of the ResNets of workloads.py,
trained with SGD 0.1, momentum 0.9.

Weights of convolutions and fc are value(name, i) / sqrt(fan_in), fc.bias is
value(name, i) / 10; normalisations start at 1 and 0.
"""

import math

import torch
from torch import nn

import workloads

CLASSES = 10
RATE = 0.1

# Few steps where a changed sign behind a ReLU, which rounding alone can cause,
# soon shows in the losses.
# name: blocks, width, is a bottleneck, channels, height, width, batch, steps
RUNS = {
    "small18": ([2, 2, 2, 2], 8, 0, 3, 16, 16, 4, 20),
    "full18": ([2, 2, 2, 2], 64, 0, 3, 32, 32, 2, 2),
    "small50": ([3, 4, 6, 3], 4, 1, 3, 64, 64, 4, 3),
}


def set_params(net):
    for name, param in net.named_parameters():
        if param.ndim == 1 and name != "fc.bias":
            continue
        bound = 0.1 if param.ndim == 1 else 1 / math.sqrt(param[0].numel())
        value = workloads.values(name, param.numel()) * bound
        value = torch.from_numpy(value.astype("float32"))
        with torch.no_grad():
            param.copy_(value.reshape(param.shape))


def losses_of(blocks, width, is_bottleneck, channels, h, w, batch, steps):
    net = workloads.ResNet(blocks, width, is_bottleneck, channels, h,
                           CLASSES).double()
    set_params(net)
    opt = torch.optim.SGD(net.parameters(), RATE, momentum=0.9)
    losses = []
    for step in range(steps):
        x = workloads.values(f"x{step}", batch * channels * h * w)
        x = torch.from_numpy(x.astype("float32")).double()
        y = workloads.bits(f"y{step}", batch) % CLASSES
        opt.zero_grad()
        loss = nn.functional.cross_entropy(
            net(x.reshape(batch, channels, h, w)),
            torch.from_numpy(y.astype("int64")))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return net, losses


def record(rec):
    for name, (blocks, *numbers) in RUNS.items():
        net, losses = losses_of(blocks, *numbers)
        rec.integers(f"{name}/numbers", blocks + numbers)
        rec.text(f"{name}/names", " ".join(sorted(net.state_dict())))
        rec.numbers(f"{name}/losses", losses)
    return rec
