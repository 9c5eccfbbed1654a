"""Two hosts on one machine: network namespaces that a link joins.

Needs the right to make namespaces. Each host has its own name and network, so
MPI takes them for two nodes; files and processes are shared."""

import os
import shutil
import stat
import subprocess

AGENT = """#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare -u sh -c "hostname $host; $*"
"""


class Unavailable(Exception):
    """Why there are no hosts here: the words of the command that failed."""


def call(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Unavailable("%s: %s" % (
            " ".join(command),
            done.stderr.decode(errors="replace").strip()))


class Hosts:
    """Hosts 0 and 1, and a launcher that starts ranks on both."""

    def __init__(self, scratch):
        self.names = ["tr%d%s" % (os.getpid() % 100000, side)
                      for side in "ab"]
        self.agent = os.path.join(scratch, "agent")
        with open(self.agent, "w", encoding="utf-8") as file:
            file.write(AGENT)
        os.chmod(self.agent, stat.S_IRWXU)

    def __enter__(self):
        try:
            self.make()
        except (Unavailable, OSError):
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def make(self):
        if not shutil.which("ip") or not shutil.which("unshare"):
            raise Unavailable("no command ip or unshare")
        for name in self.names:
            call("ip", "netns", "add", name)
            os.makedirs("/etc/netns/" + name, exist_ok=True)
            with open("/etc/netns/%s/hosts" % name, "w",
                      encoding="utf-8") as file:
                file.write("127.0.0.1 localhost\n" + "".join(
                    "10.79.0.%d %s\n" % (i + 1, other)
                    for i, other in enumerate(self.names)))
        call("ip", "link", "add", "v0", "netns", self.names[0], "type",
             "veth", "peer", "name", "v0", "netns", self.names[1])
        for i, name in enumerate(self.names):
            call("ip", "-n", name, "link", "set", "lo", "up")
            call("ip", "-n", name, "addr", "add", "10.79.0.%d/24" % (i + 1),
                 "dev", "v0")
            call("ip", "-n", name, "link", "set", "v0", "up")
        call("ip", "netns", "exec", self.names[0], "unshare", "-u", "true")

    def remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False,
                           stderr=subprocess.DEVNULL)
            shutil.rmtree("/etc/netns/" + name, ignore_errors=True)

    def cut(self):
        """The link goes down for good."""
        call("ip", "-n", self.names[1], "link", "set", "v0", "down")

    def mpirun(self, launcher, ranks_per_host):
        hosts = ",".join("%s:%d" % (name, ranks_per_host)
                         for name in self.names)
        return ["ip", "netns", "exec", self.names[0], "unshare", "-u", "sh",
                "-c", 'hostname %s; exec "$@"' % self.names[0], "sh",
                launcher, "--bind-to", "none", "--mca", "plm", "rsh",
                "--mca", "plm_rsh_agent", self.agent,
                "--mca", "oob_tcp_if_include", "v0",
                "--mca", "btl", "tcp,vader,self",
                "--mca", "btl_tcp_if_include", "v0",
                "-H", hosts, "-n", str(2 * ranks_per_host)]
