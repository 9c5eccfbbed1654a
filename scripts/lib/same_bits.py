"""Run the trainings of tests/bits in two builds and compare every bit."""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

# Cases whose first half is saved by the old build and resumed by both.
RESUMED = ("mlp", "mlp-2", "mlp-2-muon", "mlp-2-f16", "resnet", "gpt",
           "gpt-tied", "surrogate-4-shards", "regularised")
TEXT = "".join("%d times %d makes %d. " % (a, b, a * b)
               for a in range(40, 56) for b in range(11, 47))[:9200]


def is_build(path):
    return os.path.isdir(path)


def run(build, arguments, ranks):
    """What a training prints; where it fails, what it says."""
    command = [os.path.join(build, "tests", "bits", "train_bits"), *arguments]
    if ranks > 1:
        launcher = os.path.join(build, "scripts", "mpi", "launch")
        command = [launcher, "-n", str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    lines = [line for line in done.stdout.splitlines()
             if line.startswith(("loss ", "test ", "params_hash "))]
    if done.returncode != 0:
        lines.append("exit code %d: %s" % (
            done.returncode, (done.stderr.strip() or "no message")
            .splitlines()[0]))
    return lines


def cases_of(build, only):
    listed = subprocess.run(
        [os.path.join(build, "tests", "bits", "train_bits"), "--list"],
        capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return {name: int(ranks) for name, ranks in pairs
            if fnmatch.fnmatch(name, only)}


def resumed(builds, name, ranks, folder):
    """For each build, the second half behind the first build's first half."""
    saved = os.path.join(folder, name)
    text = os.path.join(folder, "text")
    first = run(builds[0], [name, text, "--save", saved], ranks)
    found = []
    for i, build in enumerate(builds):
        copy = "%s.%d" % (saved, i)
        shutil.copytree(saved, copy)
        found.append(first + run(build, [name, text, "--resume", copy], ranks))
    return found


def results_of(build, only, folder):
    """{case: lines} of a build, two trainings at a time, or of a file."""
    if not is_build(build):
        with open(build, encoding="utf-8") as file:
            return {name: lines for name, lines in json.load(file).items()
                    if fnmatch.fnmatch(name, only)}
    cases = cases_of(build, only)
    text = os.path.join(folder, "text")
    with ThreadPoolExecutor(2) as pool:
        lines = pool.map(lambda name: run(build, [name, text], cases[name]),
                         cases)
        return dict(zip(cases, lines))


def difference(old, new):
    """None, or the first lines that differ."""
    for i, (a, b) in enumerate(zip(old, new)):
        if a != b:
            return "line %d: %s, was %s" % (i + 1, b, a)
    if len(old) != len(new):
        return "%d lines, were %d" % (len(new), len(old))
    return None


def compare(options, folder):
    old = results_of(options.old, options.only, folder)
    new = results_of(options.new, options.only, folder)
    if is_build(options.old) and is_build(options.new):
        cases = cases_of(options.new, options.only)
        for name in RESUMED:
            if name in cases and name in old:
                key = name + ", resumed"
                old[key], new[key] = resumed((options.old, options.new), name,
                                             cases[name], folder)
    bad = 0
    for name in sorted(set(old) | set(new)):
        if name not in old or name not in new:
            print("%-36s only in %s" % (name, "OLD" if name in old else "NEW"))
            continue
        failed = [line for line in new[name] if line.startswith("exit code")]
        wrong = failed[0] if failed else difference(old[name], new[name])
        bad += wrong is not None
        if wrong is not None:
            print("%-36s %s" % (name, wrong))
    print("%d trainings compared, %d differ" % (len(set(old) & set(new)), bad))
    return 1 if bad or not set(old) & set(new) else 0


def main():
    parser = argparse.ArgumentParser(usage="see the head of scripts/same_bits")
    parser.add_argument("old")
    parser.add_argument("new", nargs="?")
    parser.add_argument("--only", default="*")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if options.new is None:
        parser.error("two builds, or a file and a build")
    folder = tempfile.mkdtemp(prefix="same_bits.")
    try:
        with open(os.path.join(folder, "text"), "w", encoding="utf-8") as file:
            file.write(TEXT)
        if not options.record:
            return compare(options, folder)
        with open(options.old, "w", encoding="utf-8") as file:
            json.dump(results_of(options.new, options.only, folder), file,
                      indent=1)
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
