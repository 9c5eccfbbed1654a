"""What record.py writes to resnet.txt: losses of the ResNets of workloads.py,
trained in fp64 with SGD, 20 steps but where rounding soon shows.

Weights of convolutions are value(name, i) sqrt(6 / fan_out), which has the
variance of their kaiming_normal_, fc is value(name, i) / sqrt(fan_in), and
normalisations start at 1 and 0.
"""

import math

import torch
from torch import nn

import workloads

CLASSES = 10
# Rate, momentum, weight decay.
WORKLOAD, LOW, PLAIN = (0.1, 0.9, 5e-4), (1e-4, 0.9, 5e-4), (1e-4, 0.0, 0.0)
FULL = ([2, 2, 2, 2], 64, 0, 3)

# At 0.1 a changed sign behind a ReLU, which rounding alone can cause, soon shows
# in the losses: few steps where BatchNorm has few values in the last stage.
# `full18` is the workload in fp64 at a price that plain C can pay: 2x2 images in
# the last stage instead of 4x4, which still mix neighbours, and 5 samples in the
# last batch; a change of 1e-15 in the weights changes its losses by 3e-12.
# `low18` has the workload's own shape and `low18_small` that of `full18`, at a
# rate at which PyTorch's fp32 stays within 8.9e-6 and 1.3e-5 of its fp64; with
# momentum the small one would be off by 2.7e-4.
# name: (blocks, width, is a bottleneck, channels, height, width, steps), batch
# sizes in turn, optimizer
RUNS = {
    "small18": (([2, 2, 2, 2], 8, 0, 3, 16, 16, 20), [4], WORKLOAD),
    "wide18": ((*FULL, 32, 32, 2), [2], WORKLOAD),
    "full18": ((*FULL, 16, 16, 20), [8, 8, 8, 8, 5], WORKLOAD),
    "low18_small": ((*FULL, 16, 16, 20), [8, 8, 8, 8, 5], PLAIN),
    "low18": ((*FULL, 32, 32, 20), [32, 32, 32, 32, 17], LOW),
    "small50": (([3, 4, 6, 3], 4, 1, 3, 64, 64, 3), [4], WORKLOAD),
}


def set_params(net):
    for name, param in net.named_parameters():
        if param.ndim == 4:
            bound = math.sqrt(6 / param[:, 0].numel())
        elif name.startswith("fc."):
            bound = 1 / math.sqrt(net.fc.in_features)
        else:
            continue
        value = workloads.values(name, param.numel()) * bound
        value = torch.from_numpy(value.astype("float32"))
        with torch.no_grad():
            param.copy_(value.reshape(param.shape))


def train(numbers, sizes, sgd, dtype):
    blocks, width, is_bottleneck, channels, h, w, steps = numbers
    net = workloads.ResNet(blocks, width, is_bottleneck, channels, h, CLASSES)
    net.to(dtype)
    net.shape, net.classes = (channels, h, w), CLASSES
    set_params(net)
    rate, momentum, decay = sgd
    opt = torch.optim.SGD(net.parameters(), rate, momentum=momentum,
                          weight_decay=decay)
    losses = []
    for step in range(steps):
        x, y, _ = workloads.batch(net, step, sizes[step % len(sizes)])
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return net, losses


def record(rec):
    for name, (numbers, sizes, sgd) in RUNS.items():
        net, losses = train(numbers, sizes, sgd, torch.float64)
        rec.integers(f"{name}/numbers", [*numbers[0], *numbers[1:]])
        rec.integers(f"{name}/batch", sizes)
        rec.numbers(f"{name}/sgd", sgd)
        rec.text(f"{name}/names", " ".join(sorted(net.state_dict())))
        rec.numbers(f"{name}/losses", losses)
    return rec
