"""What record.py writes to muon.txt: twenty steps of Muon, with AdamW for what
is no matrix. The options stand once more in test_golden_muon.c, under the same
names.

torch.optim.Muon iterates in bfloat16 and takes matrices of two extents only.
Here it is PyTorch's own but for that: its Newton-Schulz is replaced by the same
formula in the precision of the run, and the weight of a convolution is given to
it as the matrix (out, the rest). That the formula is the same is checked in
bfloat16, where both have to give the same bits.
"""

import torch
from torch import nn
from torch.optim import _muon

import workloads

# Matrices (8, 2), (5, 72), (7, 45), (12, 7) and (4, 12): both kinds of layer,
# tall and wide.
NET = ("input 2 6 6 | conv conv1 8 1 1 0 | relu | conv conv2 5 3 1 1 | relu"
       " | maxpool 2 2 0 | flatten | linear fc1 7 | relu | linear fc2 12 | relu"
       " | linear fc3 4")
STEPS = 20
BATCH = 5

# name: of Muon, of AdamW, layers whose weight is AdamW's
CASES = {
    "defaults": ({}, {}, []),
    "original": (dict(lr=0.01, weight_decay=0.3), dict(lr=0.003), []),
    "match_rms": (dict(lr=0.01, weight_decay=0.2,
                       adjust_lr_fn="match_rms_adamw"),
                  dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3,
                       weight_decay=0.1), ["fc3"]),
    "heavy_ball": (dict(lr=0.01, momentum=0.8, nesterov=False,
                        weight_decay=0.0), dict(lr=0.002), []),
}

PYTORCHS = _muon._zeropower_via_newtonschulz


def newton_schulz(grad, coefficients, steps, eps):
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        s = x @ x.T
        x = torch.addmm(x, torch.addmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.T if grad.size(0) > grad.size(1) else x


def check_formula():
    for rows, columns in ((5, 72), (12, 7), (6, 6)):
        count = rows * columns
        grad = torch.from_numpy(workloads.values(f"grad{rows}", count))
        grad = grad.reshape(rows, columns).to(torch.bfloat16)
        numbers = ((_muon.DEFAULT_A, _muon.DEFAULT_B, _muon.DEFAULT_C),
                   _muon.DEFAULT_NS_STEPS, _muon.EPS)
        assert torch.equal(newton_schulz(grad, *numbers),
                           PYTORCHS(grad, *numbers))


class Both:
    """Muon for matrices, which share the memory of the weights, and AdamW."""

    def __init__(self, net, muon, adamw, by_adamw):
        self.net = net
        self.matrices = []
        rest = []
        for name, param in net.named_parameters():
            if param.ndim > 1 and name.split(".")[0] not in by_adamw:
                matrix = nn.Parameter(param.detach().view(len(param), -1))
                self.matrices.append((param, matrix))
            else:
                rest.append(param)
        self.muon = torch.optim.Muon([m for _, m in self.matrices], **muon)
        self.adamw = torch.optim.AdamW(rest, **adamw)

    def step(self):
        for param, matrix in self.matrices:
            matrix.grad = param.grad.reshape(matrix.shape)
        self.muon.step()
        self.adamw.step()


def record_steps(rec, name, dtype):
    bits = 64 if dtype == torch.float64 else 32
    net = workloads.Net(NET, dtype)
    workloads.set_params(net)
    opt = Both(net, *CASES[name])
    losses = []
    for step in range(STEPS):
        net.zero_grad()
        loss = workloads.loss_of(net, *workloads.batch(net, step, BATCH))
        loss.backward()
        opt.step()
        losses.append(loss.item())
    digits = 17 if bits == 64 else 9
    rec.numbers(f"{name}/loss{bits}", losses, digits)
    for key, param in net.named_parameters():
        rec.numbers(f"{name}/final{bits}/{key}", param.detach(), digits)


def record(rec):
    check_formula()
    rec.text("net", NET)
    _muon._zeropower_via_newtonschulz = newton_schulz
    for name in CASES:
        for dtype in (torch.float64, torch.float32):
            record_steps(rec, name, dtype)
    _muon._zeropower_via_newtonschulz = PYTORCHS
    return rec
