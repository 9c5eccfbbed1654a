"""Every public function says what it does, in one form."""

import re

from common import code_files, read

WANTED = ("Calls:", "Errors:", "Ownership:", "Threads:")
DECLARED = re.compile(r"^(?:TR_API\b|static inline\b)[^;{]*?\b(tr_[a-z]\w*)\s*"
                      r"\(", re.MULTILINE | re.DOTALL)


def doc_comments():
    """Every public function has a complete comment that begins with its name"""
    found = []
    for path in code_files("include/train/"):
        text = read(path)
        for match in DECLARED.finditer(text):
            name = match.group(1)
            line = text.count("\n", 0, match.start()) + 1
            comment = re.search(r"/\* %s - .*?\*/" % name,
                                text[:match.start()], re.DOTALL)
            if comment is None:
                found.append("%s:%d: no comment that begins with \"%s - \"" %
                             (path, line, name))
                continue
            # At the beginning of a line: a formatter that joins lines which
            # are too long hides the word among others.
            places = [comment.group(0).find("\n * " + word)
                      for word in WANTED]
            missing = [word for word, at in zip(WANTED, places) if at < 0]
            if missing:
                found.append("%s:%d: %s lacks %s" %
                             (path, line, name, " ".join(missing)))
            elif places != sorted(places):
                found.append("%s:%d: %s: the order is %s" %
                             (path, line, name, " ".join(WANTED)))
    return found


TAKES_OPTIONS = re.compile(r"\b(tr_[a-z]\w*)\s*\([^;{]*?const tr_\w+_opts \*",
                           re.DOTALL)


def cpp_overloads():
    """Every public function with options has its overload for C++"""
    overloads = read("include/train/cpp.h") + read("include/train/mpi.h")
    found = []
    for path in code_files("include/train/"):
        if path.endswith("/cpp.h"):
            continue
        text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.DOTALL)
        for name in TAKES_OPTIONS.findall(text):
            overload = re.compile(r"\(%s, tr_\w+_opts\)|\b%s\([^;{]*?_opts &" %
                                  (name, name))
            if not overload.search(overloads):
                found.append("%s: %s has no overload in train/cpp.h" %
                             (path, name))
    return found


def readme_program():
    """README shows examples/digits.c as it is"""
    if "```c\n%s```" % read("examples/digits.c") in read("README.md"):
        return []
    return ["README.md: its program is not examples/digits.c"]


CHECKS = [doc_comments, cpp_overloads, readme_program]
