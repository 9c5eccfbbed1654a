"""The collectives on up to 64 simulated ranks.

usage: test_smpi.py SMPIRUN PROGRAM    both empty where SimGrid is not installed
"""

import os
import sys

import simgrid

# Ranks and how many of them a node has.
LAYOUTS = ((3, 1), (7, 4), (8, 8), (6, 1), (24, 6), (48, 1), (64, 8))
LIMIT_S = 200
LINK = ("12.5GBps", "1us", ("20GBps", "200ns"))


def platform(smpirun):
    """SimGrid 4.0 ends by SIGSEGV on any fat tree, so it gets one switch."""
    if simgrid.version(smpirun)[0] >= 4:
        return simgrid.star(64, *LINK)
    return simgrid.fat_tree(8, *LINK)


def claim(number, title, verdict, detail):
    """One line of TAP for one line of the program."""
    if verdict == "skip":
        print("ok %d - %s # SKIP not here: %s" % (number, title, detail))
    else:
        print("%sok %d - %s%s" % ("" if verdict == "ok" else "not ", number,
                                  title, " (%s)" % detail if detail else ""))


def main():
    smpirun, program = sys.argv[1:3]
    if not smpirun:
        print("1..0 # SKIP no smpicc or smpirun (Debian: libsimgrid-dev)")
        return 0
    number = 0
    for ranks, per_node in LAYOUTS:
        where = "on %d ranks, %d per node" % (ranks, per_node)
        code, output = simgrid.run(smpirun, platform(smpirun), ranks, per_node,
                                   [os.path.abspath(program)], LIMIT_S)
        has_ended = False
        for line in output.splitlines():
            words = (line + "  ").split(" ", 3)
            if line == "end ok":
                has_ended = code == 0
            elif words[0] == "result":
                number += 1
                claim(number, "%s %s" % (words[1], where), words[2],
                      words[3].strip())
            else:
                print("# " + line)
        number += 1
        claim(number, "all end " + where, "ok" if has_ended else "failed",
              "" if has_ended else "exit code %s" % code)
        sys.stdout.flush()
    print("1..%d" % number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
