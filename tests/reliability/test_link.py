"""A link between two hosts goes down for good: the waiting side says so.

usage: test_link.py MPIRUN FAULTY    (netlab finds mpirun itself)

The launcher itself may wait for minutes for the far host, so what counts is
the line on stderr and that the ranks of both hosts end.
"""

import os
import sys
import time

import job

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "hosts"))
import lab  # noqa: E402

LIMIT_S = 3
GRACE_S = 15
BEGIN_S = 60


def ranks_in(folder):
    """Ranks that run; what has ended but nobody has asked for counts not."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.path.samefile("/proc/%s/cwd" % name,
                                                   folder):
                with open("/proc/%s/stat" % name, encoding="utf-8") as file:
                    text = file.read()
                count += "(faulty)" in text and ") Z " not in text
        except OSError:
            pass
    return count


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def cut_link(net, program, folder):
    """What went wrong, and the output."""
    path = os.path.join(folder, "output")
    process = net.start(2, [program, str(LIMIT_S), "plain"], folder)
    problems = []
    try:
        if not wait_for(lambda: "ready" in lab.read(path), BEGIN_S):
            return ["the job does not begin"], lab.read(path)
        if ranks_in(folder) != 4:
            problems.append("%d ranks run, expected 4" % ranks_in(folder))
        time.sleep(1)
        net.link(1, "down")
        begin = time.monotonic()
        if not wait_for(lambda: ranks_in(folder) == 0, LIMIT_S + GRACE_S):
            problems.append("%d ranks still run after %d s" %
                            (ranks_in(folder), LIMIT_S + GRACE_S))
        print("# the ranks ended %.1f s after the cut, the limit is %d s" %
              (time.monotonic() - begin, LIMIT_S))
        text = "libtrain: rank "
        lines = [line for line in job.BREAK.split(lab.read(path))
                 if line.startswith(text)]
        if len(lines) != 1 or "Exit 71." not in lines[0] or \
                "for a message of rank " not in lines[0]:
            problems.append("says %s" % lines)
    finally:
        lab.end(process)
    return problems, lab.read(path)


def main():
    program = os.path.abspath(sys.argv[2])
    title = "a link that goes down for good is reported, all ranks end"
    tap = job.Tap(1)
    try:
        with lab.Lab(2) as net:
            problems, output = cut_link(net, program, net.scratch.name)
        tap.report(title, problems, output)
    except lab.NoLab as reason:
        tap.report(title, skip="no hosts here: %s" % reason)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
