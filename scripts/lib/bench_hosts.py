"""Ranks on two hosts with a slow link between them (scripts/bench hosts)."""

import json
import os
import statistics
import subprocess
import sys

import lab

BENCH = os.path.abspath(os.path.join("build", "tests", "bench"))
HOSTS = 2
LIMIT_S = 300
SIZES = "4096,65536,1048576,16777216"
# Gradients of convnet28, float32.
WORKLOAD, BATCH, GRADIENTS = "convnet28", 32, 1488936


def lines_of(what, code, output):
    found = [json.loads(line) for line in output.splitlines()
             if line.startswith("{")]
    if code != 0 or not found:
        sys.exit("%s ended with %s:\n%s" % (what, code, output[-2000:]))
    return found


def on_hosts(net, per_host, program, *arguments):
    return lines_of(program, *net.run(
        per_host, [os.path.join(BENCH, program)] + list(arguments), LIMIT_S))


def alone(options):
    """The step of one rank while its twin on the other host does the same, both
    without the other: what two ranks would take if messages took no time."""
    command = [os.path.join(BENCH, "bench_step"), "--workload", WORKLOAD,
               "--threads", "1", "--batch", str(BATCH), "--seconds",
               str(options.seconds)]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE) for _ in range(HOSTS)]
    lines = [lines_of("bench_step", process.wait(), process.stdout.read())[0]
             for process in running]
    return max(line["step_ms_median"] for line in lines)


def allreduce(net, per_host, options, algorithm, sizes):
    return [1e-3 * line["us_median"] for line in on_hosts(
        net, per_host, "bench_allreduce", "--algorithm", algorithm, "--bytes",
        sizes, "--seconds", str(options.seconds))]


def step(net, options, overlap):
    return on_hosts(net, 1, "bench_step", "--workload", WORKLOAD, "--threads",
                    "1", "--batch", str(HOSTS * BATCH), "--overlap", overlap,
                    "--seconds", str(options.seconds))[0]["step_ms_median"]


def spread(values):
    return "%.3f (%.3f-%.3f)" % (statistics.median(values), min(values),
                                 max(values))


def bench_allreduce(net, options, per_host):
    ours, mpi = [], []
    for i in range(options.pairs):
        print("all-reduce, %d per host: round %d of %d" % (
            per_host, i + 1, options.pairs), file=sys.stderr, flush=True)
        ours.append(allreduce(net, per_host, options, "auto", SIZES))
        mpi.append(allreduce(net, per_host, options, "mpi", SIZES))
    print("\nall-reduce, 2 hosts of %d at %s: ms" % (per_host, options.rate))
    for i, size in enumerate(SIZES.split(",")):
        times = [run[i] for run in ours], [run[i] for run in mpi]
        print("  %10s bytes  libtrain %s  MPI_Allreduce %s  %.2fx as long" % (
            size, spread(times[0]), spread(times[1]), statistics.median(
                b / a for a, b in zip(*times))))


def bench_overlap(net, options):
    figures = {name: [] for name in ("alone", "overlap", "in turn",
                                     "all-reduce", "hidden")}
    for i in range(options.pairs):
        print("%s: round %d of %d" % (WORKLOAD, i + 1, options.pairs),
              file=sys.stderr, flush=True)
        base = alone(options)
        on, off = step(net, options, "on"), step(net, options, "off")
        comm = allreduce(net, 1, options, "auto", str(GRADIENTS))[0]
        hidden = 100 * (1 - (on - base) / comm)
        for name, value in zip(figures, (base, on, off, comm, hidden)):
            figures[name].append(value)
    print("\n%s, 2 hosts of 1 rank and thread at %s, %d samples each: ms" % (
        WORKLOAD, options.rate, BATCH))
    print("  step without messages  %s" % spread(figures["alone"]))
    print("  step, overlap          %s" % spread(figures["overlap"]))
    print("  step, in turn          %s" % spread(figures["in turn"]))
    print("  all-reduce alone       %s" % spread(figures["all-reduce"]))
    print("  overlap hides %s %% of it: 1 - (overlap - without) / all-reduce" %
          spread(figures["hidden"]))


def bench(options):
    try:
        with lab.Lab(HOSTS) as net:
            net.rate(options.rate)
            for per_host in (1, 2):
                bench_allreduce(net, options, per_host)
            bench_overlap(net, options)
    except lab.NoLab as reason:
        sys.exit("there are no hosts here: %s" % reason)
