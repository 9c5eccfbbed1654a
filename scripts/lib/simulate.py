"""Predicted scaling by simulation (scripts/simulate says what it does)."""

import argparse
import json
import os
import sys

import scale_measure
import scale_model as model
import scale_plot
import simgrid

FOLDER = os.path.join("tests", "bench", "scale")
SIMULATED = os.path.join(FOLDER, "simulated.txt")
TABLE = os.path.join(FOLDER, "scale.txt")
PLOT = os.path.join(FOLDER, "scale.svg")
MEASURED = os.path.join(FOLDER, "measured.txt")
LIMIT_S = 6 * 3600

PLATFORM = simgrid.fat_tree(32, "%gBps" % model.LINK, "%gs" % model.HOP,
                            ("%gBps" % model.LOOPBACK, "%gs" %
                             model.LOOPBACK_LATENCY))
HEADER = """# Simulated all-reduce of float32 gradients, made by: scripts/simulate run
# %s
# ranks, ranks per node, algorithm, bytes, microseconds
"""


def read_simulated():
    """{(ranks, per node, algorithm, bytes): seconds}"""
    found = {}
    if os.path.exists(SIMULATED):
        with open(SIMULATED, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if words and words[0] != "#":
                    found[(int(words[0]), int(words[1]), words[2],
                           int(words[3]))] = float(words[4]) * 1e-6
    return found


def write_simulated(points):
    with open(SIMULATED, "w", encoding="utf-8") as file:
        file.write(HEADER % model.PLATFORM_TEXT)
        for key in sorted(points, key=lambda k: (k[1], k[3], k[2], k[0])):
            file.write("%5d %2d %-12s %10d %12.3f\n" % (
                key + (points[key] * 1e6,)))


def simulate(program, ranks, per_node, algorithm, sizes):
    """{bytes: seconds}; None where the algorithm does not work there."""
    code, output = simgrid.run("smpirun", PLATFORM, ranks, per_node, [
        os.path.abspath(program), "--algorithm", algorithm, "--bytes",
        ",".join(map(str, sizes)), "--add", "%g" % model.ADD], LIMIT_S)
    lines = [json.loads(line) for line in output.splitlines()
             if line.startswith("{")]
    if code != 0 or len(lines) != len(sizes):
        print("%s on %d ranks, %d per node: exit code %s\n%s" % (
            algorithm, ranks, per_node, code, output), file=sys.stderr)
        return None
    return {line["bytes"]: line["us"] * 1e-6 for line in lines}


def run(options):
    points = read_simulated()
    wanted = [(ranks, per_node, algorithm)
              for ranks in sorted(map(int, options.ranks.split(",")))
              for per_node, algorithms in model.LAYOUTS.items()
              for algorithm in algorithms if ranks >= 2 * per_node]
    for number, (ranks, per_node, algorithm) in enumerate(wanted, 1):
        sizes = [work.bytes for work in model.WORKLOADS if
                 (ranks, per_node, algorithm, work.bytes) not in points]
        if not sizes:
            continue
        print("simulating %d of %d: %s, %d ranks, %d per node" % (
            number, len(wanted), algorithm, ranks, per_node), file=sys.stderr,
              flush=True)
        times = simulate(options.program, ranks, per_node, algorithm, sizes)
        for size, seconds in (times or {}).items():
            points[(ranks, per_node, algorithm, size)] = seconds
        write_simulated(points)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Predicted scaling up to 1,024 ranks, by simulation.")
    parser.add_argument("what", nargs="*", metavar="WHAT",
                        help="run, table, plot, measure [run table]")
    parser.add_argument("--ranks", default="2,4,8,16,32,64,128,256,512,1024",
                        help="to simulate [%(default)s]")
    parser.add_argument("--program", metavar="PATH", help="that is simulated",
                        default=os.path.join("build", "tests", "smpi",
                                             "smpi_predict_scale"))
    options = parser.parse_args()
    for what in options.what or ["run", "table"]:
        if what == "run":
            run(options)
        elif what == "table":
            with open(TABLE, "w", encoding="utf-8") as file:
                file.write(model.table(read_simulated()))
            print(TABLE)
        elif what == "plot":
            scale_plot.plot(read_simulated(), PLOT)
            print(PLOT)
        elif what == "measure":
            with open(MEASURED, "w", encoding="utf-8") as file:
                file.write(scale_measure.measure(options.program))
            print(MEASURED)
        else:
            parser.error("what is \"%s\"?" % what)


if __name__ == "__main__":
    main()
