"""Ranks on two hosts with a slow link between them (scripts/bench hosts)."""

import json
import os
import statistics
import sys

import lab

BENCH = os.path.abspath(os.path.join("build", "tests", "bench"))
HOSTS = 2
LIMIT_S = 300
SIZES = "4096,65536,1048576,16777216"
STEPS = 6  # times --seconds for the three kinds of step together
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


def allreduce(net, per_host, options, algorithm, sizes):
    return [1e-3 * line["us_median"] for line in on_hosts(
        net, per_host, "bench_allreduce", "--algorithm", algorithm, "--bytes",
        sizes, "--seconds", str(options.seconds))]


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
    """The three kinds of step take turns in one process, bench_step's compare."""
    names = "apart_ms", "overlap_ms", "in_turn_ms", "comm_ms", "alone", "hidden"
    figures = {name: [] for name in names}
    for i in range(options.pairs):
        print("%s: round %d of %d" % (WORKLOAD, i + 1, options.pairs),
              file=sys.stderr, flush=True)
        line = on_hosts(net, 1, "bench_step", "--workload", WORKLOAD,
                        "--threads", "1", "--batch", str(HOSTS * BATCH),
                        "--overlap", "compare", "--seconds",
                        str(STEPS * options.seconds))[0]
        line["alone"] = allreduce(net, 1, options, "auto", str(GRADIENTS))[0]
        line["hidden"] = 100 * (1 - line["overlap_adds_ms"] / line["alone"])
        for name in names:
            figures[name].append(line[name])
    print("\n%s, 2 hosts of 1 rank and thread at %s, %d samples each: ms" % (
        WORKLOAD, options.rate, BATCH))
    print("  step without messages  %s" % spread(figures["apart_ms"]))
    print("  step, overlap          %s" % spread(figures["overlap_ms"]))
    print("  step, in turn          %s" % spread(figures["in_turn_ms"]))
    print("  all-reduce alone       %s" % spread(figures["alone"]))
    print("  of it in the rank's own time, with overlap  %s" %
          spread(figures["comm_ms"]))
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
