"""Running the main job for the reliability tests, and reporting in TAP."""

import os
import re
import signal
import subprocess
import threading

LIMIT_S = 20
BREAK = re.compile(r"[\r\n]|\x1b\[K")
ENVIRONMENT = dict(os.environ, OMPI_MCA_mpi_yield_when_idle="1")
# In which Open MPI's and MPICH's launchers tell a process its rank.
RANK_VARIABLES = (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK")
# Each rank leaves its exit code in a file; mpirun's own code is that of the
# first rank that fails. It then ends the others, which mostly have ended by
# themselves.
KEEP_CODE = ('trap "" TERM; "$@"; code=$?; '
             'echo $code >exit.${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}; exit $code')


def by_rank(first, others):
    """A shell's text: the first on rank 0, the other on all others."""
    return ('if [ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" = 0 ]; then %s; '
            'else %s; fi; ' % (first, others))


def mpirun(launcher, ranks):
    return [launcher, "-n", str(ranks)]


class Result:
    """How a command ended: code None where it ran past the limit."""

    def __init__(self, code, output, rank_codes):
        self.code = code
        self.output = output
        self.rank_codes = rank_codes

    def lines(self, prefix):
        # mpirun gives rank 0 a terminal, so there may be a bar before a line.
        return [line for line in BREAK.split(self.output)
                if line.startswith(prefix)]


def start(command, cwd, output):
    return subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL,
                            stdout=output, stderr=subprocess.STDOUT,
                            env=ENVIRONMENT, start_new_session=True)


def end_group(process):
    """End a command and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(command, cwd, limit_s=LIMIT_S):
    path = os.path.join(cwd, "output.txt")
    with open(path, "w", encoding="utf-8") as output:
        process = start(command, cwd, output)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            end_group(process)
            code = None
    with open(path, encoding="utf-8", errors="replace") as output:
        text = output.read()
    codes = []
    for name in sorted(os.listdir(cwd)):
        if name.startswith("exit."):
            with open(os.path.join(cwd, name), encoding="utf-8") as file:
                left = file.read().strip()
            if left:  # mpirun may kill a rank that is about to write its code
                codes.append(int(left))
    return Result(code, text, codes)


class Tap:
    """Claims, in the order in which they end; from any thread."""

    def __init__(self, planned):
        self.lock = threading.Lock()
        self.number = 0
        self.failed = 0
        print("1..%d" % planned, flush=True)

    def report(self, title, problems=(), detail="", skip=None):
        with self.lock:
            self.number += 1
            self.failed += bool(problems)
            print("%sok %d - %s%s" % ("not " if problems else "", self.number,
                                      title, " # SKIP " + skip if skip
                                      else ""))
            for line in list(problems) + (detail.splitlines() if problems
                                          else []):
                print("# " + line)
            print(end="", flush=True)
