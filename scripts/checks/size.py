"""Files and functions that fit a reader's head."""

from common import LIBRARY, code_files, read, text_files

FILE_WARNS, FILE_FAILS = 500, 800
FUNCTION_WARNS, FUNCTION_FAILS = 60, 100


def functions(text):
    """(name line, first line, number of lines) of every function.

    The format puts the braces of a function, and of nothing else, into the
    first column.
    """
    begin = None
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line == "{":
            begin = number
        elif line.startswith("}") and begin is not None:
            head = begin - 1
            while head > 1 and lines[head - 1].startswith(" "):
                head -= 1
            yield lines[head - 1], head, number - begin + 1
            begin = None


def file_length():
    """Files have at most 800 lines (500 is worth a look)"""
    found = []
    for path in text_files():
        if path.endswith(".md"):
            continue
        count = read(path).count("\n")
        if count > FILE_WARNS:
            found.append("%s%s: %d lines" % (
                "" if count > FILE_FAILS else "warning: ", path, count))
    return found


def function_length():
    """Functions have at most 100 lines (60 is worth a look)"""
    found = []
    for path in code_files(*LIBRARY, "examples/"):
        for head, line, count in functions(read(path)):
            if count > FUNCTION_WARNS:
                found.append("%s%s:%d: %d lines: %s" % (
                    "" if count > FUNCTION_FAILS else "warning: ", path, line,
                    count, head))
    return found


CHECKS = [file_length, function_length]
