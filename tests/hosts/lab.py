"""Hosts in network namespaces (netlab), and jobs on them."""

import os
import signal
import subprocess
import tempfile

NETLAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "netlab")


class NoLab(Exception):
    """This machine cannot have one; the text says why."""


class Lab:
    """So many hosts, until the end of a with block."""

    count = 0

    def __init__(self, hosts):
        Lab.count += 1
        self.name = "tr%d-%d" % (os.getpid(), Lab.count)
        self.hosts = hosts
        self.scratch = None

    def __enter__(self):
        # Whoever ends this program ends the lab.
        signal.signal(signal.SIGTERM, lambda *ignored: os._exit(self.leave()))
        try:
            version = subprocess.run(["mpirun", "--version"], check=False,
                                     capture_output=True, text=True).stdout
            if "Open MPI" not in version:
                raise NoLab("mpirun is not Open MPI's, whose options are used")
            self.call("up", str(self.hosts))
        except OSError as error:
            raise NoLab(str(error)) from error
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or ["netlab failed"]
            raise NoLab(lines[0]) from error
        self.scratch = tempfile.TemporaryDirectory()
        return self

    def leave(self):
        self.call("down")
        return 1

    def __exit__(self, *ignored):
        self.leave()
        if self.scratch:
            self.scratch.cleanup()

    def call(self, what, *arguments):
        subprocess.run([NETLAB, what, self.name] + list(arguments), check=True,
                       stdin=subprocess.DEVNULL, capture_output=True,
                       text=True)

    def rate(self, rate):
        """What each link carries each way, as tc says it; "none": no limit."""
        self.call("rate", rate)

    def link(self, host, state):
        self.call("link", str(host), state)

    def start(self, per_host, command, cwd, hosts=None):
        """A job with so many ranks on each host; output in cwd/output.

        A file and no pipe: what is left of a job on a host that cannot be
        reached would keep a pipe open for minutes.
        """
        count = hosts or self.hosts
        where = ",".join("h%d:%d" % (i, per_host) for i in range(count))
        with open(os.path.join(cwd, "output"), "w",
                  encoding="utf-8") as output:
            return subprocess.Popen(
                [NETLAB, "mpirun", self.name, "-H", where, "-n",
                 str(count * per_host), "-wdir", cwd] + list(command),
                cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, per_host, command, limit_s, hosts=None):
        """(exit code or None where it ran past the limit, output)."""
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as cwd:
            process = self.start(per_host, command, cwd, hosts)
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                end(process)
                code = None
            return code, read(os.path.join(cwd, "output"))


def end(process):
    """End a command and all that it started; the lab's end takes the rest."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
