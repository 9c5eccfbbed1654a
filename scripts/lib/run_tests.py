"""Run `meson test` with a progress bar and count claims.

usage: run_tests.py BUILD [MESON TEST OPTION...]

A claim is one TAP line of a test program, or a program that speaks no TAP. A
program that crashes, times out or stops early counts the claims that it still
owed as failed, at least one.
"""

import json
import os
import re
import subprocess
import sys
import time

JOBS = 2
TAIL_LINES = 25
BAR_WIDTH = 30
FINISHED = re.compile(r"^\s*(\d+)/(\d+)\s+(.*?)\s+"
                      r"(OK|FAIL|SKIP|TIMEOUT|ERROR|EXPECTEDFAIL|"
                      r"UNEXPECTEDPASS|INTERRUPT)\s+([\d.]+)s")
CLAIM = re.compile(r"^(not )?ok\b\s*(\d*)\s*-?\s*(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\b\s*(.*))?", re.IGNORECASE)
SKIP = re.compile(r"#\s*SKIP\b\S*\s*(.*)$", re.IGNORECASE)
NOT_HERE = "not here: "  # a claim that this program never makes; no skip
GOOD = ("OK", "EXPECTEDFAIL")


class Outcome:
    """The claims of one test program."""

    def __init__(self, record):
        self.record = record
        self.name = record["name"].split(" / ")[-1]
        self.passed = 0
        self.failed = []   # what failed
        self.skipped = []  # (claim, reason)
        output = record.get("stdout") or ""
        plan = self.read_tap(output)
        result = record["result"]
        speaks_tap = plan is not None or self.seen > 0
        if result == "SKIP" and not self.skipped:
            reason = output.strip().splitlines()
            self.skipped.append((self.name, reason[-1] if reason else
                                 "no reason given"))
        elif not speaks_tap and result in GOOD:
            self.passed += 1
        elif result not in GOOD + ("SKIP",):
            self.add_owed(plan, result)

    def read_tap(self, output):
        self.seen = 0
        plan = None
        for line in output.splitlines():
            match = PLAN.match(line)
            if match:
                plan = int(match.group(1))
                if plan == 0:
                    self.skipped.append((self.name, match.group(2) or
                                         "no reason given"))
                continue
            match = CLAIM.match(line)
            if not match:
                continue
            self.seen += 1
            claim = match.group(3) or match.group(2)
            skip = SKIP.search(claim)
            if match.group(1):
                self.failed.append(claim)
            elif skip and skip.group(1).startswith(NOT_HERE):
                pass
            elif skip:
                self.skipped.append((claim[:skip.start()].strip(),
                                     skip.group(1) or "no reason given"))
            else:
                self.passed += 1
        return plan

    def add_owed(self, plan, result):
        how = {"TIMEOUT": "ran out of time",
               "INTERRUPT": "was interrupted"}.get(
                   result, "ended with %s" % self.record.get("returncode"))
        owed = max(0, (plan or 0) - self.seen)
        if self.failed and owed == 0:
            return
        self.failed += ["(%s)" % how] * max(1, owed)

    def show_failure(self):
        shown = list(dict.fromkeys(self.failed))
        print("\nFAILED %s: %s" % (self.name, ", ".join(shown)))
        for stream in ("stdout", "stderr"):
            lines = (self.record.get(stream) or "").rstrip().splitlines()
            lines = [line for line in lines
                     if not re.match(r"ok \d+ - [^#]*$", line)]
            for line in lines[-TAIL_LINES:]:
                print("    " + line)
        print("    command: " + " ".join(self.record.get("command") or []))


class Progress:
    """One line per finished program, or one bar on a terminal."""

    def __init__(self):
        self.is_terminal = sys.stdout.isatty()
        self.failed = 0
        self.start = time.monotonic()

    def show(self, match):
        done, total = int(match.group(1)), int(match.group(2))
        name = match.group(3).split(" / ")[-1].split(":")[-1]
        result, seconds = match.group(4), match.group(5)
        self.failed += result not in GOOD + ("SKIP",)
        if not self.is_terminal:
            print("%3d/%d %-40s %s %ss" % (done, total, name, result, seconds),
                  flush=True)
            return
        filled = done * BAR_WIDTH // total
        bar = "#" * filled + " " * (BAR_WIDTH - filled)
        failed = ", %d failed" % self.failed if self.failed else ""
        print("\r\033[Ktests [%s] %d of %d%s, %d s  %s" %
              (bar, done, total, failed, time.monotonic() - self.start,
               name[:30]), end="", flush=True)

    def end(self):
        if self.is_terminal:
            print("\r\033[K", end="", flush=True)


def run_meson(build, options):
    """Run the tests; returns meson's exit code and its other output."""
    command = ["meson", "test", "-C", build, "--no-rebuild",
               "--num-processes", str(JOBS)] + options
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    environment.pop("MAKEFLAGS", None)
    other = []
    progress = Progress()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace",
                          env=environment) as meson:
        for line in meson.stdout:
            match = FINISHED.match(line)
            if match:
                progress.show(match)
            else:
                other.append(line.rstrip())
    progress.end()
    return meson.returncode, other


def read_log(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return [Outcome(json.loads(line)) for line in log if line.strip()]


def main():
    build, options = sys.argv[1], sys.argv[2:]
    log = os.path.join(build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.remove(log)
    code, other = run_meson(build, options)
    if not os.path.exists(log):
        print("\n".join(other[-TAIL_LINES:]))
        nothing = any("No tests defined" in line or "No suitable tests" in line
                      for line in other)
        print("%d passed, %d failed, %d skipped" % (0, 0 if nothing else 1, 0))
        return 0 if nothing else 1
    outcomes = read_log(log)
    for outcome in outcomes:
        for claim, reason in outcome.skipped:
            print("skipped %s: %s: %s" % (outcome.name, claim, reason))
    for outcome in outcomes:
        if outcome.failed:
            outcome.show_failure()
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    skipped = sum(len(outcome.skipped) for outcome in outcomes)
    if code != 0 and failed == 0:
        print("\n".join(other[-TAIL_LINES:]))
        failed = 1
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
