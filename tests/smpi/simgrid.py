"""Platforms of SimGrid, and running programs on them."""

import os
import re
import signal
import subprocess
import tempfile

# Neutral network model: a link's bandwidth and latency are what the platform
# says, and computing takes no time but what a program asks for.
OPTIONS = [
    "--cfg=smpi/simulate-computation:no",
    "--cfg=smpi/bw-factor:0:1",
    "--cfg=smpi/lat-factor:0:1",
    "--cfg=network/crosstraffic:no",
    "--cfg=smpi/privatization:no",
    "--cfg=smpi/test:0",
    # A message that leaves before it is wanted stays in a list of its sender
    # (3.32), which then grows with each message and is searched by each.
    "--cfg=smpi/send-is-detached-thresh:0",
    "--cfg=smpi/grow-injected-times:no",
    "--log=root.thres:warning",
]
CLUSTER = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
<cluster id="c" prefix="node-" suffix="" radical="0-%d" speed="10Gf"
 bw="%s" lat="%s" sharing_policy="SPLITDUPLEX" %s/>
</platform>
"""
LOOPBACK = 'loopback_bw="%s" loopback_lat="%s"'


def fat_tree(width, bandwidth, latency, loopback):
    """width * width nodes, width per leaf switch, full bisection."""
    shape = 'topology="FAT_TREE" topo_parameters="2;%d,%d;1,%d;1,1" ' % (
        width, width, width)
    return CLUSTER % (width * width - 1, bandwidth, latency,
                      shape + LOOPBACK % loopback)


def star(nodes, bandwidth, latency, loopback):
    """Each node has one link to one switch that is never the limit."""
    return CLUSTER % (nodes - 1, bandwidth, latency, LOOPBACK % loopback)


def version(smpirun):
    """(major, minor)"""
    text = subprocess.run([smpirun, "-version"], check=False,
                          capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def run(smpirun, platform, ranks, per_node, command, limit_s):
    """(exit code or None where it ran past the limit, output)."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name)
                 for name in ("platform.xml", "hosts", "output")]
        with open(paths[0], "w", encoding="utf-8") as file:
            file.write(platform)
        with open(paths[1], "w", encoding="utf-8") as file:
            file.write("".join("node-%d\n" % (rank // per_node)
                               for rank in range(ranks)))
        with open(paths[2], "w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [smpirun, "-quiet"] + OPTIONS +
                ["-platform", paths[0], "-hostfile", paths[1], "-np",
                 str(ranks)] + command, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True)
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
        with open(paths[2], encoding="utf-8", errors="replace") as output:
            return code, output.read()
