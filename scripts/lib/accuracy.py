"""Train over seeds and precisions and compare accuracies (scripts/accuracy)."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

from bench import mpirun

PROGRAM = os.path.join("build", "examples", "train_classifier")


def accuracy(ranks, options):
    """The final test accuracy of one training."""
    with tempfile.NamedTemporaryFile(mode="r", suffix=".jsonl") as log:
        command = mpirun(ranks) + [PROGRAM, "--no-checkpoint",
                                   "--log", log.name] + options
        result = subprocess.run(command, capture_output=True, text=True,
                                check=False, stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            sys.exit("%s\nended with %d:\n%s" % (
                " ".join(command), result.returncode, result.stderr[-2000:]))
        return json.loads(log.readlines()[-1])["test_accuracy"]


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--dtypes", default="f32,bf16,f16")
    parser.add_argument("--ranks", type=int, default=1)
    options, others = parser.parse_known_args()
    dtypes = options.dtypes.split(",")
    found = {dtype: [] for dtype in dtypes}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for dtype in dtypes:
            found[dtype].append(accuracy(
                options.ranks,
                ["--seed", str(seed), "--dtype", dtype] + others))
            print("seed %d  %-5s %.4f" % (seed, dtype, found[dtype][-1]),
                  flush=True)
    first = statistics.mean(found[dtypes[0]])
    for dtype in dtypes:
        mean = statistics.mean(found[dtype])
        print("mean    %-5s %.4f  (%.4f to %.4f)  %+.2f points" % (
            dtype, mean, min(found[dtype]), max(found[dtype]),
            100 * (mean - first)))


if __name__ == "__main__":
    main()
