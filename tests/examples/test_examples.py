"""Every example runs, goes on where it stopped, and is the same on any ranks.

usage: test_examples.py MPIRUN PROGRAM...
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "reliability"))
import job  # noqa: E402

LIMIT_S = 100
NEAR = 1e-5  # of losses on other numbers of ranks: other orders of sums
TEXT = "To be, or not to be, that is the question:\n" * 300


class Failure(Exception):
    pass


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Example:
    """One program in a folder of its own."""

    def __init__(self, mpirun, program, scratch):
        self.mpirun = mpirun
        self.program = os.path.abspath(program)
        self.name = os.path.basename(program)
        self.folder = os.path.join(scratch, self.name)
        os.makedirs(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *options, ranks=1, code=0):
        """The output; a Failure where the program ends with another code."""
        return self.run_command(
            [*job.mpirun(self.mpirun, ranks), self.program, *options], code)

    def run_beside(self, name, *options, code=0):
        """The output of another example in this one's folder, one process."""
        program = os.path.join(os.path.dirname(self.program), name)
        return self.run_command([program, *options], code)

    def run_command(self, command, code):
        result = job.run(command, self.folder, LIMIT_S)
        if result.code != code:
            raise Failure("%s ended with %s, expected %d:\n%s" % (
                " ".join(command), result.code, code, result.output))
        return result.output

    def stopped(self, *options, ranks, number):
        """The output, where a rank gets a signal once it says what it resumes:
        before, lines may be MPI's and the handler is not there yet."""
        path = self.path("lines")
        with open(path, "w", encoding="utf-8") as output:
            process = job.start([*job.mpirun(self.mpirun, ranks), self.program,
                                 *options], self.folder, output)
        end = time.monotonic() + LIMIT_S
        while "resume" not in read(path) and process.poll() is None and \
                time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.processes()[-1:]:
            os.kill(pid, number)
        try:
            code = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            job.end_group(process)
            code = None
        with open(path, encoding="utf-8") as file:
            output = file.read()
        expect(code == 85, "ended with", code, output)
        return output

    def processes(self):
        """Of this program, in its folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.samefile("/proc/%s/cwd" % pid, self.folder) and \
                        os.path.samefile("/proc/%s/exe" % pid, self.program):
                    found.append(int(pid))
            except OSError:
                continue
        return sorted(found)

    def log(self, *options, ranks=1):
        """The lines of its log."""
        self.run(*options, "--log", "log", "--threads", "1", ranks=ranks)
        with open(self.path("log"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def losses(log):
    return [line["loss"] for line in log if "loss" in line]


def expect(is_so, *what):
    if not is_so:
        raise Failure(" ".join(map(str, what)))


def digits(example):
    """digits trains for an epoch, and knows that it has"""
    expect("epoch 1" in example.run("1", ranks=2), "no line of the epoch")
    again = example.run("1")
    expect("resumed from" in again and "loss" not in again,
           "the epoch was trained again", again)


def digits_stops(example):
    """digits stops when it is asked to, saves, and goes on: 85"""
    output = ""
    for ranks, number in ((1, signal.SIGINT), (2, signal.SIGTERM)):
        output += example.stopped("1000000", ranks=ranks, number=number)
        expect("stopped on request" in output, output)
    epoch = int(output.split("epoch ")[-1].split()[0])
    output = example.run(str(epoch + 1), ranks=2)
    expect("epoch %d " % (epoch + 1) in output and
           "epoch %d " % (epoch - 1) not in output, epoch, output)


def regress_predicts(example):
    """what regress learns, predict knows; without it, it says so: 66"""
    points = (0.3, 0.2), (-0.5, 0.9), (0, -0.5), (0.7, -0.7)
    options = [str(number) for point in points for number in point]
    output = example.run_beside("predict", *options, code=66)
    expect("no checkpoint" in output and "->" not in output, output)
    expect("done after step 4000" in example.run(ranks=2), "no last line")
    lines = example.run_beside("predict", *options).splitlines()
    expect(len(lines) == len(points), lines)
    for (a, b), line in zip(points, lines):
        wanted = math.sin(3 * a) * math.cos(2 * b)
        expect(abs(float(line.split("->")[1]) - wanted) < 0.05, line, wanted)


def regress_stops(example):
    """regress stops when it is asked to, and goes on with other ranks: 85"""
    shutil.rmtree(example.path("run-regress"), ignore_errors=True)
    output = example.stopped("1000000", ranks=2, number=signal.SIGTERM)
    step = int(output.split("stopped after step ")[1].split()[0])
    output = example.run(str(step // 40 + 2), ranks=3)
    last = int(output.split("done after step ")[1].split()[0])
    expect("step %d," % step in output and last > step, output)


def insitu(example):
    """insitu trains on what each rank has, samples of all ranks"""
    for ranks, samples in (1, 100), (2, 300), (3, 600):
        output = example.run(ranks=ranks)
        expect("%d samples" % samples in output, output)
        loss = float(output.split("loss ")[1].split()[0])
        expect(loss < 1e-4, output)


def same_on_any_ranks(example, *options):
    one = losses(example.log("--no-checkpoint", "--steps", "4", *options))
    expect(len(one) == 4, "losses", one)
    for ranks in (2, 3):
        more = losses(example.log("--no-checkpoint", "--steps", "4", *options,
                                  ranks=ranks))
        apart = max(abs(a / b - 1) for a, b in zip(one, more))
        expect(apart < NEAR, ranks, "ranks", more, "one", one)


def goes_on(example, *options):
    whole = example.log("--steps", "2", "--checkpoint", "whole", *options)
    example.log("--steps", "1", "--schedule", "constant", *options)
    parts = example.log("--steps", "2", "--resume", *options)
    expect(losses(whole) == losses(parts), whole, parts)
    expect(whole[-1]["params_hash"] == parts[-1]["params_hash"], whole, parts)


def numbers(log):
    """All that must not depend on the number of ranks."""
    last = log[-1]
    return losses(log), last["params_hash"], last["test_loss"]


def same_bits_on_any_ranks(example, *options):
    options = "--virtual-shards", "8", *options
    one = numbers(example.log("--no-checkpoint", "--steps", "4", *options))
    for ranks in (2, 3, 4, 6, 8):
        more = numbers(example.log("--no-checkpoint", "--steps", "4",
                                   *options, ranks=ranks))
        expect(one == more, ranks, "ranks", more, "one", one)
    for steps, ranks in (("1", 3), ("3", 1), ("4", 2)):
        last = example.log("--steps", steps, "--resume", "--checkpoint",
                           "moved", *options, ranks=ranks)
    expect(one == numbers(last), "resumed", numbers(last), "one", one)


def classifier_bits(example):
    """train_classifier has the same bits on 1 to 8 ranks"""
    same_bits_on_any_ranks(example)


def gpt_bits(example):
    """train_gpt has the same bits on 1 to 8 ranks"""
    same_bits_on_any_ranks(example, *with_text(example))


def classifier_ranks(example):
    """train_classifier has the losses of one rank on 2 and 3"""
    same_on_any_ranks(example)


def classifier_resumes(example):
    """train_classifier goes on with the same bits"""
    goes_on(example)


def spans(events, rank, category, name=None):
    """(begin, end) of a rank's events, in order."""
    return sorted((e["ts"], e["ts"] + e["dur"]) for e in events
                  if e["ph"] == "X" and e["pid"] == rank and
                  e["cat"] == category and name in (None, e["name"]))


def check_step(backward, buckets, wait, update):
    """The spans of one step of one rank."""
    first, last = buckets[0], buckets[-1]
    expect(backward[0] <= first[0] <= backward[1],
           "the first bucket begins outside of backward", first, backward)
    expect(last[0] >= backward[1], "the last bucket begins early", last,
           backward)
    expect(last[1] <= wait[1] <= update[0], "an update before its gradients",
           last, wait, update)
    for a, b in zip(buckets, buckets[1:]):
        expect(a[0] <= a[1] <= b[0], "buckets at once", a, b)


def classifier_trace(example):
    """train_classifier traces computing, buckets and waits of all ranks"""
    steps, ranks = 3, 3
    example.run("--no-checkpoint", "--steps", str(steps), "--threads", "1",
                "--trace", "trace", ranks=ranks)
    with open(example.path("trace"), encoding="utf-8") as file:
        trace = json.load(file)
    events, other = trace["traceEvents"], trace["otherData"]
    expect(other["dropped_events"] == [0] * ranks, other)
    buckets = []
    for rank in range(ranks):
        each = [spans(events, rank, "bucket", "bucket %d" % i)
                for i in range(2)]
        backward = spans(events, rank, "backward", "backward")
        wait = spans(events, rank, "wait", "gradients")
        update = spans(events, rank, "optimizer")
        for found in (*each, backward, wait, update):
            expect(len(found) == steps, rank, found)
        for step in range(steps):
            check_step(backward[step], [b[step] for b in each], wait[step],
                       update[step])
        expect(len(spans(events, rank, "backward", "fc2")) == steps, "fc2")
        expect(len(spans(events, rank, "wait", "data")) >= steps, "data")
        buckets.append([b for part in each for b in part])
    # On one time line no bucket ends before all ranks have begun it.
    slack = 2 * max(other["clock_error_us"]) + 1
    for same in zip(*buckets):
        expect(min(b[1] for b in same) + slack >= max(b[0] for b in same),
               "clocks differ", same, other)


def with_text(example):
    with open(example.path("text"), "w", encoding="utf-8") as file:
        file.write(TEXT)
    return "--data", "text", "--batch", "4", "--length", "20"


def gpt_ranks(example):
    """train_gpt has the losses of one rank on 2 and 3"""
    same_on_any_ranks(example, *with_text(example))


def gpt_resumes(example):
    """train_gpt goes on with the same bits"""
    goes_on(example, *with_text(example))


def gpt_writes(example):
    """train_gpt writes the same text again, from its checkpoint"""
    options = *with_text(example), "--prompt", "To be"
    trained = example.run(*options, "--steps", "2", ranks=2).split("To be")
    written = example.run(*options, "--generate")
    expect(written.startswith("To be") and len(written) == 26, repr(written))
    expect(written == "To be" + trained[-1], repr(trained), repr(written))
    other = example.run(*options, "--generate", "--seed", "1")
    expect(written != other, "another seed wrote the same")
    likely = [example.run(*options, "--generate", "--temperature", "0",
                          "--seed", seed) for seed in ("0", "1")]
    expect(likely[0] == likely[1], "the likeliest text depends on the seed")


def gpt_refuses(example):
    """train_gpt says what is missing"""
    options = with_text(example)
    output = example.run(ranks=2, code=2)
    expect("wants a text" in output, output)
    output = example.run(*options, "--generate", "--checkpoint", "none",
                         code=66)
    expect("no checkpoint" in output, output)
    output = example.run(*options, "--prompt", "x#", ranks=2, code=2)
    expect("the text has not" in output, output)


def surrogate_ranks(example):
    """train_surrogate has the losses of one rank on 2 and 3"""
    same_on_any_ranks(example)


def surrogate_resumes(example):
    """train_surrogate goes on with the same bits"""
    goes_on(example, "--schedule", "constant")


def surrogate_errors(example):
    """train_surrogate shows its errors, and no accuracy"""
    output = example.run("--steps", "2", "--no-checkpoint", ranks=2)
    for line in ("the network, one interval", "a state that stays as it is",
                 "the network, five in a row"):
        expect(line in output, line, "is not in", output)
    expect("accuracy" not in output, output)


CLAIMS = {
    "digits": [digits, digits_stops],
    "regress": [regress_predicts, regress_stops],
    "insitu": [insitu],
    "train_classifier": [classifier_ranks, classifier_bits, classifier_resumes,
                         classifier_trace],
    "train_gpt": [gpt_ranks, gpt_bits, gpt_resumes, gpt_writes, gpt_refuses],
    "train_surrogate": [surrogate_ranks, surrogate_resumes, surrogate_errors],
}


def main():
    mpirun, programs = os.path.abspath(sys.argv[1]), sys.argv[2:]
    tap = job.Tap(sum(len(CLAIMS[os.path.basename(p)]) for p in programs))
    with tempfile.TemporaryDirectory() as scratch:
        for program in programs:
            example = Example(mpirun, program, scratch)
            for claim in CLAIMS[example.name]:
                try:
                    claim(example)
                    tap.report(claim.__doc__)
                except Failure as failure:
                    tap.report(claim.__doc__, str(failure).splitlines())
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
