"""What record.py writes to conv.txt: convolutions and pools of one, two and
three extents with all their options.

A case is a line of integers that test_golden_conv.c reads in the same order:

    KIND ndim C in[3] out kernel[3] stride[3] padding[3] dilation[3]
    output_padding[3] groups flag

of the three numbers the first ndim count. flag: without bias, or of an average
pool, padding excluded. Recorded are the layer's output on x0, and its gradients
where the output's is value("dy", i); then the losses of ten steps of
`input | conv front C (kernel 1) | the layer | flatten | linear back 4` with SGD
0.02, momentum 0.9; every third batch is one sample. All in fp64.
"""

import math

import torch
from torch import nn

import workloads

ROWS = 3
STEPS = 10
CLASSES = 4


def case(kind, channels, extents, out=0, k=1, s=1, p=0, d=1, op=0, groups=1,
         flag=0):
    ndim = len(extents)

    def three(value):
        value = [value] * ndim if isinstance(value, int) else list(value)
        return value + [0] * (3 - ndim)

    return (kind, [ndim, channels] + three(extents) + [out] + three(k)
            + three(s) + three(p) + three(d) + three(op) + [groups, flag])


def cases():
    return {
        "conv1d": case("conv", 2, (9,), 3, 3, 2, 1),
        "conv1d_dilated": case("conv", 3, (11,), 2, 3, 1, 4, 2),
        "conv1d_depthwise": case("conv", 4, (8,), 8, 5, 1, 2, 1, groups=4),
        "conv2d_rectangle": case("conv", 2, (6, 9), 3, (3, 2), (1, 3), (0, 1)),
        "conv2d_dilated": case("conv", 2, (9, 8), 3, 3, 2, (2, 1), (2, 3)),
        "conv2d_groups": case("conv", 4, (5, 6), 6, 3, 1, 1, groups=2),
        "conv2d_groups_nobias": case("conv", 6, (5, 5), 3, (3, 1), 2, (1, 0),
                                     groups=3, flag=1),
        "conv2d_depthwise": case("conv", 3, (7, 6), 3, 3, 1, 1, groups=3),
        "conv2d_depthwise_strided": case("conv", 3, (7, 8), 6, 3, 2, 1, (1, 2),
                                         groups=3),
        "conv1d_one": case("conv", 1, (1,), 1),
        "conv2d_one": case("conv", 1, (1, 1), 1, 3, 2, 1),
        "conv2d_primes": case("conv", 5, (7, 3), 7, 3, 2, 1),
        "conv3d_one": case("conv", 1, (1, 1, 1), 1),
        "transpose2d_one": case("transpose", 1, (1, 1), 1, 2),
        "maxpool2d_one": case("max", 1, (1, 1), k=1),
        "avgpool2d_one": case("avg", 1, (1, 1), k=3, p=1),
        "conv2d_one_row": case("conv", 2, (1, 5), 2, (1, 3), 1, (0, 1)),
        "conv3d": case("conv", 2, (4, 5, 3), 3, 3, (1, 2, 1), 1),
        "conv3d_groups": case("conv", 4, (3, 4, 5), 2, 2, 1, (1, 0, 1),
                              (2, 1, 1), groups=2),
        "conv3d_depthwise": case("conv", 2, (4, 4, 4), 2, 3, 2, 1, groups=2),
        "transpose2d": case("transpose", 2, (3, 4), 3, 3, 2, 1, op=1),
        "transpose2d_plain": case("transpose", 3, (4, 3), 2, 2, 2),
        "transpose2d_dilated": case("transpose", 2, (3, 3), 2, (3, 2), (1, 3),
                                    (1, 0), (2, 1), (1, 2)),
        "transpose2d_groups": case("transpose", 4, (3, 4), 6, 3, 2, 1,
                                   groups=2, flag=1),
        "transpose2d_depthwise": case("transpose", 3, (4, 4), 3, 4, 2, 1,
                                      groups=3),
        "maxpool1d": case("max", 3, (11,), k=3, s=2, p=1),
        "maxpool2d_rectangle": case("max", 2, (6, 9), k=(2, 3), s=(2, 1),
                                    p=(1, 0)),
        "maxpool3d": case("max", 2, (4, 5, 6), k=2, s=(1, 2, 2), p=(1, 0, 1)),
        "maxpool3d_blocks": case("max", 2, (3, 4, 6), k=(1, 2, 2),
                                 s=(1, 2, 2)),
        "global_max": case("global_max", 3, (4, 5)),
        "avgpool1d": case("avg", 3, (10,), k=4, s=3, p=2),
        "avgpool2d": case("avg", 2, (6, 7), k=3, s=2, p=1),
        "avgpool2d_inside": case("avg", 2, (6, 7), k=(3, 2), s=(1, 2),
                                 p=(1, 1), flag=1),
        "avgpool3d": case("avg", 2, (4, 5, 4), k=(2, 3, 2), s=2, p=(1, 1, 0)),
        "avgpool3d_inside": case("avg", 2, (4, 3, 4), k=2, s=1, p=1, flag=1),
        "adaptive1d": case("adaptive", 3, (10,), k=4),
        "adaptive2d": case("adaptive", 2, (7, 5), k=(3, 2)),
        "adaptive2d_larger": case("adaptive", 2, (3, 5), k=(5, 7)),
        "adaptive2d_one": case("adaptive", 3, (4, 6), k=1),
        "adaptive3d": case("adaptive", 2, (5, 4, 3), k=(2, 3, 2)),
    }


def layer_of(kind, n):
    ndim, channels, out = n[0], n[1], n[5]
    k, s, p, d, op = (tuple(n[i:i + ndim]) for i in range(6, 21, 3))
    groups, flag = n[21:]
    if kind == "conv":
        make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
        return make(channels, out, k, s, p, d, groups, bias=not flag)
    if kind == "transpose":
        return nn.ConvTranspose2d(channels, out, k, s, p, op, groups, not flag,
                                  d)
    if kind == "max":
        return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[ndim - 1](k, s, p)
    if kind == "avg":
        make = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[ndim - 1]
        return make(k, s, p, count_include_pad=not flag)
    if kind == "global_max":
        return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    make = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
    return make[ndim - 1](k)


def set_params(prefix, module):
    """As in workloads.py; the bound is that of 4 inputs for all."""
    for name, param in module.named_parameters():
        value = workloads.values(f"{prefix}.{name}", param.numel()) * 0.5
        value = torch.from_numpy(value.astype("float32"))
        with torch.no_grad():
            param.copy_(value.reshape(param.shape))


def tensor(name, shape):
    value = workloads.values(name, math.prod(shape)).astype("float32")
    return torch.from_numpy(value).double().reshape(shape)


def record_layer(rec, name, layer, shape):
    x = tensor("x0", (ROWS, *shape)).requires_grad_()
    y = layer(x)
    y.backward(tensor("dy", y.shape))
    rec.numbers(f"{name}/y", y.detach(), 12)
    rec.numbers(f"{name}/dx", x.grad, 12)
    for param_name, param in layer.named_parameters():
        rec.numbers(f"{name}/d{param_name}", param.grad, 12)
    return y.shape[1:]


def record_steps(rec, name, layer, numbers, out):
    ndim, channels = numbers[:2]
    shape = (channels, *numbers[2:2 + ndim])
    front = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1](channels, channels, 1)
    back = nn.Linear(math.prod(out), CLASSES)
    net = nn.Sequential(front, layer, nn.Flatten(), back).double()
    set_params("front", front)
    set_params("middle", layer)
    set_params("back", back)
    opt = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    losses = []
    for step in range(STEPS):
        rows = 1 if step % 3 == 2 else ROWS
        x = tensor(f"x{step}", (rows, *shape))
        y = workloads.bits(f"y{step}", rows) % CLASSES
        opt.zero_grad()
        loss = nn.functional.cross_entropy(
            net(x), torch.from_numpy(y.astype("int64")))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    rec.numbers(f"{name}/losses", losses)


def record(rec):
    rec.text("cases", " ".join(cases()))
    for name, (kind, numbers) in cases().items():
        layer = layer_of(kind, numbers).double()
        set_params("middle", layer)
        rec.text(f"{name}/kind", kind)
        rec.integers(f"{name}/numbers", numbers)
        shape = (numbers[1], *numbers[2:2 + numbers[0]])
        out = record_layer(rec, name, layer, shape)
        record_steps(rec, name, layer, numbers, out)
    return rec
