"""Ranks on two hosts, over slow links (reliability/test_link.py: a link that goes
down for good).

usage: test_hosts.py NETLAB MPIRUN TRAIN_CLASSIFIER TRAIN_HOSTS PROGRAM...

Skipped, with the words of the command that fails, where network namespaces
cannot be made.
"""

import os
import re
import subprocess
import sys

import lab

HOSTS, PER_HOST = 2, 2
LIMIT_S = 120
# These may sum in an order that depends on which ranks share a node.
BY_NODE = ("auto", "shm", "hierarchical", "mpi")
# Programs of tests/mpi that are about communication.
ABOUT_HOSTS = ("test_comm_allreduce", "test_comm_kinds", "test_comm_context")


class Tap:
    def __init__(self):
        self.number = 0

    def claim(self, title, problem="", skip=None):
        self.number += 1
        print("%sok %d - %s%s" % ("not " if problem else "", self.number,
                                  title, " # SKIP " + skip if skip else ""))
        for line in problem.splitlines()[-20:]:
            print("# " + line)
        sys.stdout.flush()


def hashes(code, output):
    """{algorithm: {rank: hash}} of train_hosts."""
    found = {}
    for line in output.splitlines():
        match = re.match(r"hash (\S+) (\d+) ([0-9a-f]{16})$", line)
        if match:
            found.setdefault(match.group(1), {})[int(match.group(2))] = (
                match.group(3))
    return found if code == 0 else {}


def here(mpirun, program, ranks):
    """The same job on this machine as one host."""
    environment = dict(os.environ, OMPI_MCA_mpi_yield_when_idle="1")
    result = subprocess.run(
        [mpirun, "-n", str(ranks), program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=environment, timeout=LIMIT_S, check=False)
    return hashes(result.returncode, result.stdout)


def test_training(tap, net, mpirun, program):
    ranks = HOSTS * PER_HOST
    net.rate("1gbit")
    code, output = net.run(PER_HOST, [program], LIMIT_S)
    first = hashes(code, output)
    net.rate("100mbit")
    second = hashes(*net.run(PER_HOST, [program], LIMIT_S))
    net.rate("none")
    alone = here(mpirun, program, ranks)
    tap.claim("digits train on 2 hosts of 2 ranks",
              "" if first else "exit code %s\n%s" % (code, output))
    for name, found in sorted(first.items()):
        values = set(found.values())
        tap.claim("%s: all ranks have the same parameters" % name,
                  "" if len(found) == ranks and len(values) == 1 else
                  str(found))
        tap.claim("%s: the same bits over a slower link" % name,
                  "" if second.get(name) == found else
                  "%s is not %s" % (second.get(name), found))
        if name not in BY_NODE:
            tap.claim("%s: the same bits on one host" % name,
                      "" if alone.get(name) == found else
                      "%s is not %s" % (alone.get(name), found))


def final_hash(output):
    found = re.search(r"params[_ ]hash\W+([0-9a-f]{16})", output)
    return found.group(1) if found else None


def test_virtual_shards(tap, net, program, usage):
    title = "virtual shards: 2 hosts of 2 ranks have the bits of one rank"
    if "--virtual-shards" not in usage or "(not yet)" in usage:
        tap.claim(title, skip="train_classifier has no --virtual-shards yet")
        return
    command = [program, "--model", "mlp", "--steps", "12", "--threads", "1",
               "--no-checkpoint", "--virtual-shards", "4", "--log", "log"]
    found = []
    for per_host, hosts in ((1, 1), (PER_HOST, HOSTS)):
        log = os.path.join(net.scratch.name, "log%d" % per_host)
        code, output = net.run(per_host, command[:-1] + [log], LIMIT_S, hosts)
        text = lab.read(log) if os.path.exists(log) else ""
        found.append(final_hash(text) or "exit code %s: %s" % (code, output))
    tap.claim(title, "" if found[0] == found[1] else "\n".join(found))


def test_programs(tap, net, programs):
    """Every algorithm and kind: their own claims, with ranks on two hosts."""
    for program in programs:
        name = os.path.basename(program)
        if name not in ABOUT_HOSTS:
            continue
        for per_host in (1, PER_HOST):
            code, output = net.run(per_host, [program], LIMIT_S)
            failed = [line for line in output.splitlines()
                      if line.startswith("not ok")]
            is_good = code == 0 and not failed and "\nok 1" in "\n" + output
            tap.claim("%s on 2 hosts, %d ranks each" % (name, per_host),
                      "" if is_good else "exit code %s\n%s" % (code, output))


def main():
    mpirun, classifier, train_hosts = sys.argv[2:5]
    usage = subprocess.run([classifier, "--help"], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True,
                           check=False).stdout
    tap = Tap()
    try:
        with lab.Lab(HOSTS) as net:
            test_training(tap, net, mpirun, os.path.abspath(train_hosts))
            test_virtual_shards(tap, net, os.path.abspath(classifier), usage)
            test_programs(tap, net, [os.path.abspath(program)
                                     for program in sys.argv[5:]])
    except lab.NoLab as reason:
        print("1..0 # SKIP %s" % reason)
        return 0
    print("1..%d" % tap.number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
