"""What a job meets outside of its data: closed streams, pipes that nobody
reads, small limits, another locale.

usage: test_surroundings.py MPIRUN TRAIN_CLASSIFIER TRAIN_GPT
"""

import json
import os
import sys
import tempfile

import job

TINY = ["--model", "mlp", "--batch", "8", "--threads", "1", "--steps", "4"]


class Failure(Exception):
    pass


class Place:
    """Programs, and a folder of a claim's own."""

    def __init__(self, mpirun, classifier, gpt, folder):
        self.mpirun = mpirun
        self.classifier = classifier
        self.gpt = gpt
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


CLAIMS = [closed_streams, closed_head, read_pipes, streams_as_logs]


def main():
    tools = [os.path.abspath(path) for path in sys.argv[1:4]]
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
