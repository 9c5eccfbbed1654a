"""Bad input: every row ends with its exit code and one clear message.

usage: test_bad_input.py MPIRUN TRAIN_CLASSIFIER MAKE_HDF5 [--only TEXT]

A row is a claim per number of ranks. A new refusal is a new row.
"""

import concurrent.futures
import gzip
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import job

WORKERS = 3
SIDE = 8
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SHORT = ["--model", "mlp", "--batch", "8", "--threads", "1"]


class Row:
    """One command and what it must end with."""

    def __init__(self, title, prepare, options, code, text, ranks=(1, 3),
                 warnings=0, before=(), ulimit=None, other=None, tmpfs=None):
        self.title = title
        self.prepare = prepare      # called with (tools, folder), or None
        self.options = options
        self.code = code
        self.text = text            # in the error, or else in a warning
        self.ranks = ranks
        self.warnings = warnings    # how many lines begin with "warning"
        self.before = before        # options of a job that runs meanwhile
        self.ulimit = ulimit        # largest file, in blocks of 512 bytes
        self.other = other          # options of all ranks but the first
        self.tmpfs = tmpfs          # size of the file system of run/


class Tools:
    def __init__(self, mpirun, program, make_hdf5, scratch):
        self.mpirun = mpirun
        self.program = program
        self.make_hdf5 = make_hdf5
        self.scratch = scratch
        self.run_folder = os.path.join(scratch, "template", "run")

    def make_template(self):
        """A run with checkpoints of steps 2 and 4."""
        folder = os.path.dirname(self.run_folder)
        os.makedirs(folder)
        idx()(self, folder)
        subprocess.run([self.program] + SHORT +
                       ["--data", "data", "--steps", "4", "--save-every", "2"],
                       cwd=folder, check=True, stdout=subprocess.DEVNULL)


def idx_bytes(magic, dims, body):
    return struct.pack(">I", magic) + b"".join(
        struct.pack(">I", dim) for dim in dims) + body


def idx(images=40, labels=None, magic=0x803, dims=None, change=None,
        gz=None, label_change=None):
    """A folder of IDX files; change is applied to the bytes of the images,
    gz to those of the compressed file."""
    labels = images if labels is None else labels

    def prepare(_, folder):
        path = os.path.join(folder, "data")
        os.makedirs(path, exist_ok=True)
        pixels = bytes(i * 7919 % 251 for i in range(images * SIDE * SIDE))
        data = idx_bytes(magic, dims or [images, SIDE, SIDE], pixels)
        data = change(data) if change else data
        name = os.path.join(path, IMAGES)
        if gz:
            name += ".gz"
            data = gz(gzip.compress(data))
        with open(name, "wb") as file:
            file.write(data)
        data = idx_bytes(0x801, [labels], bytes(i % 3 for i in range(labels)))
        data = label_change(data) if label_change else data
        with open(os.path.join(path, LABELS), "wb") as file:
            file.write(data)
    return prepare


def hdf5(variant, change=None, name="data.h5"):
    def prepare(tools, folder):
        path = os.path.join(folder, name)
        subprocess.run([tools.make_hdf5, variant, path], check=True)
        if change:
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(change(data))
    return prepare


def both(*parts):
    def prepare(tools, folder):
        for part in parts:
            part(tools, folder)
    return prepare


def text_file(name, text):
    def prepare(_, folder):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return prepare


def make_folder(name):
    def prepare(_, folder):
        os.makedirs(os.path.join(folder, name))
    return prepare


def make_pipe(name):
    def prepare(_, folder):
        os.mkfifo(os.path.join(folder, name))
    return prepare


def flip(at):
    """One bit of a file, counted from its end where at is negative; a
    fraction counts in its length."""
    def change(data):
        data = bytearray(data)
        data[int(at * len(data)) if isinstance(at, float) else at] ^= 0x10
        return bytes(data)
    return change


def damage(names, change):
    """The template's run with some of its files changed; None removes."""
    def prepare(tools, folder):
        idx()(tools, folder)
        shutil.copytree(tools.run_folder, os.path.join(folder, "run"))
        for name in names:
            path = os.path.join(folder, "run", name)
            if change is None:
                os.remove(path)
                continue
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(change(data))
    return prepare


def half(data):
    return data[:len(data) // 2]


def same(data):
    return data


def longer(data):
    return data + b"x"


def option_rows():
    yield Row("an unknown option", None, ["--bogus"], 2,
              'unknown option "--bogus"')
    yield Row("a word that is no option", None, ["data"], 2,
              'unknown option "data"')
    for title, options, text in (
            ("an option with letters in turn", ["--epohcs", "2"],
             'error: unknown option "--epohcs": did you mean --epochs?'),
            ("an option of other programs", ["--batch-size=8"],
             'unknown option "--batch-size=8": did you mean --batch?'),
            ("an option with one dash", ["-resume"],
             'unknown option "-resume": did you mean --resume?'),
            ("a letter that is no option", ["-x"], 'unknown option "-x"'),
            ("a name that begins two options", ["--no"],
             '"--no" may be --no-shuffle, --no-checkpoint'),
            ("a flag with a value", ["--resume=1"],
             '"--resume=1": this option takes no value'),
            ("a flag with a value, in short", ["--resu=1"],
             '"--resu=1": this option takes no value'),
            ("an option where a value belongs", ["--lr", "--epochs", "2"],
             "--lr wants a value"),
            ("a word behind --", ["--epochs", "1", "--", "x"],
             '"x" behind "--": expected nothing'),
            ("a bad value behind =", ["--lr=fast"],
             'error: --lr is "fast", expected a number'),
            ("no value behind =", ["--batch="], '--batch is "", expected'),
            ("a bad value of a shortened name", ["--epoch", "0"],
             '--epochs is "0", expected a whole number'),
            ("two dashes and a value", ["--=x"], 'unknown option "--=x"')):
        yield Row(title, None, options, 2, text,
                  ranks=(1, 3) if "turn" in title else (1,))
    for name in ("model", "data", "batch", "lr", "init", "log"):
        yield Row("--%s without a value" % name, None, ["--" + name], 2,
                  "--%s wants a value" % name,
                  ranks=(1, 3) if name == "data" else (1,))
    bad = {"batch": ("0", "-1", "1.5", "1e10", "abc", ""),
           "epochs": ("0", "-3", "2.5", "x"),
           "steps": ("0", "-1", "0.5", "1e16", "nan"),
           "lr": ("0", "-1", "nan", "inf", "1e99", "1e-3x"),
           "warmup": ("-1", "0.1", "inf"),
           "weight-decay": ("-0.1", "nan", "x"),
           "threads": ("0", "-1", "5000", "1.5"),
           "seed": ("-1", "1e19", "0.5", "x"),
           "save-every": ("0", "-1", "1.5"),
           "virtual-shards": ("0", "-1", "2.5")}
    for name, values in bad.items():
        for value in values:
            yield Row('--%s "%s"' % (name, value), None, ["--" + name, value],
                      2, '--%s is "%s", expected' % (name, value),
                      ranks=(1, 3) if value == values[0] else (1,))
    for name in ("model", "optimizer", "schedule", "dtype", "conv", "device",
                 "on-save-error", "on-nonfinite"):
        yield Row("--%s of no known kind" % name, None, ["--" + name, "zzz"],
                  2, '--%s is "zzz", expected' % name,
                  ranks=(1, 3) if name == "model" else (1,))
    yield Row("--device cuda is not here", None, ["--device", "cuda"], 69,
              "is not supported by libtrain", ranks=(1, 3))
    yield Row("fewer virtual shards than ranks", None,
              ["--virtual-shards", "2"], 2,
              "virtual_shards is 2, expected at least the number of ranks, 3",
              ranks=(3,))
    yield Row("--resume with --no-checkpoint", None,
              ["--resume", "--no-checkpoint"], 2, "exclude each other")


def idx_rows():
    data = ["--data", "data", "--steps", "2"]
    yield Row("no such data", None, data, 66, "data: No such file")
    yield Row("data that is a device", None,
              ["--data", "/dev/null", "--steps", "2"], 65, "/dev/null: ")
    yield Row("an empty folder", make_folder("data"), data, 66, "no IDX files")
    yield Row("images without labels",
              both(idx(), lambda _, folder: os.remove(
                  os.path.join(folder, "data", LABELS))), data, 66,
              "found %s but not %s" % (IMAGES, LABELS))
    for title, prepare, text in (
            ("IDX of wrong magic", idx(magic=0x903), "magic is 0x00000903"),
            ("IDX of floats", idx(magic=0xd03), "magic is 0x00000d03"),
            ("IDX that is empty", idx(change=lambda data: b""),
             "ends after 0 bytes"),
            ("IDX that ends in its header", idx(change=lambda data: data[:9]),
             "of the header"),
            ("IDX that is truncated", idx(change=half), "the extents want"),
            ("IDX with bytes behind it", idx(change=longer),
             "the extents want"),
            ("IDX whose sizes overflow", idx(dims=[0xffffffff] * 3),
             "does not fit"),
            ("IDX of extent 0", idx(dims=[40, 0, SIDE]), "extent 1 is 0"),
            ("IDX labels that are truncated", idx(label_change=half),
             "%s: the extents want" % LABELS),
            ("IDX labels of wrong magic", idx(label_change=flip(3)),
             "expected 0x00000801"),
            ("IDX with more images than labels", idx(labels=39),
             "has 39 labels, expected 40"),
            ("IDX with fewer images than labels", idx(labels=41),
             "has 41 labels, expected 40"),
            ("IDX of one image", idx(images=1), "too few"),
            ("gz that is truncated", idx(gz=half), "truncated"),
            ("gz that is damaged", idx(gz=flip(0.5)), "damaged"),
            ("gz that is no gz", idx(gz=lambda data: b"plain" + data),
             "is no gzip file"),
            ("gz with bytes behind it", idx(gz=longer), "bytes follow"),
            ("gz whose array is truncated", idx(change=half, gz=same),
             "of the array"),
            ("gz whose array is too long", idx(change=longer, gz=same),
             "bytes follow"),
            ("gz whose sizes overflow", idx(dims=[0xffffffff] * 3, gz=same),
             "does not fit"),
            ("gz that promises more than it can hold",
             idx(dims=[40000, 2000, 2000], gz=same), "the extents want")):
        yield Row(title, prepare, data, 65, text)
    yield Row("a data set smaller than the ranks", idx(images=3), data, 65,
              "samples are fewer than the 3 ranks", ranks=(3,))


def byte(at, value):
    def change(data):
        return data[:at] + bytes([value]) + data[at + 1:]
    return change


def newer_layout(data):
    """The first layout message of version 3 says that it is of another."""
    at = data.index(bytes([8, 0, 24, 0, 0, 0, 0, 0, 3]))
    return byte(at + 8, 9)(data)


def label_rows():
    data = ["--data", "data.h5", "--steps", "2"]
    for title, variant, code, text, warnings in (
            ("one label 999999", "million-label", 65,
             "only 4 of the classes 0 to 999999 have samples", 0),
            ("one stray label 255", "stray-label", 65,
             "largest label is 255, on 1 samples, the next is 2", 0),
            ("labels that are customers' numbers", "customer-numbers", 65,
             "only 3 of the classes 0 to 70002", 0),
            ("labels from 1", "labels-from-1", 0,
             "the labels are 1 to 3 and none is 0", 1),
            ("a class without samples", "class-without-samples", 0,
             "1 of the classes 0 to 4 have no sample, the first of them 3", 1),
            ("labels of one column are classes", "column-y", 0, "", 0),
            ("labels of one 1 per row are classes", "one-hot-y", 0, "", 0),
            ("labels of one 1.0 per row are classes", "one-hot-float-y", 0, "",
             0),
            ("labels of several 1 per row", "table-y", 65,
             "rows of one 1 and zeros: that of sample 0 is not", 0),
            ("labels of fractions", "fraction-y", 65,
             "label of sample 0 is 0.25, expected a whole number", 0),
            ("labels that are no numbers", "nan-y", 65,
             "label of sample 0 is nan, expected a whole number", 0),
            ("images of (H, W, C)", "channels-last", 0,
             "read as 8 channels of 8 x 3, but look like", 1)):
        yield Row(title, hdf5(variant), data, code, text, warnings=warnings)
    for kind in ("no-channel", "float-no-channel"):
        for model in ("convnet", "resnet18"):
            yield Row("images of (H, W) get their channel: %s, %s" %
                      (kind, model), hdf5(kind),
                      ["--model", model] + data, 0, "", ranks=(1,))
    yield Row("IDX with one stray label 255", idx(label_change=byte(20, 255)),
              ["--data", "data", "--steps", "2"], 65,
              "only 4 of the classes 0 to 255 have samples")


def damaged_rows():
    data = ["--data", "data.h5", "--steps", "2"]
    for title, prepare, code, text in (
            ("a chunk that expands to too few bytes", hdf5("short-chunk"), 65,
             "/train/x: chunk 0 of 1 is damaged"),
            ("a chunk that expands to too many bytes", hdf5("long-chunk"), 65,
             "expand to more bytes than the chunk has"),
            ("a chunk that expands to 200 MiB", hdf5("bomb"), 65,
             "expand to more bytes than the chunk has"),
            ("HDF5 of a newer superblock", hdf5("new-format", byte(8, 9)), 65,
             "superblock is of version 9, expected 0 to 3"),
            ("HDF5 of a newer layout", hdf5("good", newer_layout), 65,
             "its layout is of HDF5 version 9"),
            ("HDF5 whose checksum is wrong", hdf5("new-format", byte(40, 1)),
             65, "a superblock of a wrong checksum"),
            ("HDF5 that is a web page",
             text_file("data.h5", "<!DOCTYPE html>" + "no" * 600), 65,
             "looks like a web page"),
            ("HDF5 names are listed", hdf5("no-x"), 66, "/train has y")):
        yield Row(title, prepare, data, code, text)
    data = ["--data", "data", "--steps", "2"]
    yield Row("gz of several members is no mistake",
              idx(gz=lambda data: data + gzip.compress(b"")), data, 0, "")
    yield Row("gz with zeros behind it is no mistake",
              idx(gz=lambda data: data + bytes(1000)), data, 0, "")
    yield Row("gz that is a web page",
              idx(gz=lambda data: b"<html>not found</html>"), data, 65,
              "is no gzip file: it begins with")


def hdf5_rows():
    data = ["--data", "data.h5", "--steps", "2"]
    for title, prepare, code, text in (
            ("a file that is not HDF5", text_file("data.h5", "no" * 600), 65,
             "not an HDF5 file"),
            ("an empty file", text_file("data.h5", ""), 65,
             "not an HDF5 file"),
            ("HDF5 that is truncated", hdf5("good", half), 65, "data.h5"),
            ("HDF5 cut in its header",
             hdf5("good", lambda data: data[:40]), 65, "data.h5"),
            ("HDF5 without /train", hdf5("no-train"), 66, "/train/x"),
            ("HDF5 without /test: a fifth of /train", hdf5("no-test"), 0, ""),
            ("HDF5 without /train/x", hdf5("no-x"), 66, "/train/x"),
            ("HDF5 without /train/y", hdf5("no-y"), 66, "/train/y"),
            ("HDF5 samples of 64-bit integers", hdf5("int-x"), 65, "/train/x"),
            ("HDF5 samples of text", hdf5("text-x"), 65, "/train/x"),
            ("HDF5 labels of whole floats are classes", hdf5("float-y"), 0,
             ""),
            ("HDF5 labels of text", hdf5("text-y"), 65, "/train/y"),
            ("HDF5 with fewer labels than samples", hdf5("fewer-labels"), 65,
             "has 59 labels, expected 60"),
            ("HDF5 with a negative label", hdf5("negative-label"), 65,
             "label of sample 5 is -1"),
            ("HDF5 with a label out of range", hdf5("large-label"), 65,
             "label of sample 5 is 100000000"),
            ("HDF5 behind a soft link", hdf5("soft"), 65, "a soft link"),
            ("HDF5 behind an external link", hdf5("external"), 65,
             "an external link"),
            ("HDF5 that is virtual", hdf5("virtual"), 65,
             "layout is virtual"),
            ("HDF5 with its values in another file", hdf5("storage"), 65,
             "in other files"),
            ("HDF5 whose sizes overflow", hdf5("huge"), 65, "/train/x"),
            ("train and test of different shapes", hdf5("test-shape"), 78,
             "(1, 4, 4)"),
            ("samples that are not numbers", hdf5("nan"), 65,
             "element 0 of x is nan")):
        yield Row(title, prepare, data, code, text)
    yield Row("HDF5 smaller than the ranks", hdf5("tiny"), data, 65,
              "2 samples are fewer than the 3 ranks", ranks=(3,))
    yield Row("convnet on vectors", hdf5("vectors"),
              ["--model", "convnet"] + data, 78, 'conv2d "conv1"')
    init = ["--data", "data.h5", "--steps", "2", "--init", "init.h5"]
    for title, variant, code, text in (
            ("first parameters of another shape", "init-shape", 78,
             "fc2.weight"),
            ("first parameters with one missing", "init-missing", 78,
             "fc2.bias"),
            ("first parameters of a wrong type", "init-type", 65,
             "fc2.weight")):
        yield Row(title, both(hdf5("good"), hdf5(variant, name="init.h5")),
                  init, code, text)
    yield Row("first parameters of float16 are no mistake",
              both(hdf5("good"), hdf5("init-half", name="init.h5")), init, 0,
              "")
    yield Row("no first parameters", hdf5("good"), init, 66, "init.h5")
    yield Row("first parameters that are not HDF5",
              both(hdf5("good"), text_file("init.h5", "no" * 600)), init, 65,
              "init.h5")


def checkpoint_rows():
    resume = ["--data", "data", "--resume", "--steps", "6"]
    new, old = "step-00000004", "step-00000002"
    refused = "checkpoint refused: "
    for title, names, change, text in (
            ("a bit of a parameter flipped", [new + ".h5"], flip(0.25),
             "data set /"),
            ("a bit of the header flipped", [new + ".h5"], flip(24),
             refused),
            ("a bit of the table flipped", [new + ".h5"], flip(-40), refused),
            ("a truncated checkpoint", [new + ".h5"], half, refused),
            ("a checkpoint that is longer", [new + ".h5"], longer, refused),
            ("a checkpoint without its file", [new + ".h5"], None, refused),
            ("a bit of the manifest flipped", [new + ".manifest"], flip(0.5),
             refused),
            ("an empty manifest", [new + ".manifest"], lambda data: b"",
             refused)):
        yield Row(title + ": the one before is taken", damage(names, change),
                  resume, 0, text, warnings=1)
    yield Row("every checkpoint is damaged",
              damage([new + ".h5", old + ".h5"], flip(0.25)), resume, 65,
              "none of 2 checkpoints can be used", warnings=2)
    fine = damage([], None)
    yield Row("a checkpoint of another model", fine,
              ["--model", "convnet"] + resume, 78, "of another model: it has")
    yield Row("a checkpoint of another optimizer", fine,
              ["--optimizer", "momentum"] + resume, 78,
              "of another optimizer: it has")
    yield Row("a checkpoint of another type", fine, ["--dtype", "f64"] +
              resume, 78, "it has")
    yield Row("a checkpoint of another data set",
              both(fine, idx(images=50)), resume, 78, "32")
    yield Row("a checkpoint of another batch is no mistake", fine,
              ["--batch", "4"] + resume, 0, "")


def bad_sample_rows():
    data = ["--data", "data.h5", "--steps", "4", "--no-shuffle"]
    one = "data.h5 (train): sample 17, element 14 of x is "
    for title, variant, text in (
            ("HDF5 with one NaN", "one-nan", one + "nan"),
            ("HDF5 with one infinity", "one-inf", one + "-inf"),
            ("HDF5 with a double beyond float", "one-large",
             one + "1e+39, more than float32 holds"),
            ("HDF5 with a fill value", "one-fill",
             one + "9.96921e+36, NetCDF's fill value"),
            ("HDF5 with one NaN in the test", "test-nan",
             "the loss of the evaluation is nan: data.h5 (test): sample 3, "
             "element 14 of x is nan")):
        yield Row(title, hdf5(variant), data, 65, text)
    yield Row("HDF5 with one NaN: skip", hdf5("one-nan"),
              data + ["--on-nonfinite", "skip"], 0,
              "step 3: " + one + "nan; this step is skipped", warnings=1)
    for policy in ("stop", "skip", "rollback"):
        yield Row("HDF5 with a fill value: " + policy, hdf5("one-fill"),
                  data + ["--on-nonfinite", policy], 65,
                  one + "9.96921e+36, NetCDF's fill value")
    yield Row("HDF5 with one NaN: roll-backs end", hdf5("one-nan"),
              data + ["--on-nonfinite", "rollback"], 65,
              "of step 0, which stays in run; mend the data", warnings=3)
    yield Row("float16 with a double beyond it", hdf5("one-large"),
              data + ["--dtype", "f16"], 65,
              one + "1e+39, more than float16 holds (65504)")


def nonfinite_rows():
    nan = ["--data", "data.h5", "--steps", "2", "--on-nonfinite"]
    yield Row("samples that are not numbers: stop", hdf5("nan"),
              nan + ["stop"], 65, "of x is nan; nothing was changed")
    yield Row("samples that are not numbers: ignore", hdf5("nan"),
              nan + ["ignore"], 65, "the loss of step 1 is nan")
    for ranks, warnings in ((1, 2), (3, 6)):
        yield Row("samples that are not numbers, of the test too: skip",
                  hdf5("nan"), nan + ["skip"], 65, "the loss of the "
                  "evaluation is nan: data.h5 (test): ", (ranks,), warnings)
    yield Row("samples that are not numbers: roll-backs end", hdf5("nan"),
              nan + ["rollback"], 65, "after 3 roll-backs to the checkpoint "
              "of step 0, which stays in run", warnings=3)
    yield Row("samples that are not numbers: nothing to go back to",
              hdf5("nan"), nan + ["rollback", "--no-checkpoint"], 65,
              "no checkpoints are kept to go back to")
    # The first update overflows, whatever the samples are.
    huge = ["--data", "data", "--steps", "2", "--optimizer", "sgd", "--lr",
            "1e30", "--warmup", "1"]
    yield Row("a rate far too large: stop", idx(),
              huge + ["--on-nonfinite", "stop"], 65, "of step 2 is")
    yield Row("a rate far too large: roll-backs end", idx(),
              huge + ["--on-nonfinite", "rollback"], 65,
              "of step 2 is ", warnings=3)
    yield Row("a checkpoint, then roll-backs that end",
              both(damage([], None), hdf5("nan")),
              ["--data", "data", "--resume", "--steps", "6", "--optimizer",
               "adamw", "--lr", "1e30", "--on-nonfinite", "rollback"], 65,
              "after 3 roll-backs to the checkpoint of step 4", warnings=3)


def save_rows():
    data = ["--data", "data", "--steps", "3"]
    often = data + ["--save-every", "1"]
    for name, where in (("a file too large", {"ulimit": 200}),
                        ("a full disk", {"tmpfs": "1m"})):
        yield Row("%s: saves warn, training goes on, the last one fails" %
                  name, idx(), often, 74, "step-00000003.h5: cannot ",
                  warnings=3, **where)
        yield Row("%s with --on-save-error stop" % name, idx(),
                  often + ["--on-save-error", "stop"], 74,
                  "step-00000001.h5: cannot ", **where)
        yield Row("%s at the last save" % name, idx(), data, 74,
                  "step-00000003.h5: cannot ", **where)
    yield Row("one save that fails: the next one is there",
              both(idx(), make_folder("run/step-00000002.h5")), often, 0,
              "no checkpoint of step 2, training goes on", warnings=1)
    yield Row("checkpoints where a file is",
              both(idx(), text_file("run", "a file")), data, 74, "run")
    yield Row("checkpoints where nothing can be written", idx(),
              data + ["--checkpoint", "/proc/run"], 74, "/proc/run")
    yield Row("a log in no folder", idx(), data + ["--log", "none/log"], 74,
              "cannot write the log none/log")
    yield Row("a log that is a folder", both(idx(), make_folder("log")),
              data + ["--log", "log"], 74, "cannot write the log log")
    yield Row("two jobs in one directory", idx(), data, 75,
              "is in use by process",
              before=["--data", "data", "--epochs", "1000000", "--save-every",
                      "1"])
    yield Row("two jobs in one directory, without end or save of the second",
              idx(), ["--data", "data", "--epochs", "1000000"], 75,
              "is in use by process",
              before=["--data", "data", "--epochs", "1000000", "--save-every",
                      "1"])


def open_rows():
    """What is opened is not what it should be, or cannot be written to."""
    data = ["--data", "data", "--steps", "3", "--no-checkpoint"]
    pipe, folder = both(idx(), make_pipe("x")), both(idx(), make_folder("x"))
    labels = both(idx(), lambda _, at: os.remove(
        os.path.join(at, "data", LABELS)), make_pipe("data/" + LABELS))
    for what, prepare, options, code, text in (
            ("data that is a pipe", make_pipe("x"), ["--data", "x"], 65,
             "x: neither a folder of IDX files nor a regular HDF5 file"),
            ("data that is a device", None, ["--data", "/dev/zero"], 65,
             "/dev/zero: neither a folder of IDX files nor a regular"),
            ("labels that are a pipe", labels, data, 65, "is a pipe"),
            ("first parameters that are a pipe", pipe, data + ["--init", "x"],
             65, "x: is a pipe, expected a regular file"),
            ("first parameters that are a folder", folder,
             data + ["--init", "x"], 65, "x: is a directory, expected"),
            ("first parameters that are a device", idx(),
             data + ["--init", "/dev/zero"], 65, "/dev/zero: is a device"),
            ("a log that is a pipe which nobody reads", pipe,
             data + ["--log", "x"], 74,
             "cannot write the log x: it is a pipe that nobody reads"),
            ("a trace that is a pipe", pipe, data + ["--trace", "x"], 74,
             "cannot write the trace x: it is a pipe, expected"),
            ("a trace that is a folder", folder, data + ["--trace", "x"], 74,
             "cannot write the trace x: it is a directory, expected"),
            ("a trace in no folder", idx(), data + ["--trace", "none/x"], 74,
             "cannot write the trace none/x: No such file"),
            ("a log on a full disk", idx(), data + ["--log", "/dev/full"], 74,
             "lines of the log /dev/full are lost: No space left"),
            ("a trace on a full disk", idx(), data + ["--trace", "/dev/full"],
             74, "cannot write the trace /dev/full: No space left")):
        yield Row(what, prepare, options, code, text)
    # 2,048 bytes hold what is printed and a few lines of a log.
    yield Row("a log beyond the limit of files", idx(),
              data[:3] + ["40", "--no-checkpoint", "--log", "x"], 74,
              "lines of the log x are lost: File too large", ulimit=4)
    yield Row("a trace beyond the limit of files", idx(),
              data + ["--trace", "x"], 74,
              "cannot write the trace x: File too large", ulimit=4)


def mismatch_rows():
    data = ["--data", "data", "--steps", "2"]
    for what, mine, other in (
            ("seed", ["--seed", "1"], ["--seed", "2"]),
            ("batch", ["--batch", "8"], ["--batch", "16"]),
            ("lr", ["--lr", "0.1"], ["--lr", "0.2"]),
            ("optimizer", ["--optimizer", "sgd"], ["--optimizer", "adam"]),
            ("dtype", ["--dtype", "f32"], ["--dtype", "f64"]),
            ("device", ["--device", "cpu"], ["--device", "reference"]),
            ("steps", ["--steps", "2"], ["--steps", "3"]),
            ("save-every", ["--save-every", "1"], ["--save-every", "2"]),
            ("schedule", ["--schedule", "cosine"], ["--schedule", "step"]),
            ("weight-decay", ["--weight-decay", "0"],
             ["--weight-decay", "1"]),
            ("on-nonfinite", ["--on-nonfinite", "skip"],
             ["--on-nonfinite", "rollback"]),
            ("no-shuffle", [], ["--no-shuffle"]),
            ("clip-norm", ["--clip-norm", "1"], ["--clip-norm", "2"]),
            ("warmup", ["--warmup", "1"], ["--warmup", "2"]),
            ("epochs", ["--epochs", "1"], ["--epochs", "2"]),
            ("virtual-shards", ["--virtual-shards", "4"],
             ["--virtual-shards", "8"]),
            ("wire", ["--wire", "full"], ["--wire", "bf16"]),
            ("no-checkpoint", [], ["--no-checkpoint"])):
        yield Row("ranks with another --" + what, idx(), data + mine, 78,
                  'rank 0 has "', ranks=(3,), other=data + other)
    yield Row("ranks with another model", idx(), data + ["--model", "mlp"],
              78, 'rank 0 has "', ranks=(3,),
              other=data + ["--model", "convnet"])
    yield Row("ranks with another data set", both(idx(), hdf5("small")), data,
              78, 'rank 0 has "samples 32", rank 1 has "samples 40"',
              ranks=(3,), other=["--data", "data.h5", "--steps", "2"])
    yield Row("one option of one rank is wrong", idx(), data, 2,
              'unknown option "--bogus"', ranks=(3,), other=data + ["--bogus"])
    yield Row("the data of one rank is missing", idx(), data, 66,
              "none: No such file", ranks=(3,), other=["--data", "none"])
    yield Row("ranks with another number of threads", idx(), data, 0, "",
              ranks=(3,), other=data + ["--threads", "2"])
    yield Row("ranks of which one resumes", idx(), data, 78, 'rank 0 has "',
              ranks=(3,), other=data + ["--resume"])


def all_rows():
    for rows in (save_rows, open_rows, checkpoint_rows, nonfinite_rows,
                 bad_sample_rows, mismatch_rows, hdf5_rows, label_rows,
                 damaged_rows, idx_rows, option_rows):
        yield from rows()


def limited(row, command):
    """The command below a limit of disk space."""
    if row.tmpfs:
        return ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=%s none "
                'run && exec "$@"' % row.tmpfs, "sh"] + command
    return command


def can_mount():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def command_of(tools, row, ranks):
    text = "ulimit -f %d; " % row.ulimit if row.ulimit else ""
    options = row.options
    if row.other:
        # Not by ":" between two commands: Open MPI 5.0.7's launcher crashes.
        text += job.by_rank('set -- "$@" ' + shlex.join(row.options),
                            'set -- "$@" ' + shlex.join(row.other))
        options = []
    keep = ["sh", "-c", text + job.KEEP_CODE, "sh", tools.program] + SHORT
    if ranks == 1:
        return limited(row, keep + options)
    command = job.mpirun(tools.mpirun, ranks)
    if row.ulimit:
        # Shared memory counts as a file.
        command[1:1] = ["--mca", "btl", "tcp,self", "--mca",
                        "btl_tcp_if_include", "lo"]
    return limited(row, command + keep + options)


def problems_of(row, ranks, result):
    problems = []
    if result.code is None:
        problems.append("still running after %d s" % job.LIMIT_S)
    elif result.code != row.code:
        problems.append("exit code is %d, expected %d" %
                        (result.code, row.code))
    if set(result.rank_codes) != {row.code} or (
            row.code == 0 and len(result.rank_codes) != ranks):
        problems.append("exit codes of the ranks are %s, expected %d of %d" %
                        (result.rank_codes, ranks, row.code))
    errors, warnings = result.lines("error"), result.lines("warning")
    if len(errors) != (row.code != 0):
        problems.append("%d lines begin with error" % len(errors))
    if len(warnings) != row.warnings:
        problems.append("%d lines begin with warning, expected %d" %
                        (len(warnings), row.warnings))
    if not any(row.text in line for line in
               (errors if row.code else warnings) or [""]):
        problems.append("no such line has: " + row.text)
    return problems


def start_before(tools, row, folder):
    """Start the job that runs meanwhile, and wait for its first save."""
    process = job.start([tools.program] + SHORT + list(row.before), folder,
                        subprocess.DEVNULL)
    end = time.monotonic() + job.LIMIT_S
    while time.monotonic() < end and not any(
            name.endswith(".manifest") for name in
            (os.listdir(os.path.join(folder, "run"))
             if os.path.isdir(os.path.join(folder, "run")) else [])):
        time.sleep(0.02)
    return process


def check(tools, tap, row, ranks, number):
    title = "%s, %d rank%s" % (row.title, ranks, "" if ranks == 1 else "s")
    if row.tmpfs and not tools.can_mount:
        tap.report(title, skip="no right to mount a file system")
        return
    folder = os.path.join(tools.scratch, "row%d" % number)
    os.makedirs(folder)
    if row.prepare:
        row.prepare(tools, folder)
    if row.tmpfs:
        os.makedirs(os.path.join(folder, "run"))
    before = start_before(tools, row, folder) if row.before else None
    result = job.run(command_of(tools, row, ranks), folder)
    if before:
        job.end_group(before)
    tap.report(title, problems_of(row, ranks, result), result.output)
    shutil.rmtree(folder, ignore_errors=True)


def main():
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv \
        else ""
    claims = [(row, ranks) for row in all_rows() for ranks in row.ranks
              if only in row.title]
    tap = job.Tap(len(claims))
    with tempfile.TemporaryDirectory() as scratch:
        tools = Tools(*[os.path.abspath(path) for path in sys.argv[1:4]],
                      scratch)
        tools.can_mount = can_mount()
        tools.make_template()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            pending = [pool.submit(check, tools, tap, row, ranks, number)
                       for number, (row, ranks) in enumerate(claims)]
            for future in pending:
                future.result()
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
