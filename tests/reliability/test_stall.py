"""Ranks that others wait for in vain, and ranks that differ: the job ends by
itself, names the rank, and leaves with the exit code of the cause.

usage: test_stall.py MPIRUN FAULTY [--times N] [--seed N] [--only TEXT]

Each fault strikes a random rank at a random moment, --times times; 100 where
the environment has LIBTRAIN_TEST_FULL, else 3.
"""

import argparse
import collections
import concurrent.futures
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time

import job

WORKERS = 2
RANKS = 3
LIMIT_S = 4         # of stalls; the start of a job takes less
NEVER_S = 60        # a limit of stalls that no test comes to
GRACE_S = 10        # more than this beyond the limit is a failure: busy machines
PATIENCE_S = 120    # until a job is taken for hanging
LAUNCHER_S = 20     # for the launcher to end after its ranks
MOMENT_S = 1.5      # faults strike so long after the first step


SAID = re.compile(r"(libtrain: |error on rank \d+: |^error: ).*")


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


# Exit code of the launcher (None: it stayed though all ranks had ended, less
# than 0: a signal ended it), the library's own lines, seconds to the end and to the first line.
End = collections.namedtuple("End", "code lines took said")


class Run:
    """One job of the faulty program in a folder of its own."""

    def __init__(self, campaign, *arguments):
        self.folder = tempfile.mkdtemp(dir=campaign.scratch)
        self.path = os.path.join(self.folder, "output.txt")
        with open(self.path, "w", encoding="utf-8") as output:
            self.process = job.start(
                job.mpirun(campaign.mpirun, RANKS) + [campaign.program] +
                [str(argument) for argument in arguments],
                self.folder, output)

    def output(self):
        with open(self.path, encoding="utf-8", errors="replace") as output:
            return output.read()

    def wait_until_ready(self):
        end = time.monotonic() + PATIENCE_S
        while "ready" not in self.output():
            expect(self.process.poll() is None, "the job ends at once: " +
                   self.output())
            expect(time.monotonic() < end, "the job does not begin")
            time.sleep(0.01)

    def rank_pids(self):
        """Process of each rank that has begun."""
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                if not os.path.samefile("/proc/%s/cwd" % name, self.folder):
                    continue
                with open("/proc/%s/environ" % name, "rb") as file:
                    variables = file.read().split(b"\0")
                with open("/proc/%s/comm" % name, encoding="utf-8") as file:
                    is_rank = file.read().strip() == "faulty"
            except OSError:
                continue
            for variable in variables:
                key, _, value = variable.partition(b"=")
                if is_rank and key in job.RANK_VARIABLES:
                    found[int(value)] = int(name)
        return found

    def lines(self):
        """What the library says. Launchers may put the output of another rank
        before it, on the same line."""
        found = [SAID.search(line) for line in job.BREAK.split(self.output())]
        return [said.group(0) for said in found if said]

    def end(self, seconds=PATIENCE_S):
        """How the job ends."""
        begin = time.monotonic()
        said = None
        while self.process.poll() is None:
            now = time.monotonic() - begin
            if said is None and self.lines():
                said = now
            if said is not None and now > said + LAUNCHER_S and \
                    not self.rank_pids():
                break
            if now > seconds:
                ranks = self.rank_pids()
                job.end_group(self.process)
                raise Failure("still running after %d s, ranks %s: %s" %
                              (seconds, sorted(ranks), self.output()))
            time.sleep(0.02)
        took = time.monotonic() - begin
        code = self.process.poll()
        job.end_group(self.process)
        end = End(code, self.lines(), took, took if said is None else said)
        shutil.rmtree(self.folder, ignore_errors=True)
        return end


class Campaign:
    def __init__(self, mpirun, program, scratch, seed):
        self.mpirun = os.path.abspath(mpirun)
        self.program = os.path.abspath(program)
        self.scratch = scratch
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.worst = {}

    def draw(self, method, *arguments):
        with self.lock:
            return getattr(self.random, method)(*arguments)

    def note(self, what, seconds):
        with self.lock:
            self.worst[what] = max(self.worst.get(what, 0), seconds)


def one_line(end, code, *texts):
    expect(len(end.lines) == 1, "expected one line: %s" % end.lines)
    for text in texts:
        expect(text in end.lines[0], "not in the line: %s" % text)
    expect(end.code == code, "exit code is %s, expected %s" % (end.code, code))


def signalled(campaign, limit_s, number):
    """A job whose random rank gets a signal at a random moment."""
    run = Run(campaign, limit_s)
    run.wait_until_ready()
    time.sleep(campaign.draw("uniform", 0, MOMENT_S))
    rank = campaign.draw("randrange", RANKS)
    os.kill(run.rank_pids()[rank], number)
    return run, rank


def check_stall(campaign, number):
    run, rank = signalled(campaign, LIMIT_S, number)
    end = run.end()
    # Nobody can tell a rank that loops in a save from one that writes slowly.
    is_save = number != signal.SIGSTOP and 'it is in "checkpoint save"' in \
        "".join(end.lines)
    limit_s = LIMIT_S * (10 if is_save else 1)
    try:
        one_line(end, 71, "libtrain: rank %d ha" % rank, "Exit 71.")
        expect(end.took <= limit_s + GRACE_S, "took %.1f s" % end.took)
    except Failure as failure:
        raise Failure("rank %d: %s\n%s" % (rank, failure,
                                           "\n".join(end.lines))) from failure
    campaign.note("said", end.said - limit_s)
    campaign.note("stall", end.took - limit_s)


def check_stopped(campaign):
    check_stall(campaign, signal.SIGSTOP)


def check_loop(campaign):
    check_stall(campaign, signal.SIGUSR2)


def check_stopped_at_start(campaign):
    """Before all ranks have joined nobody knows who has not.

    Open MPI 4.1's launcher may hang or crash where ranks end inside MPI_Init;
    the ranks are gone all the same."""
    run = Run(campaign, LIMIT_S)
    begin = time.monotonic()
    while len(run.rank_pids()) < RANKS and time.monotonic() < begin + 20:
        time.sleep(0.005)
    time.sleep(campaign.draw("uniform", 0, 0.5))
    pids = run.rank_pids()
    rank = campaign.draw("choice", sorted(pids))
    os.kill(pids[rank], signal.SIGSTOP)
    end = run.end()
    if end.code is None or end.code < 0:
        campaign.note("launcher", campaign.worst.get("launcher", 0) + 1)
        end = end._replace(code=71, took=end.said)
    expect(end.code == 71, "exit code is %s, expected 71: %s" %
           (end.code, end.lines))
    expect(end.lines and all("Exit 71." in line for line in end.lines),
           "says %s" % end.lines)
    expect("rank %d ha" % rank in end.lines[0] or
           "rank %d of the job is stopped" % rank in end.lines[0],
           "rank %d is not named: %s" % (rank, end.lines))
    expect(end.took <= LIMIT_S + GRACE_S, "took %.1f s" % end.took)
    campaign.note("start", end.took - LIMIT_S)


def check_killed(campaign):
    run, rank = signalled(campaign, NEVER_S, signal.SIGKILL)
    end = run.end()
    expect(end.code == 137, "rank %d: exit code is %s, expected 137" %
           (rank, end.code))
    expect(not end.lines, "says %s" % end.lines)
    expect(end.took <= GRACE_S, "took %.1f s" % end.took)
    campaign.note("kill", end.took)


def faulty(campaign, limit_s, faults):
    fault = campaign.draw("choice", faults)
    rank = campaign.draw("randrange", RANKS)
    step = campaign.draw("randint", 1, 60)
    begin = time.monotonic()
    run = Run(campaign, limit_s, fault, rank, step)
    end = run.end()
    campaign.note("differ", time.monotonic() - begin)
    return end, fault, rank, step


def check_mismatch(campaign, faults, text_of):
    end, fault, rank, step = faulty(campaign, NEVER_S, faults)
    try:
        one_line(end, 78, *text_of(fault, rank, step))
    except Failure as failure:
        raise Failure("%s of rank %d at step %d: %s\n%s" % (
            fault, rank, step, failure, "\n".join(end.lines))) from failure


def check_options(campaign):
    # Rank 0 is compared with the first rank that differs from it.
    check_mismatch(campaign, ["seed", "lr", "batch"],
                   lambda fault, rank, _: (
                       'rank 0 has "', 'rank %d has "%s' % (rank or 1, fault)))


def check_counts(campaign):
    check_mismatch(campaign, ["leave", "evaluate"],
                   lambda fault, rank, step: (
                       "rank %d" % rank, "tr_context_destroy"
                       if fault == "leave" else '"evaluation"',
                       "step %d" % step))


def check_shapes(campaign):
    check_mismatch(campaign, ["width", "shape"],
                   lambda fault, rank, _: (
                       ('rank %d has "' % (rank or 1), "65")
                       if fault == "width" else
                       ("error on rank %d: " % rank, "bytes per sample")))


def check_work(campaign):
    """A rank that works for itself for less than the limit is not lost."""
    end, _, rank, step = faulty(campaign, 2 * LIMIT_S, ["work"])
    expect(end.code == 0 and not end.lines, "rank %d at step %d: %s" %
           (rank, step, end))


def check_own_work(campaign):
    """Longer than the limit, announced, or at the end."""
    for fault in ("own", "last"):
        end, _, rank, step = faulty(campaign, LIMIT_S / 2, [fault])
        expect(end.code == 0 and not end.lines, "%s of rank %d at step %d: %s" %
               (fault, rank, step, end))


def check_stopped_at_end(campaign):
    """Whoever works on alone at the end, and is stopped, is named."""
    rank = campaign.draw("randrange", RANKS)
    run = Run(campaign, LIMIT_S, "last", rank, 1)
    run.wait_until_ready()
    time.sleep(LIMIT_S / 4)
    os.kill(run.rank_pids()[rank], signal.SIGSTOP)
    one_line(run.end(), 71, "libtrain: rank %d ha" % rank, "Exit 71.")


CLAIMS = (
    ("a rank that is stopped is named within the limit: 71", check_stopped),
    ("a rank that loops is named within the limit: 71", check_loop),
    ("a rank that is stopped in its start does not hang the job: 71",
     check_stopped_at_start),
    ("a rank that is killed ends the job: 137", check_killed),
    ("ranks of other options are named: 78", check_options),
    ("ranks of other numbers of steps or calls are named: 78", check_counts),
    ("ranks of other shapes are named: 78", check_shapes),
    ("a rank that computes for less than the limit is no stall", check_work),
    ("a rank's own work, announced or at the end, is no stall",
     check_own_work),
    ("a rank that is stopped in its own work is named: 71",
     check_stopped_at_end),
)


def try_claim(campaign, check, times):
    """What went wrong, each time."""
    problems = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(check, campaign) for _ in range(times)]:
            try:
                future.result()
            except Failure as failure:
                problems += str(failure).splitlines()
    return problems


def main():
    full = "LIBTRAIN_TEST_FULL" in os.environ
    parser = argparse.ArgumentParser()
    parser.add_argument("mpirun")
    parser.add_argument("program")
    parser.add_argument("--times", type=int, default=100 if full else 3)
    parser.add_argument("--full", action="store_const", const=100,
                        dest="times")
    parser.add_argument("--seed", type=int, default=20261207)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    claims = [claim for claim in CLAIMS if options.only in claim[0]]
    tap = job.Tap(len(claims))
    print("# --seed %d --times %d" % (options.seed, options.times))
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(options.mpirun, options.program, scratch,
                            options.seed)
        for title, check in claims:
            # These mostly wait.
            is_long = check in (check_own_work, check_stopped_at_end)
            times = (options.times + 4) // 5 if is_long else options.times
            problems = try_claim(campaign, check, times)
            tap.report("%s, %d times" % (title, times), problems)
    for what, text in (("said", "beyond the limit to the line of a stall"),
                       ("stall", "beyond the limit to the end of the job"),
                       ("start", "beyond the limit, in the start"),
                       ("kill", "after a kill"),
                       ("differ", "in all, of ranks that differ")):
        if what in campaign.worst:
            print("# longest time %s: %.1f s" % (text, campaign.worst[what]))
    if "launcher" in campaign.worst:
        print("# the launcher itself failed %d times in the start" %
              campaign.worst["launcher"])
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
