"""Run every check, in order of cost, and list all that fails."""

import sys
import time

import arrows
import common
import compile as compiled
import docs
import names
import size
import text

CHECKS = (text.CHECKS + size.CHECKS + names.CHECKS + arrows.CHECKS +
          docs.CHECKS + compiled.CHECKS)


def main():
    bad = 0
    for check in CHECKS:
        begin = time.monotonic()
        try:
            found = check()
        except common.Skip as reason:
            print("skip  %s: %s" % (check.__doc__, reason))
            continue
        failures = [line for line in found if not line.startswith("warning")]
        took = time.monotonic() - begin
        bad += len(failures) > 0
        print("%s  %s%s" % ("FAIL" if failures else "ok  ", check.__doc__,
                            "  (%.1f s)" % took if took >= 1 else ""))
        for line in found:
            print("        " + line)
    print("%d of %d checks failed" % (bad, len(CHECKS)) if bad else
          "all checks passed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
