"""The curves of predicted scaling as a picture (scripts/simulate plot)."""

import sys

import scale_model as model

COLORS = {"ring": "C0", "halving": "C1", "hierarchical": "C2"}
LINES = {1: "-", 8: "--"}


def curve(points, work, per_node, algorithm):
    return sorted((key[0], seconds) for key, seconds in points.items()
                  if key[1:] == (per_node, algorithm, work.bytes))


def draw(axes, points, work, value):
    for per_node, algorithms in model.LAYOUTS.items():
        for algorithm in algorithms:
            found = curve(points, work, per_node, algorithm)
            axes.plot([ranks for ranks, _ in found],
                      [value(seconds) for _, seconds in found],
                      LINES[per_node], color=COLORS[algorithm], marker=".",
                      label="%s, %d per node" % (algorithm, per_node))
    axes.set_xscale("log", base=2)
    axes.set_xlabel("ranks")
    axes.grid(True, alpha=0.3)


def efficiency(work, step):
    def value(seconds):
        last = seconds * work.last / work.bytes
        hidden = model.exposed(seconds, last, step.seconds)
        return 100 * step.seconds / (step.seconds + hidden)
    return value


def plot(points, path):
    try:
        import matplotlib
    except ImportError:
        sys.exit("the plot wants matplotlib: pip install matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "libtrain"
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7))
    for i, work in enumerate(model.WORKLOADS):
        step = work.steps[-1]
        draw(axes[i][0], points, work, lambda seconds: 1e3 * seconds)
        axes[i][0].set_yscale("log")
        axes[i][0].set_ylabel("all-reduce, ms")
        axes[i][0].set_title("%s: %.1f MB" % (work.name, work.bytes / 1e6))
        draw(axes[i][1], points, work, efficiency(work, step))
        axes[i][1].set_ylabel("weak scaling with overlap, %")
        axes[i][1].set_ylim(0, 105)
        axes[i][1].set_title("compute %.2f ms\n(%s)" % (1e3 * step.seconds,
                                                        step.text))
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    with open(path, encoding="utf-8") as file:
        text = "\n".join(line.rstrip() for line in file) + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
