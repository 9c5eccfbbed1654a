"""Every public function says what it does, in one form; and what documents
quote is in the file that they name."""

import os
import re

from common import ROOT, code_files, read, text_files

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


BLOCK = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$",
                   re.MULTILINE | re.DOTALL)
COMPILED = ("c", "cpp", "fortran", "cmake")


def bare_lines(text):
    return [line.strip() for line in text.splitlines()]


def first_line_not_in(quoted, source):
    """None where all is there; parts between lines of "..." in their order."""
    at = 0
    for part in "\n".join(bare_lines(quoted)).split("\n...\n"):
        lines = part.split("\n")
        places = [i for i in range(at, len(source) - len(lines) + 1)
                  if source[i:i + len(lines)] == lines]
        if not places:
            return next((line for line in lines if line not in source),
                        lines[0])
        at = places[0] + len(lines)
    return None


def quotes():
    """Code in docs/ is that of the file it names (```c PATH)"""
    found = []
    for path in text_files():
        if not path.startswith("docs/"):
            continue
        for language, named, quoted in BLOCK.findall(read(path)):
            if not named:
                if language in COMPILED:
                    found.append("%s: %s code that names no file" %
                                 (path, language))
            elif not os.path.isfile(os.path.join(ROOT, named)):
                found.append("%s: there is no %s" % (path, named))
            else:
                line = first_line_not_in(quoted, bare_lines(read(named)))
                if line is not None:
                    found.append("%s: not so in %s: %s" % (path, named, line))
    return found


LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def links():
    """Files that documents link to are there"""
    return ["%s: there is no %s" % (path, target)
            for path in text_files() if path.endswith(".md")
            for target in LINK.findall(read(path))
            if not os.path.exists(os.path.join(ROOT, os.path.dirname(path),
                                               target))]


CHECKS = [doc_comments, cpp_overloads, readme_program, quotes, links]
