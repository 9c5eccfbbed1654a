"""What a job meets outside of its data: closed streams, pipes that nobody
reads, small limits, another locale.

usage: test_surroundings.py MPIRUN TRAIN_CLASSIFIER TRAIN_GPT COMMA
"""

import fcntl
import json
import os
import pty
import shlex
import struct
import subprocess
import sys
import tempfile
import termios

import job

TINY = ["--model", "mlp", "--batch", "8", "--threads", "1", "--steps", "4"]


class Failure(Exception):
    pass


class Place:
    """Programs, and a folder of a claim's own."""

    def __init__(self, mpirun, classifier, gpt, comma, folder):
        self.mpirun = mpirun
        self.classifier = classifier
        self.gpt = gpt
        self.comma = comma  # a library that sets the user's locale
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def shell(self, text, *options, program=None, code=0):
        """Run a shell's text in which "$@" is the program with its options."""
        command = ["bash", "-c", text, "bash", program or self.classifier]
        result = job.run(command + list(options), self.folder)
        expect(result.code == code, text, "ended with", result.code,
               "expected", code, result.output)
        return result


def expect(is_so, *what):
    if not is_so:
        raise Failure(" ".join(map(str, what)))


def check_saved(place, step):
    name = "run/step-%08d.h5" % step
    expect(os.path.exists(place.path(name)), "there is no", name)


def closed_streams(place):
    """output to closed streams lands in no file"""
    for streams in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        place.shell('rm -rf run log; "$@" %s' % streams, *TINY, "--log", "log",
                    "--print-plan")
        check_saved(place, 4)
        expect(b"process" in place.read("run/run.lock")[:7] and
               b"done" not in place.read("run/run.lock"),
               streams, "run.lock", place.read("run/run.lock"))
        for line in place.read("log").splitlines():
            json.loads(line)


def closed_head(place):
    """a reader of the output that goes away costs no checkpoint"""
    place.shell('"$@" --print-plan | head -1; exit ${PIPESTATUS[0]}', *TINY,
                "--epochs", "1")
    check_saved(place, 4)
    # The line of the first epoch is one that nobody reads.
    place.shell('rm -rf run; "$@" | true; exit ${PIPESTATUS[0]}',
                *TINY[:-2], "--epochs", "2", "--batch", "512")
    expect(any(name.endswith(".manifest") for name in
               os.listdir(place.path("run"))), "nothing is saved")


def read_pipes(place):
    """a text that is a pipe is refused"""
    result = place.shell('mkfifo x; "$@"', "--data", "x", program=place.gpt,
                         code=65)
    expect("x: is a pipe, expected a regular file" in result.output,
           result.output)


def streams_as_logs(place):
    """a log goes to a pipe that is read, to standard output and nowhere"""
    place.shell('mkfifo x; cat x >kept & "$@" --log x && wait', *TINY)
    lines = [json.loads(line) for line in place.read("kept").splitlines()]
    expect(lines and "params_hash" in lines[-1], "the pipe had", lines)
    result = place.shell('rm -rf run; "$@" --log /dev/stdout', *TINY)
    expect('"params_hash"' in result.output, result.output)
    place.shell('rm -rf run; "$@" --log /dev/stdout | cat', *TINY)
    place.shell('rm -rf run; "$@" --log /dev/null --trace /dev/null', *TINY)


def make_comma(place):
    """Words of a shell that run a program under a decimal comma; None where
    that cannot be had."""
    with open(place.path("source"), "w", encoding="utf-8") as file:
        file.write('LC_NUMERIC\ndecimal_point ","\nthousands_sep "."\n'
                   'grouping 3\nEND LC_NUMERIC\n')
    try:
        subprocess.run(["localedef", "-c", "-i", "source", "./comma"],
                       cwd=place.folder, check=False,
                       stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    if not os.path.exists(place.path("comma/LC_NUMERIC")):
        return None
    return "env LOCPATH=%s LC_NUMERIC=comma LD_PRELOAD=%s" % (place.folder,
                                                              place.comma)


def comma_alone(place):
    """a decimal comma changes no log, no trace and no option"""
    words = make_comma(place)
    if words is None:
        return "no localedef"
    output = place.shell(words + ' "$@" --lr 0.01 --log log --trace trace',
                         *TINY, "--dtype", "f64").output
    expect("loss" in output and "," not in output.split("done:")[1], output)
    for line in place.read("log").splitlines():
        json.loads(line)
    json.loads(place.read("trace"))
    return None


def comma_ranks(place):
    """a rank with a decimal comma trains with one that has none"""
    words = make_comma(place)
    if words is None:
        return "no localedef"
    launch = " ".join(job.mpirun(place.mpirun, 2))
    options = ["--lr", "0.01", "--warmup", "3", "--clip-norm", "0.5"]
    text = job.by_rank('exec "$@"', 'exec env %s "$@"' % words)
    place.shell("%s sh -c %s sh \"$@\"" % (launch, shlex.quote(text)), *TINY,
                "--schedule", "cosine", *options)
    return None


def watch(place, columns, *command):
    """What a terminal of so many columns gets, as text."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ,
                        struct.pack("HHHH", 24, columns, 0, 0))
            os.chdir(place.folder)
            os.execvpe(command[0], command, job.ENVIRONMENT)
        finally:
            os._exit(127)
    output = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
        if not more:
            break
        output += more
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    output = output.decode(errors="replace")
    expect(code == 0, command, "ended with", code, output)
    return output


def check_bar(output, columns):
    bars = [text.split("\033[K")[0] for text in output.split("\r")
            if "step " in text and "\033[K" in text]
    expect(bars, "no bar in", repr(output))
    for bar in bars:
        expect(len(bar) < columns, columns, "columns:", repr(bar))


def narrow_terminals(place):
    """the bar fits into the terminal, under a launcher too"""
    options = [*TINY[:-2], "--epochs", "1", "--batch", "32"]
    for columns in (120, 80, 50, 20, 0):
        check_bar(watch(place, columns, place.classifier, *options),
                  columns or 80)
    launch = job.mpirun(place.mpirun, 2)
    if "Open MPI" in place.shell("%s --version" % launch[0]).output:
        check_bar(watch(place, 40, *launch, place.classifier, *options), 40)


def first_and_last_words(place):
    """a run says what it trains, where it saves, and how to go on"""
    lines = place.shell('"$@"', *TINY).output.splitlines()
    for part in ("mlp", "parameters", "digits", "8000 samples", "2000 to test",
                 "1 rank x 1 thread", "CPU", "checkpoints in run/"):
        expect(part in lines[0], part, "is not in", lines[0])
    expect(lines[-1] == "go on: --resume --steps 8", lines)
    more = place.shell('"$@" --resume --epochs 1 --batch 1000 '
                       '--checkpoint run', "--model", "mlp").output
    expect("resumed" in more.splitlines()[0], more)
    expect(more.splitlines()[-1] == "go on: --resume --epochs 2", more)
    none = place.shell('"$@" --no-checkpoint', *TINY).output
    expect("no checkpoints" in none and "go on" not in none, none)


def lines_of_log(place):
    """a log says how it was made, and how each epoch ended"""
    place.shell('"$@" --log log --epochs 2', "--model", "mlp", "--batch",
                "2000", "--threads", "1")
    log = [json.loads(line) for line in place.read("log").splitlines()]
    start = log[0]
    expect(start["start"] is True and start["ranks"] == 1 and
           start["samples"] == 8000 and start["batch"] == 2000 and
           start["from_step"] == 0 and "--epochs 2" in start["command"] and
           start["model"] == "mlp" and "digits" in start["data"], start)
    ends = [line for line in log if "epoch_end" in line]
    expect([end["epoch_end"] for end in ends] == [1, 2], log)
    expect(ends[1]["test_loss"] == log[-1]["test_loss"] and
           ends[1]["test_accuracy"] == log[-1]["test_accuracy"], log)
    expect([line["step"] for line in log if "step" in line] ==
           list(range(1, 9)), log)
    place.shell('"$@" --log log --epochs 3 --resume', "--model", "mlp",
                "--batch", "2000", "--threads", "1")
    log = [json.loads(line) for line in place.read("log").splitlines()]
    expect([line["from_step"] for line in log if "start" in line] == [0, 8],
           log)


def small_stacks(place):
    """threads do not depend on the limit of stacks"""
    # Open MPI 5 itself needs more than 64 KiB of the first thread's.
    begins = job.run(["bash", "-c", 'ulimit -s 64; exec "$@"', "bash",
                      place.classifier, "--version"], place.folder)
    limit = 64 if begins.code == 0 else 128
    place.shell('ulimit -s %d; "$@" --threads 2' % limit, *TINY)
    check_saved(place, 4)


def little_memory(place):
    """without memory for its products the program ends with 69"""
    codes, ends_itself = [], True
    for mib in range(250, 651, 50):
        limited = ["bash", "-c", 'ulimit -v %d; exec "$@"' % (mib << 10),
                   "bash", place.classifier]
        # OpenBLAS 0.3.29 waits for memory for ever while it is loaded.
        if job.run(limited + ["--version"], place.folder, 3).code is None:
            ends_itself = False
            continue
        result = job.run(limited + ["--model", "mlp", "--batch", "256",
                                    "--steps", "1", "--threads", "1",
                                    "--no-checkpoint"], place.folder)
        codes.append(result.code)
        expect(result.code in (0, 69, 127), mib, "MiB:", result.code,
               result.output)
        if result.code == 69:
            expect(len(result.lines("error")) == 1, result.output)
    expect(codes[-1] == 0 and (69 in codes or not ends_itself), codes)


CLAIMS = [closed_streams, closed_head, read_pipes, streams_as_logs,
          comma_alone, comma_ranks, narrow_terminals, first_and_last_words,
          lines_of_log, small_stacks, little_memory]


def main():
    tools = [os.path.abspath(path) for path in sys.argv[1:5]]
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv \
        else ""
    claims = [claim for claim in CLAIMS if only in claim.__doc__]
    tap = job.Tap(len(claims))
    for claim in claims:
        with tempfile.TemporaryDirectory() as folder:
            try:
                skip = claim(Place(*tools, folder))
                tap.report(claim.__doc__, skip=skip)
            except Failure as failure:
                tap.report(claim.__doc__, str(failure).splitlines())
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
