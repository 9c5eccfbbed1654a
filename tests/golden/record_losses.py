"""What record.py writes to losses.txt: ten steps of each loss in fp64, on a net
of two layers; every third batch has two samples. The options stand once more in
test_golden_losses.c, under the same names."""

import numpy as np
import torch
from torch.nn import functional as F

import workloads

NET = "input 6 | linear fc1 7 | relu | linear fc2 12"
STEPS = 10
BATCH = 5
LR = 0.1


def weights(name, count, dtype):
    """Positive numbers by name."""
    return torch.from_numpy(1.5 + workloads.values(name, count)).to(dtype)


def numbers(step, count, dtype):
    """Targets of numbers: like x, by name, rounded to float32."""
    t = 2 * workloads.values(f"t{step}", count * 12)
    t = torch.from_numpy(t.astype(np.float32)).to(dtype)
    return t.reshape(count, 12)


def classes(step, count, rows, K):
    """Targets of classes; every third row is ignored."""
    y = (workloads.bits(f"y{step}", count * rows) % np.uint64(K)).astype(
        np.int64)
    ignored = y.copy()
    ignored[::3] = -100
    return torch.from_numpy(y), torch.from_numpy(ignored)


def xent(x, step, K, ignores=False, **more):
    """x as rows of K logits; torch takes the mean over rows that count."""
    rows = 12 // K
    y, ignored = classes(step, x.shape[0], rows, K)
    return F.cross_entropy(x.reshape(-1, K), ignored if ignores else y, **more)


def cases(dtype):
    """name: loss(x, step)"""
    def target(x, step):
        return numbers(step, x.shape[0], dtype)

    def share(x, step):
        return target(x, step).abs() / 2

    class_weights = weights("class_weights", 12, dtype)
    pos = weights("pos_weight", 12, dtype)
    return {
        "mse": lambda x, s: F.mse_loss(x, target(x, s)),
        "mae": lambda x, s: F.l1_loss(x, target(x, s)),
        "huber": lambda x, s: F.huber_loss(x, target(x, s)),
        "huber_delta": lambda x, s: F.huber_loss(x, target(x, s), delta=0.3),
        "bce": lambda x, s: F.binary_cross_entropy_with_logits(x, share(x, s)),
        "bce_pos": lambda x, s: F.binary_cross_entropy_with_logits(
            x, share(x, s), pos_weight=pos),
        "smooth": lambda x, s: xent(x, s, 12, label_smoothing=0.2),
        "ignore": lambda x, s: xent(x, s, 12, ignores=True),
        "class_weights": lambda x, s: xent(x, s, 12, weight=class_weights),
        "xent_all": lambda x, s: xent(x, s, 12, ignores=True,
                                      weight=class_weights,
                                      label_smoothing=0.1),
        "tokens_all": lambda x, s: xent(x, s, 4, ignores=True,
                                        weight=class_weights[:4],
                                        label_smoothing=0.1),
        "two": lambda x, s: (0.7 * xent(x, s, 4)
                             + 0.2 * F.mse_loss(x, target(x, s))
                             + F.l1_loss(x, target(x, s))),
    }


def record_case(rec, name, dtype):
    net = workloads.Net(NET, dtype)
    workloads.set_params(net)
    opt = torch.optim.SGD(net.parameters(), LR)
    losses = []
    for step in range(STEPS):
        x, _, _ = workloads.batch(net, step, 2 if step % 3 == 2 else BATCH)
        opt.zero_grad()
        loss = cases(dtype)[name](net(x), step)
        loss.backward()
        if step == 0:
            for key, param in net.named_parameters():
                rec.numbers(f"{name}/grad/{key}", param.grad, 12)
        opt.step()
        losses.append(loss.item())
    rec.numbers(f"{name}/loss", losses)
    for key, param in net.named_parameters():
        rec.numbers(f"{name}/final/{key}", param.detach(), 12)


def record(rec):
    rec.text("net", NET)
    for name in cases(torch.float64):
        record_case(rec, name, torch.float64)
    return rec
