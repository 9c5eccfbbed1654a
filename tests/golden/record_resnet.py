"""What record.py writes to resnet.txt: losses of ResNets, built here as
torchvision builds them and with its names, trained with SGD 0.1, momentum 0.9.

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


class Block(nn.Module):
    def __init__(self, channels, width, stride, is_bottleneck):
        super().__init__()
        out = 4 * width if is_bottleneck else width
        if is_bottleneck:
            shapes = [(channels, width, 1, 1), (width, width, 3, stride),
                      (width, out, 1, 1)]
        else:
            shapes = [(channels, width, 3, stride), (width, width, 3, 1)]
        self.count = len(shapes)
        for i, (c, k, size, s) in enumerate(shapes, 1):
            setattr(self, f"conv{i}",
                    nn.Conv2d(c, k, size, s, size // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(k))
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False),
                nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.count else y
        return torch.relu(y + (x if self.downsample is None
                               else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, blocks, width, is_bottleneck, channels, height):
        super().__init__()
        self.is_large = height >= 64
        size, stride = (7, 2) if self.is_large else (3, 1)
        self.conv1 = nn.Conv2d(channels, width, size, stride, size // 2,
                               bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        last = width
        for stage, count in enumerate(blocks):
            layer = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                layer.append(Block(last, width << stage, stride,
                                   is_bottleneck))
                last = (width << stage) * (4 if is_bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(last, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        if self.is_large:
            x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


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
    net = ResNet(blocks, width, is_bottleneck, channels, h).double()
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
