"""Run ours and PyTorch's benchmarks in turn and compare (scripts/bench)."""

import argparse
import json
import os
import statistics
import subprocess
import sys

import bench_hosts

TORCH = os.path.join("scripts", "bench_torch.py")
BENCH = os.path.join("build", "tests", "bench")
LAUNCH = os.path.join("build", "scripts", "mpi", "launch")


def run(command):
    """The JSON lines that a command prints; ends the program if it fails."""
    result = subprocess.run(command, capture_output=True, text=True,
                            check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.exit("%s\nended with %d:\n%s" % (
            " ".join(command), result.returncode, result.stderr[-2000:]))
    return [json.loads(line) for line in result.stdout.splitlines()
            if line.startswith("{")]


def torch_version(python):
    """PyTorch's version under a Python, or None."""
    try:
        result = subprocess.run(
            [python, "-c", "import torch; print(torch.__version__)"],
            capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def mpirun(ranks):
    return [LAUNCH, "-n", str(ranks)]


def in_turn(contestants, pairs, label):
    """{name: [answers of one run, ...]}, the contestants taking turns."""
    answers = {name: [] for name in contestants}
    for i in range(pairs):
        for name, command in contestants.items():
            print("%s: round %d of %d, %s" % (label, i + 1, pairs, name),
                  file=sys.stderr, flush=True)
            answers[name].append(run(command))
    return answers


def show(title, figures, unit):
    """figures: {name: values}, less is better; ratios against the first."""
    print("\n" + title)
    ours = list(figures.values())[0]
    for name, values in figures.items():
        ratios = [b / a for a, b in zip(ours, values)]
        against = ("" if values is ours else
                   "   %.2fx as long as ours (%.2f-%.2f)" % (
                       statistics.median(ratios), min(ratios), max(ratios)))
        print("  %-22s %10.3f %s  (%.3f-%.3f)%s" % (
            name, statistics.median(values), unit, min(values), max(values),
            against))


def bench_step(options, has_torch):
    workload = options.workload
    common = ["--workload", workload, "--threads", str(options.threads),
              "--seconds", str(options.seconds)]
    if options.batch:
        common += ["--batch", str(options.batch)]
    contestants = {"libtrain": [os.path.join(BENCH, "bench_step")] + common}
    if has_torch:
        for adam in ("fused", "default"):
            contestants["PyTorch, %s Adam" % adam] = (
                [options.python, TORCH, "step", "--adam", adam] + common)
    answers = in_turn(contestants, options.pairs or 5, workload)
    show("%s, %d thread%s: median step" % (
        workload, options.threads, "" if options.threads == 1 else "s"),
         {name: [run[0]["step_ms_median"] for run in runs]
          for name, runs in answers.items()}, "ms")
    for name, runs in answers.items():
        print("  %-22s %10.0f MiB resident" % (
            name, statistics.median(run[0]["peak_rss_mib"] for run in runs)))


def bench_ranks(options, has_torch):
    """Ranks of one thread, each with the batch that one rank alone has."""
    for workload, batch in (("mlp", 32), ("convnet28", 64)):
        program = [os.path.join(BENCH, "bench_step"), "--workload", workload,
                   "--threads", "1", "--seconds", str(options.seconds)]
        whole = ["--batch", str(options.ranks * batch)]
        ranks = "%d ranks" % options.ranks
        contestants = {
            "libtrain, " + ranks: mpirun(options.ranks) + program + whole,
            "libtrain, 1 rank": program + ["--batch", str(batch)]}
        if has_torch:
            contestants["PyTorch DDP, " + ranks] = [
                options.python, TORCH, "ddp", "--adam", "fused", "--workload",
                workload, "--ranks", str(options.ranks), "--seconds",
                str(options.seconds)] + whole
        answers = in_turn(contestants, options.pairs or 9, workload)
        rates = {name: [run[0]["samples_per_s"] for run in runs]
                 for name, runs in answers.items()}
        print("\n%s, batch %d per rank, 1 thread: samples/s" % (workload, batch))
        ours = list(rates.values())[0]
        for name, values in rates.items():
            gains = [a / b for a, b in zip(ours, values)]
            print("  %-22s %10.0f (%.0f-%.0f)%s" % (
                name, statistics.median(values), min(values), max(values),
                "" if values is ours else "   ours %.2fx (%.2f-%.2f)" % (
                    statistics.median(gains), min(gains), max(gains))))


def ratios(first, second):
    """first / second, pair by pair: (median, least, most)."""
    values = [a / b for a, b in zip(first, second)]
    return statistics.median(values), min(values), max(values)


def compare_with_ours(name, times, means):
    """A ratio's text; its median joins the means of all sizes."""
    if name == "libtrain":
        return ""
    ours = times["libtrain"]
    if name == "memcpy":
        label, trio = "ours / memcpy", ratios(ours, times[name])
    else:
        label, trio = name + " / ours", ratios(times[name], ours)
    means.setdefault(label, []).append(trio[0])
    return "   %s %.2f (%.2f-%.2f)" % ((label,) + trio)


def bench_comm(options, has_torch):
    """All-reduce beside MPI's, Gloo's and a memcpy of as many bytes."""
    common = ["--bytes", options.bytes, "--seconds", str(options.seconds)]
    program = mpirun(options.ranks) + [os.path.join(BENCH, "bench_allreduce")]
    contestants = {
        "libtrain": program + common,
        "messages": program + [
            "--algorithm", "halving" if options.ranks == 2 else "ring",
            "--memory", "private"] + common,
        "MPI": program + ["--algorithm", "mpi"] + common,
        "memcpy": program + ["--algorithm", "memcpy"] + common,
    }
    if has_torch:
        contestants["Gloo"] = [
            options.python, TORCH, "comm", "--ranks",
            str(options.ranks)] + common
    pairs = options.pairs or 9
    answers = in_turn(contestants, pairs, "all-reduce")
    sizes = [int(size) for size in options.bytes.split(",")]
    print("\nall-reduce on %d ranks: medians of %d runs in us, spread in "
          "brackets" % (options.ranks, pairs))
    means = {}
    for i, size in enumerate(sizes):
        print("  %10d bytes" % size)
        times = {name: [run[i]["us_median"] for run in runs]
                 for name, runs in answers.items()}
        for name, values in times.items():
            print("    %-10s %10.1f (%.1f-%.1f)%s" % (
                name, statistics.median(values), min(values), max(values),
                compare_with_ours(name, times, means)))
    print("  over all sizes")
    for label, values in means.items():
        print("    %-18s geometric mean %.2f, least %.2f, most %.2f" % (
            label, statistics.geometric_mean(values), min(values),
            max(values)))


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="libtrain beside PyTorch, in one run.")
    parser.add_argument("what", nargs="*", metavar="WHAT",
                        help="mlp, convnet28, convnet224, comm, ranks, hosts "
                        "[mlp convnet28 comm]")
    parser.add_argument("--python", metavar="PATH",
                        default=os.environ.get("LIBTRAIN_PYTHON", "python3"),
                        help="a Python that has PyTorch "
                        "[$LIBTRAIN_PYTHON, else python3]")
    parser.add_argument("--pairs", type=int,
                        help="rounds, each with every contestant once "
                        "[5, comm, ranks and hosts 9]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seconds", type=float, default=2,
                        help="per measurement [2]")
    parser.add_argument("--ranks", type=int, default=2, help="of comm and ranks [2]")
    parser.add_argument("--bytes", default=",".join(
        str(4096 << i) for i in range(0, 15, 2)), help="sizes of comm "
                        "[4 KiB to 64 MiB]")
    parser.add_argument("--rate", default="1gbit",
                        help="of the link between hosts [1gbit]")
    options = parser.parse_args()
    version = torch_version(options.python)
    if version is None:
        print("PyTorch is not installed for %s: ours alone. Name a Python that "
              "has it with --python or LIBTRAIN_PYTHON." % options.python)
    else:
        print("PyTorch %s; spread in brackets; ratios are medians of pairs" %
              version)
    for what in options.what or ["mlp", "convnet28", "comm"]:
        if what == "comm":
            bench_comm(options, version is not None)
        elif what == "ranks":
            bench_ranks(options, version is not None)
        elif what == "hosts":
            options.pairs = options.pairs or 9
            bench_hosts.bench(options)
        else:
            options.workload = what
            bench_step(options, version is not None)


if __name__ == "__main__":
    main()
