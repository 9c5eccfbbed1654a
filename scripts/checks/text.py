"""Greps: what no file may contain."""

import re

from common import LIBRARY, code_files, read, strip_comments, text_files

# Where a call that the rule forbids is the purpose of the file.
ENDS_THE_PROGRAM = ("libtrain/base/error.c", "libtrain/run/exit.c",
                    "libtrain/run/watchdog.c")
WRITES_THE_LOG = ("libtrain/run/create_context.c", "libtrain/run/log.c",
                  "libtrain/run/exit.c", "libtrain/run/watchdog.c")

VENDOR = (
    (r"mpi\.h", ("comm/", "include/train/mpi.h")),
    (r"cblas\.h", ("libtrain/backend/cpu/",)),
    (r"hdf5\w*\.h", ("libtrain/hdf5/", "libtrain/checkpoint/")),
    (r"(?:cuda|cublas|cudnn|nccl)\w*\.h",
     ("libtrain/backend/cuda/", "comm/nccl/", "tests/cuda_on_cpu/")),
)


def lines_with(path, text, pattern, message):
    return ["%s:%d: %s" % (path, number, message)
            for number, line in enumerate(text.split("\n"), 1)
            if re.search(pattern, line)]


def whitespace():
    """No tabs, no trailing blanks, a newline at the end of every file"""
    found = []
    for path in text_files():
        text = read(path)
        found += lines_with(path, text, r"\t", "tab")
        found += lines_with(path, text, r"[ \r]$", "trailing blank")
        if text and not text.endswith("\n"):
            found.append("%s: no newline at the end" % path)
        if text.endswith("\n\n"):
            found.append("%s: empty lines at the end" % path)
    return found


def columns():
    """No line of code is longer than 80 columns"""
    return ["%s:%d: %d columns" % (path, number, len(line))
            for path in code_files()
            for number, line in enumerate(read(path).split("\n"), 1)
            if len(line) > 80]


def library_calls():
    """The library never exits, prints or draws from rand()"""
    found = []
    for path in code_files(*LIBRARY):
        text = strip_comments(read(path))
        found += lines_with(path, text, r"\bs?rand(om)?\s*\(",
                            "rand(): use tr__random (random_impl.h)")
        if path not in ENDS_THE_PROGRAM:
            found += lines_with(path, text,
                                r"\b(_?exit|_Exit|abort|quick_exit)\s*\(",
                                "ends the program: return a status")
        if path not in WRITES_THE_LOG:
            found += lines_with(path, text,
                                r"\b(v?printf|puts|putchar|perror)\s*\(|"
                                r"\b(stdout|stderr)\b",
                                "prints: use the context's log")
    return found


def vendor_includes():
    """Vendor headers only in the folder that owns them"""
    found = []
    for path in code_files():
        if path.startswith(("tests/", "examples/")):
            continue
        for pattern, owners in VENDOR:
            if not path.startswith(owners):
                found += lines_with(path, read(path),
                                    r"#\s*include\s*[<\"]%s[>\"]" % pattern,
                                    "only %s may include this" %
                                    ", ".join(owners))
    return found


def leftovers():
    """No TODO without an issue number, no #if 0, no commented-out code"""
    found = []
    for path in text_files():
        if path.endswith(".md") or path.startswith("scripts/checks/"):
            continue
        found += lines_with(path, read(path),
                            r"\b(TODO|FIXME|XXX|HACK)\b(?!\s*\(?#\d)",
                            "TODO without an issue number")
    for path in code_files():
        text = read(path)
        found += lines_with(path, text, r"^\s*#\s*if\s+0\b", "#if 0")
        if not path.startswith("include/"):
            found += commented_code(path, text)
    return found


# Formulas are welcome in comments, so an assignment alone proves nothing.
STATEMENT = re.compile(r"^((const |static |unsigned )*(int|int64_t|size_t|bool|"
                       r"char|float|double|void|tr_\w+) [\w *]+(=.*)?;|"
                       r"\w+\([^)]*\);|\w+->\w+ = .*;|return .*;|"
                       r"(if|for|while|switch) \(.*\) ?\{|"
                       r"#(include|define|if|endif)\b.*)$")


def commented_code(path, text):
    found = []
    for match in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL):
        first = text.count("\n", 0, match.start()) + 1
        for offset, line in enumerate(match.group(0).split("\n")):
            bare = re.sub(r"^\s*(/\*|//|\*)?\s?", "", line)
            bare = re.sub(r"\s*\*/$", "", bare).strip()
            if STATEMENT.match(bare):
                found.append("%s:%d: commented-out code" %
                             (path, first + offset))
    return found


def machine_paths():
    """No path of one machine in sources or documents"""
    found = []
    for path in text_files():
        if path.startswith("scripts/checks/"):
            continue
        found += lines_with(path, read(path),
                            r"(?<![\w.$})])/(home|work|Users|root|mnt)/\w|"
                            r"(?<![\w.$})])/tmp/w\b",
                            "path of one machine")
    return found


CHECKS = [whitespace, columns, library_calls, vendor_includes, leftovers,
          machine_paths]
