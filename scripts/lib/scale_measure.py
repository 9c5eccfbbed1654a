"""How far the simulation is from what can be measured (scripts/simulate measure).

A link is described by two numbers. Its latency is the time of four bytes both
ways at once between two ranks. Its rate is the one that it is limited to, less
the headers; between ranks of this machine, that of such an exchange of one MiB.
Nothing is fitted to the algorithms that are predicted.
"""

import json
import os
import subprocess
import sys

import lab
import scale_model as model
import simgrid

BENCH = os.path.abspath(os.path.join("build", "tests", "bench"))
LAUNCH = os.path.abspath(os.path.join("build", "scripts", "mpi", "launch"))
ALGORITHMS = ("ring", "halving")
MIB = 1 << 20
SECONDS = "2"
LIMIT_S = 300
# (what tc calls it, bits/s, hosts)
LINKS = (("1gbit", 1e9, (2,)), ("100mbit", 1e8, (2, 4, 8)))
PAYLOAD = 1448 / 1514  # of TCP in an Ethernet frame
MLP = model.WORKLOADS[0]
HEADER = """# The simulation beside what can be measured, made by: scripts/simulate measure
#
# Hosts are network namespaces on one machine, one rank each, joined by a switch with
# limited links; "messages" are two ranks of this machine without shared memory. All
# ranks share this machine's cores: with fast links the cores are the limit and the
# figures say little, with slow ones the link is. %s bytes; all-reduce in microseconds.
"""
ROW = "%-9s %5s  %-8s %12s %12s %8s\n"


def lines_of(code, output):
    found = [json.loads(line) for line in output.splitlines()
             if line.startswith("{")]
    if code != 0 or not found:
        sys.exit("a measurement ended with %s:\n%s" % (code, output))
    return found


class Hosts:
    """Ranks on hosts of a lab."""

    def __init__(self, net, hosts):
        self.net, self.hosts = net, hosts

    def run(self, program, *arguments):
        return lines_of(*self.net.run(
            1, [os.path.join(BENCH, program)] + list(arguments), LIMIT_S,
            self.hosts))


class Here:
    """Ranks of this machine."""

    def __init__(self, hosts):
        self.hosts = hosts

    def run(self, program, *arguments):
        command = [LAUNCH, "-n", str(self.hosts),
                   os.path.join(BENCH, program)]
        result = subprocess.run(command + list(arguments), check=False,
                                stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, timeout=LIMIT_S)
        return lines_of(result.returncode, result.stdout + result.stderr)


def allreduce(where, algorithm, sizes):
    lines = where.run("bench_allreduce", "--algorithm", algorithm, "--bytes",
                      ",".join(map(str, sizes)), "--memory", "private",
                      "--seconds", SECONDS)
    return [line["us_median"] * 1e-6 for line in lines]


def calibrate(where, bits_per_s=None):
    """(latency in s, bytes/s) of an exchange between two ranks."""
    few, many = allreduce(where, "doubling", (4, MIB))
    return few, (bits_per_s * PAYLOAD / 8 if bits_per_s else
                 MIB / (many - few))


def predict(program, hosts, algorithm, link):
    latency, rate = link
    platform = simgrid.star(hosts, "%.0fBps" % rate, "%.9fs" % (latency / 2),
                            ("%.0fBps" % rate, "%.9fs" % latency))
    code, output = simgrid.run("smpirun", platform, hosts, 1, [
        os.path.abspath(program), "--algorithm", algorithm, "--bytes",
        str(MLP.bytes)], LIMIT_S)
    return lines_of(code, output)[0]["us"] * 1e-6


def compare(program, name, where, link):
    text = ""
    for algorithm in ALGORITHMS:
        print("measuring %s, %d ranks, %s" % (name, where.hosts, algorithm),
              file=sys.stderr, flush=True)
        measured = allreduce(where, algorithm, (MLP.bytes,))[0]
        predicted = predict(program, where.hosts, algorithm, link)
        text += ROW % (name, where.hosts, algorithm, "%.0f" % (1e6 * measured),
                       "%.0f" % (1e6 * predicted),
                       "%+.1f %%" % (100 * (predicted / measured - 1)))
    return text


def step_alone(copies):
    """The median step of so many ranks that do not know of each other."""
    command = [os.path.join(BENCH, "bench_step"), "--workload", "mlp",
               "--threads", "1", "--batch", "32", "--seconds", SECONDS]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE) for _ in range(copies)]
    lines = [lines_of(process.wait(), process.stdout.read())[0]
             for process in running]
    return max(line["step_ms_median"] for line in lines) * 1e-3


def compare_steps(program, where, link):
    """A step of two ranks without overlap: one rank's, and the all-reduce."""
    line = where.run("bench_step", "--workload", "mlp", "--threads", "1",
                     "--batch", "64", "--overlap", "off", "--algorithm", "ring",
                     "--seconds", SECONDS)[0]
    predicted = step_alone(2) + predict(program, 2, "ring", link)
    measured = line["step_ms_median"] * 1e-3
    return ("step of mlp, 2 ranks at 1gbit, ring, in turn: measured %.2f ms, "
            "predicted %.2f ms, error %+.1f %%\n" % (
                1e3 * measured, 1e3 * predicted,
                100 * (predicted / measured - 1)))


def describe(name, link):
    return "# %s: %.0f us, %.1f MB/s\n" % (name, 1e6 * link[0], 1e-6 * link[1])


def measure(program):
    text = HEADER % MLP.bytes
    text += ROW % ("link", "ranks", "", "measured", "simulated", "error")
    here = Here(2)
    link = calibrate(here)
    text += describe("messages", link)
    text += compare(program, "messages", here, link)
    steps = "step of mlp, 1 rank: %.2f ms; two at once that know nothing of each " \
        "other: %.2f ms\n" % (1e3 * step_alone(1), 1e3 * step_alone(2))
    for rate, bits_per_s, counts in LINKS:
        with lab.Lab(max(counts)) as net:
            net.rate(rate)
            link = calibrate(Hosts(net, 2), bits_per_s)
            text += describe(rate, link)
            for count in counts:
                text += compare(program, rate, Hosts(net, count), link)
            if rate == "1gbit":
                steps += compare_steps(program, Hosts(net, 2), link)
    return text + steps
