"""The workloads `mlp`, `convnet`, `resnet` and `gpt`: their exact definition, with
PyTorch twins.

A net is written as a text, one layer after another, that the C tests read too
(net.c), so that there is one definition and not two:

    input D | input C H W         extents of one sample, row-major
    linear NAME OUT               y = x W^T + b
    linear_nobias NAME OUT
    conv NAME OUT K S P           square filter K, stride S, zero padding P
    conv_nobias NAME OUT K S P
    relu
    maxpool K S P
    gap                           mean of each channel: (N, C, H, W) -> (N, C)
    flatten

Every linear and conv layer has a bias unless it says otherwise. The loss is
the mean of softmax cross-entropy over the batch. Weights are (out, in) and
(out, in, K, K). Weights and biases both start uniform in +-1/sqrt(fan_in),
fan_in being in or in K K: PyTorch's own default. The parameters are
NAME.weight and NAME.bias. There is no normalisation and no dropout.

    workload     batch  optimizer (PyTorch's default numbers but for the rate)
    mlp          32     Adam, rate 1e-3
    convnet28    64     AdamW, rate 1e-3
    convnet224   8      AdamW, rate 1e-3
    resnet18     32     SGD, rate 0.1, momentum 0.9, weight decay 5e-4
    resnet50     32     SGD, rate 0.1, momentum 0.9, weight decay 5e-4
    gpt          16     AdamW, rate 3e-4

`resnet18` and `resnet50` are the class ResNet below: torchvision's networks
under torchvision's names, 50 as v1.5, for 32x32 and for 224x224 images. Images
smaller than 64x64 have a 3x3 stem of stride 1 without a pool behind it.
Convolutions have no bias and start normal with deviation sqrt(2 / fan_out),
fan_out being out K K (kaiming_normal_); BatchNorm starts at weight 1 and bias
0, its epsilon is 1e-5 and its momentum 0.1; `fc` starts as nn.Linear does.
Everything decays, biases and normalisation too. example_resnet() and
example_resnet_init() are the twin.

`gpt` is the class Gpt below, with 4 layers, 6 heads, width 192, context 128 and
65 tokens: nothing is tied, nothing is dropped, LayerNorm's epsilon is 1e-5, and
every linear layer but the head has a bias. Embedding and positions start normal
with deviation 1, as nn.Embedding does. The loss is the mean over all tokens.

`train_classifier --model mlp` is D-512-256-classes and `--model convnet` is
convnet28 with the channels, extents and classes of its data.

Numbers that both sides of a test need are not stored but computed from names:

    key(name)       FNV-1a, 64 bits, of the name's bytes
    mix(z)          the finalizer of splitmix64
    bits(name, i)   mix(key(name) + (i + 1) * 0x9e3779b97f4a7c15)
    value(name, i)  (bits >> 40) / 2^23 - 1, uniform in [-1, 1)

Parameter element i is value(name, i) * bound; in step s the input is
value("x<s>", i) * scale (1 but where a case says so), i counting over the
whole global batch. Both are rounded to float32, in fp64 runs too. The class of
sample n is bits("y<s>", n) % classes and its weight, in cases with weights, is
max(0, value("w<s>", n)).
"""

import collections
import math

import numpy as np
import torch
from torch import nn


def mlp(inputs=1000, classes=10):
    return (f"input {inputs} | linear fc1 512 | relu | linear fc2 256 | relu"
            f" | linear fc3 {classes}")


def convnet(channels=1, height=28, width=28, classes=10):
    return (f"input {channels} {height} {width}"
            " | conv conv1 64 3 1 1 | relu | maxpool 2 2 0"
            " | conv conv2 128 3 1 1 | relu | maxpool 2 2 0"
            f" | conv conv3 256 3 1 1 | relu | gap | linear fc {classes}")


WORKLOADS = {
    "mlp": mlp(),
    "convnet28": convnet(),
    "convnet224": convnet(3, 224, 224, 1000),
}


class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2)
                   for part in self.qkv(self.ln1(x)).chunk(3, dim=2))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, width))
        up = self.up(self.ln2(x))
        return x + self.down(nn.functional.gelu(up, approximate="tanh"))


class Gpt(nn.Module):
    """The twin of example_gpt_sized()."""

    def __init__(self, layers=4, heads=6, width=192, context=128, classes=65,
                 dtype=torch.float32):
        super().__init__()
        self.context, self.classes = context, classes
        self.tok = nn.Embedding(classes, width)
        self.pos = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(heads, width) for _ in range(layers))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes, bias=False)
        self.to(dtype)

    def forward(self, ids):
        x = self.tok(ids) + self.pos.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


class Residual(nn.Module):
    """Torchvision's BasicBlock or Bottleneck."""

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
    """The twin of example_resnet(); the default is resnet18 on CIFAR."""

    def __init__(self, blocks=(2, 2, 2, 2), width=64, is_bottleneck=0,
                 channels=3, height=32, classes=10):
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
                layer.append(Residual(last, width << stage, stride,
                                      is_bottleneck))
                last = (width << stage) * (4 if is_bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out",
                                        nonlinearity="relu")

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        if self.is_large:
            x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def tokens(net, step, count):
    """Inputs and targets of a step: element i, over the whole batch, is
    bits("x<s>", i) % classes, and of the targets bits("y<s>", i) % classes."""
    def ids(name):
        drawn = bits(name, count * net.context) % np.uint64(net.classes)
        return torch.from_numpy(drawn.astype(np.int64)).view(count, -1)

    return ids(f"x{step}"), ids(f"y{step}")


class Gap(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


def _layer(kind, args, shape):
    """One layer of a net's text and the shape behind it."""
    bias = not kind.endswith("_nobias")
    kind = kind.removesuffix("_nobias")
    if kind == "linear":
        out = int(args[0])
        return nn.Linear(shape[0], out, bias=bias), (out,)
    if kind == "conv":
        out, k, s, p = map(int, args)
        h, w = ((e + 2 * p - k) // s + 1 for e in shape[1:])
        conv = nn.Conv2d(shape[0], out, k, s, p, bias=bias)
        return conv, (out, h, w)
    if kind == "maxpool":
        k, s, p = map(int, args)
        h, w = ((e + 2 * p - k) // s + 1 for e in shape[1:])
        return nn.MaxPool2d(k, s, p), (shape[0], h, w)
    if kind == "relu":
        return nn.ReLU(), shape
    if kind == "gap":
        return Gap(), shape[:1]
    if kind == "flatten":
        return nn.Flatten(), (math.prod(shape),)
    raise ValueError(f"no layer is called {kind}")


class Net(nn.Sequential):
    """A net from its text, with `.shape` of a sample and `.classes`."""

    def __init__(self, text, dtype=torch.float32):
        layers = collections.OrderedDict()
        for number, part in enumerate(text.split("|")):
            kind, *args = part.split()
            if kind == "input":
                shape = tuple(map(int, args))
                self_shape = shape
                continue
            name = f"node{number}"
            if kind.startswith(("linear", "conv")):
                name, *args = args
            layers[name], shape = _layer(kind, args, shape)
        super().__init__(layers)
        self.shape, self.classes = self_shape, shape[0]
        self.to(dtype)


GOLDEN_RATIO = 0x9E3779B97F4A7C15


def bits(name, count, first=0):
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        i = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
        z = np.uint64(key) + i * np.uint64(GOLDEN_RATIO)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(name, count):
    return (bits(name, count) >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def set_params(net):
    """Give every parameter its numbers by name."""
    params = dict(net.named_parameters())
    for name, param in params.items():
        weight = params[name.rsplit(".", 1)[0] + ".weight"]
        bound = 1 / math.sqrt(weight[0].numel())
        value = (values(name, param.numel()) * bound).astype(np.float32)
        with torch.no_grad():
            param.copy_(torch.from_numpy(value).reshape(param.shape))


def batch(net, step, count, scale=1.0, weighted=False):
    """The global batch of a step: inputs, classes, weights or None."""
    dtype = next(net.parameters()).dtype
    x = values(f"x{step}", count * math.prod(net.shape)) * scale
    x = torch.from_numpy(x.astype(np.float32)).to(dtype).reshape(count, *net.shape)
    y = (bits(f"y{step}", count) % np.uint64(net.classes)).astype(np.int64)
    w = None
    if weighted:
        w = torch.from_numpy(np.maximum(values(f"w{step}", count), 0))
        w = w.to(dtype)
    return x, torch.from_numpy(y), w


def loss_of(net, x, y, w):
    losses = nn.functional.cross_entropy(net(x), y, reduction="none")
    return losses.mean() if w is None else (losses * w).sum() / w.sum()
