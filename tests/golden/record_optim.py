"""What record.py writes to optim.txt: ten steps of optimizers with options of
their own, and the rates of schedules. The options stand once more in
test_golden_optim.c, under the same names."""

import torch
from torch import nn

import workloads

NET = "input 6 | linear fc1 7 | relu | linear fc2 4"
STEPS = 10
BATCH = 5
RATES = 40
DECAY = 0.9


def no_decay(net, decay):
    """Weights decay, biases do not; fc1 learns at half the rate."""
    params = dict(net.named_parameters())
    return [
        {"params": [params["fc1.weight"]], "lr": 0.05, "weight_decay": decay},
        {"params": [params["fc2.weight"]], "weight_decay": decay},
        {"params": [params["fc1.bias"], params["fc2.bias"]],
         "weight_decay": 0.0},
    ]


def optimizers():
    """name: (make(net), clip norm or None)"""
    o = torch.optim
    return {
        "nesterov": (lambda n: o.SGD(n.parameters(), 0.1, momentum=0.9,
                                     nesterov=True, weight_decay=0.01), None),
        "dampening": (lambda n: o.SGD(n.parameters(), 0.1, momentum=0.8,
                                      dampening=0.3), None),
        "rmsprop": (lambda n: o.RMSprop(n.parameters(), 0.01,
                                        weight_decay=0.1), None),
        "rmsprop_all": (lambda n: o.RMSprop(n.parameters(), 0.01, alpha=0.9,
                                            eps=1e-3, momentum=0.7,
                                            centered=True), None),
        "rmsprop_centered": (lambda n: o.RMSprop(n.parameters(), 0.01,
                                                 eps=1e-3, centered=True),
                             None),
        "adagrad": (lambda n: o.Adagrad(n.parameters(), 0.05), None),
        "adagrad_all": (lambda n: o.Adagrad(
            n.parameters(), 0.05, lr_decay=0.1, weight_decay=0.1,
            initial_accumulator_value=0.2, eps=1e-3), None),
        "groups": (lambda n: o.SGD(no_decay(n, 0.3), 0.1, momentum=0.5), None),
        "clipped": (lambda n: o.SGD(n.parameters(), 0.5, momentum=0.9), 0.25),
        "adamw_clipped": (lambda n: o.AdamW(n.parameters(), 0.01, eps=1e-3),
                          0.1),
    }


def record_steps(rec, name, make, limit, dtype):
    bits = 64 if dtype == torch.float64 else 32
    net = workloads.Net(NET, dtype)
    workloads.set_params(net)
    opt = make(net)
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY))
    averaged.update_parameters(net)  # the first only copies
    losses, norms = [], []
    for step in range(STEPS):
        opt.zero_grad()
        loss = workloads.loss_of(net, *workloads.batch(net, step, BATCH))
        loss.backward()
        if limit is not None:
            norms.append(nn.utils.clip_grad_norm_(net.parameters(),
                                                  limit).item())
        opt.step()
        averaged.update_parameters(net)
        losses.append(loss.item())
    digits = 17 if bits == 64 else 9
    rec.numbers(f"{name}/loss{bits}", losses, digits)
    if norms:
        rec.numbers(f"{name}/norm{bits}", norms, digits)
    for key, param in net.named_parameters():
        rec.numbers(f"{name}/final{bits}/{key}", param.detach(), digits)
    if name == "nesterov":
        for key, param in averaged.module.named_parameters():
            rec.numbers(f"{name}/ema{bits}/{key}", param.detach(), digits)


METRICS = [1.0, 0.9, 0.95, 0.91, 0.89999, 0.92, 0.8, 0.81, 0.82, 0.83, 0.84,
           0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.79, 0.8, 0.8, 0.8, 0.8, 0.8,
           0.8, 0.8, 0.8]


def record_schedules(rec):
    s = torch.optim.lr_scheduler
    made = {
        "multistep": lambda o: s.MultiStepLR(o, [3, 9, 10, 30], 0.5),
        "exponential": lambda o: s.ExponentialLR(o, 0.9),
        "linear": lambda o: s.LinearLR(o, 1.0 / 3, 1.0, 12),
        "linear_down": lambda o: s.LinearLR(o, 1.0, 0.0, 25),
        "polynomial": lambda o: s.PolynomialLR(o, 30, 2.0),
        "cosine_end": lambda o: s.CosineAnnealingLR(o, RATES, 0.1 * 0.2),
        "one_cycle": lambda o: s.OneCycleLR(o, 0.1, RATES,
                                            cycle_momentum=False),
        "one_cycle_all": lambda o: s.OneCycleLR(
            o, 0.1, RATES, pct_start=0.25, div_factor=10,
            final_div_factor=100, cycle_momentum=False),
    }
    for name, make in made.items():
        opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
        schedule = make(opt)
        rates = []
        for step in range(RATES):
            rates.append(opt.param_groups[0]["lr"])
            opt.step()
            if step < RATES - 1:
                schedule.step()
        rec.numbers(f"{name}/rates", rates)
    rec.numbers("plateau/metrics", METRICS)
    for name, sign, more in [("plateau", 1, dict(factor=0.3, patience=2)),
                             ("plateau_all", -1,
                              dict(factor=0.5, patience=0, cooldown=2,
                                   threshold=0.01, min_lr=0.1 * 0.2,
                                   mode="max"))]:
        opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
        schedule = s.ReduceLROnPlateau(opt, **more)
        rates = []
        for metric in METRICS:
            schedule.step(metric if sign > 0 else 2 - metric)
            rates.append(opt.param_groups[0]["lr"])
        rec.numbers(f"{name}/rates", rates)


def record(rec):
    rec.text("net", NET)
    for name, (make, limit) in optimizers().items():
        for dtype in (torch.float64, torch.float32):
            record_steps(rec, name, make, limit, dtype)
    record_schedules(rec)
    return rec
