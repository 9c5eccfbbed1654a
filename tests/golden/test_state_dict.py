"""State dicts both ways between the programs and real PyTorch, as TAP.

usage: test_state_dict.py TRAIN_CLASSIFIER TRAIN_GPT

Of every model: the checkpoint that a program writes is, name by name, the
state dict of the twin in workloads.py, which then has the program's test loss;
and a program that starts from a twin's state dict trains as the twin does. All
in float32 and float64. No name is changed on the way, and no value is cast:
BatchNorm's num_batches_tracked, which PyTorch keeps as int64 and libtrain in
the type of the run, is converted by whoever loads it.
"""

import contextlib
import glob
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
from torch import nn

import workloads

STEPS, BATCH = 3, 8
TRAIN, TEST = 20, 13  # the third batch and the last of the test are not full
SHAPE = (3, 16, 16)
# Of a loss.
TOLERANCE = {"f32": 1e-5, "f64": 1e-9}
DTYPES = {"f32": torch.float32, "f64": torch.float64}
# A rate at which float32 cannot drift apart in three steps.
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4
ALPHABET = b"\n abcdefghijklmno"


class Flat(workloads.Net):
    def forward(self, x):
        return super().forward(x.flatten(1))


MODELS = {
    "mlp": lambda: Flat(workloads.mlp(int(np.prod(SHAPE)))),
    "convnet": lambda: workloads.Net(workloads.convnet(*SHAPE)),
    "resnet18": lambda: workloads.ResNet(height=SHAPE[1]),
    "gpt": lambda: workloads.Gpt(classes=len(ALPHABET)),
}


def images(split, count):
    x = workloads.values(split, count * int(np.prod(SHAPE)))
    y = workloads.bits(split + " classes", count) % np.uint64(10)
    return (x.astype(np.float32).reshape(count, *SHAPE), y.astype(np.int64))


def write_images(path):
    with h5py.File(path, "w") as file:
        for split, count in (("train", TRAIN), ("test", TEST)):
            file[f"{split}/x"], file[f"{split}/y"] = images(split, count)


def text():
    """Windows enough for both splits; the cut is at nine tenths."""
    context = 128
    ids = workloads.bits("text", 10 * context * TRAIN // 8) % np.uint64(
        len(ALPHABET))
    ids[:len(ALPHABET)] = np.arange(len(ALPHABET))  # all of them occur
    return ids.astype(np.int64)


def windows(ids, context=128):
    """Samples one behind the other, and each place's next character."""
    count = (len(ids) - context - 1) // context + 1
    rows = [ids[i * context:(i + 1) * context + 1] for i in range(count)]
    rows = np.stack(rows)
    return rows[:, :-1], rows[:, 1:]


def write_text(path):
    with open(path, "wb") as file:
        file.write(bytes(ALPHABET[i] for i in text()))


def load_data(model, dtype):
    """((x, y) of training, (x, y) of the test)"""
    if model == "gpt":
        ids = text()
        cut = len(ids) * 9 // 10
        return tuple(tuple(torch.from_numpy(a) for a in windows(part))
                     for part in (ids[:cut], ids[cut:]))
    return tuple((torch.from_numpy(x).to(dtype), torch.from_numpy(y))
                 for x, y in (images("train", TRAIN), images("test", TEST)))


def loss_of(net, x, y):
    logits = net(x)
    return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())


def test_loss(net, data):
    net.eval()
    with torch.no_grad():
        loss = loss_of(net, *data).item()
    net.train()
    return loss


def train(net, data):
    """The losses of the steps that the program makes."""
    opt = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM,
                          weight_decay=DECAY)
    losses = []
    x, y = data
    per_epoch = -(-len(x) // BATCH)
    for step in range(STEPS):
        first = step % per_epoch * BATCH
        opt.zero_grad()
        loss = loss_of(net, x[first:first + BATCH], y[first:first + BATCH])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def run(programs, model, dtype, *more):
    """Log lines of a run in this folder, which leaves its checkpoints in run/.
    """
    command = ([programs["gpt"], "--data", "text.txt"] if model == "gpt" else
               [programs["other"], "--data", "images.h5", "--model", model])
    command += ["--dtype", dtype, "--steps", str(STEPS), "--batch", str(BATCH),
                "--no-shuffle", "--threads", "1", "--seed", "7",
                "--optimizer", "momentum", "--lr", str(RATE),
                "--weight-decay", str(DECAY), "--log", "log.jsonl", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with "
                             f"{done.returncode}:\n"
                             + done.stdout.decode(errors="replace"))
    with open("log.jsonl", encoding="utf-8") as log:
        return [line for line in map(json.loads, log)
                if "step" in line or "final" in line]


def read_state(path):
    state = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            state[name] = torch.from_numpy(np.asarray(item[()]))

    with h5py.File(path, "r") as file:
        file["params"].visititems(visit)
    return state


def write_state(path, net):
    with h5py.File(path, "w") as file:
        for name, value in net.state_dict().items():
            file["params/" + name] = value.numpy()


def close(what, got, expected, dtype):
    difference = abs(got - expected) / abs(expected)
    print(f"# {what}: {got:.17g}, PyTorch {expected:.17g}, differs by "
          f"{difference:.2g}", flush=True)
    assert difference <= TOLERANCE[dtype], f"{what} differs by {difference:.3g}"


def check_checkpoint(programs, model, dtype):
    final = run(programs, model, dtype)[-1]
    net = MODELS[model]().to(DTYPES[dtype])
    (path,) = glob.glob("run/*.h5")
    state = read_state(path)
    net.load_state_dict(state, strict=True)
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value.item() == STEPS, f"{name} is {value.item()}"
        else:
            assert value.dtype == state[name].dtype, name
    _, data = load_data(model, DTYPES[dtype])
    close(f"{model} {dtype}, test loss", final["test_loss"],
          test_loss(net, data), dtype)


def check_init(programs, model, dtype):
    torch.manual_seed(5)
    net = MODELS[model]().to(DTYPES[dtype])
    data, test = load_data(model, DTYPES[dtype])
    for buffer in net.buffers():  # not those that a model starts with
        buffer.add_(2)
    write_state("init.h5", net)
    lines = run(programs, model, dtype, "--init", "init.h5")
    for step, expected in enumerate(train(net, data)):
        close(f"{model} {dtype}, loss {step + 1}", lines[step]["loss"],
              expected, dtype)
    close(f"{model} {dtype}, test loss", lines[-1]["test_loss"],
          test_loss(net, test), dtype)
    (path,) = glob.glob("run/*.h5")
    state = read_state(path)
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert state[name].item() == value.item(), name


@contextlib.contextmanager
def folder():
    """A folder with the data, which the programs run in."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="libtrain-test-") as path:
        os.chdir(path)
        write_images("images.h5")
        write_text("text.txt")
        try:
            yield
        finally:
            os.chdir(before)


def main():
    programs = {"other": os.path.abspath(sys.argv[1]),
                "gpt": os.path.abspath(sys.argv[2])}
    torch.set_num_threads(1)
    claims = [(check, model, dtype)
              for model in MODELS for dtype in DTYPES
              for check in (check_checkpoint, check_init)]
    titles = {check_checkpoint: "a checkpoint of {} in {} is PyTorch's state",
              check_init: "{} in {} goes on from PyTorch's state"}
    print(f"1..{len(claims)}")
    failed = 0
    for number, (check, model, dtype) in enumerate(claims, 1):
        ok = "ok"
        try:
            with folder():
                check(programs, model, dtype)
        except (AssertionError, RuntimeError, OSError, KeyError) as problem:
            print("\n".join("# " + line for line in str(problem).split("\n")))
            ok, failed = "not ok", 1
        print(f"{ok} {number} - {titles[check].format(model, dtype)}",
              flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
