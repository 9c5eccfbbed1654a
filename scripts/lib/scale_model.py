"""What a step on many ranks takes: the platform, formulas and assumptions."""

import collections
import math

# The platform: a fat tree of 32 leaf switches with 32 nodes each.
LINK = 12.5e9             # bytes/s of a node's link, each way
HOP = 1e-6                # s of each link; 2 inside a leaf switch, else 4
LEAF = 32                 # nodes of a leaf switch
LOOPBACK = 20e9           # bytes/s of a message inside a node
LOOPBACK_LATENCY = 2e-7
ADD = 10e9                # bytes/s at which a rank adds what it gets
PLATFORM_TEXT = (
    "fat tree of 32 x 32 nodes, links of 12.5 GB/s and 1 us, full bisection; "
    "messages\n# inside a node 20 GB/s each and 0.2 us; a rank adds 10 GB/s; "
    "copies inside a node's\n# shared memory are free. Segments of 60 KiB, "
    "eight at once")
LAYOUTS = {1: ("ring", "halving"), 8: ("ring", "halving", "hierarchical")}

# bytes: float32 gradients. last: those of the layer that backward ends with,
# whose transfer nothing hides. compute_s: forward and backward of one rank's
# batch; measured with bench_step --threads 1 on one core of a 2-core AVX-512
# machine, or assumed for an accelerator.
Workload = collections.namedtuple("Workload", "name bytes last steps")
Step = collections.namedtuple("Step", "text seconds")
WORKLOADS = (
    Workload("mlp", 2585640, 2050048,
             (Step("32 samples, 1 core, measured", 1.2e-3),)),
    Workload("resnet50", 102228128, 102400,
             (Step("32 samples, 1 core, measured", 11.1),
              Step("32 samples, accelerator, assumed", 0.06))),
)
BACKWARD = 2 / 3  # of the compute time


def hops_time(a, b):
    return (2 if a // LEAF == b // LEAF else 4) * HOP


def ring_formula(ranks, size):
    """One rank per node. Each of 2 (p - 1) steps moves n / p bytes by one hop;
    what comes late is late by the mean of all latencies round the ring."""
    around = sum(hops_time(i, (i + 1) % ranks) for i in range(ranks)) / ranks
    block = size / ranks
    return ((ranks - 1) * (2 * (around + block / LINK) + block / ADD))


def halving_formula(ranks, size):
    """One rank per node, 2^k ranks: 2 lg p steps."""
    total = 0
    for level in range(int(math.log2(ranks))):
        block = size / 2 ** (level + 1)
        total += 2 * (hops_time(0, 2 ** level) + block / LINK) + block / ADD
    return total


FORMULAS = {"ring": ring_formula, "halving": halving_formula}


def exposed(comm, last, compute):
    """The communication that overlap leaves in view."""
    return max(last, comm - BACKWARD * compute)


HEADER = """# Predicted step time and weak scaling, made by: scripts/simulate table
#
# Platform (assumed): %s.
# all-reduce: simulated, the sources of comm/ under SimGrid's SMPI (neutral network
#   model); error: against the formula of latency, bandwidth and adding
#     ring     (p - 1) (2 (a + n / (p B)) + n / (p A)), a: mean latency to the right
#     halving  sum over k < lg p of 2 (a_k + n / (2^(k+1) B)) + n / (2^(k+1) A)
#   in which adding and sending take turns; segments let them overlap, so large
#   vectors are faster than the formula.
# step, in turn:   compute + all-reduce
# step, overlap:   compute + max(all-reduce of the layer that backward ends with,
#                                all-reduce - 2/3 compute)
# efficiency:      compute / step with overlap, the batch per rank being the same
#
# The optimizer is in the compute time. Ranks are equally fast and nobody else uses
# the network: the figures compare algorithms, they promise no machine.
"""
ROW = "%5s %8s  %-13s %10s %7s | %10s %10s %10s\n"


def row(key, seconds, work, step):
    ranks, per_node, algorithm, size = key
    formula = FORMULAS.get(algorithm) if per_node == 1 else None
    error = ("%+.1f %%" % (100 * (seconds / formula(ranks, size) - 1))
             if formula else "-")
    last = seconds * work.last / size
    in_turn = step.seconds + seconds
    overlap = step.seconds + exposed(seconds, last, step.seconds)
    return ROW % (ranks, per_node, algorithm, "%.3f" % (1e3 * seconds), error,
                  "%.3f" % (1e3 * in_turn), "%.3f" % (1e3 * overlap),
                  "%.1f %%" % (100 * step.seconds / overlap))


def table(points):
    text = HEADER % PLATFORM_TEXT
    for work in WORKLOADS:
        for step in work.steps:
            text += ("\n%s: %d bytes, compute %.2f ms (%s); times in ms\n" % (
                work.name, work.bytes, 1e3 * step.seconds, step.text))
            text += ROW % ("ranks", "per node", "algorithm", "all-reduce",
                           "error", "in turn", "overlap", "efficiency")
            for key in sorted(points, key=lambda k: (k[1], k[0], k[2])):
                if key[3] == work.bytes:
                    text += row(key, points[key], work, step)
    return text
