"""One name, one thing; and what prose names is there."""

import os
import re

from common import (LIBRARY, all_files, code_files, read, strip_comments,
                    text_files)

TYPE = re.compile(r"^\}\s*(tr_\w+);|^typedef\s[^;{}]*?\b(tr_\w+);|"
                  r"^(?:typedef )?(?:struct|union|enum) (tr_\w+) \{",
                  re.MULTILINE)


def file_names():
    """No two source files of one name"""
    homes = {}
    for path in code_files():
        homes.setdefault(os.path.basename(path), []).append(path)
    return ["%s: also %s" % (paths[0], ", ".join(paths[1:]))
            for paths in homes.values() if len(paths) > 1]


def type_names():
    """No two types of one name"""
    homes = {}
    for path in code_files(*LIBRARY, "include/train/"):
        for names in TYPE.findall(strip_comments(read(path))):
            homes.setdefault(next(filter(None, names)), set()).add(path)
    return ["%s: in %s" % (name, ", ".join(sorted(paths)))
            for name, paths in sorted(homes.items()) if len(paths) > 1 and
            not is_announced(name, paths)]


def is_announced(name, paths):
    """All but one of the files only say that there is such a struct."""
    body = re.compile(r"^(typedef )?(struct|union|enum) %s \{" % name,
                      re.MULTILINE)
    full = [path for path in paths if body.search(read(path))]
    alias = re.compile(r"^typedef struct %s %s;" % (name, name), re.MULTILINE)
    return len(full) == 1 and all(path in full or alias.search(read(path))
                                  for path in paths)


TABLE = re.compile(r"(/\*(?:(?!\*/).)*\*/\n)?typedef struct (tr__\w+_(?:type|hooks)) \{\n"
                   r"((?:(?!\n\}).)*)\n\} \2;", re.DOTALL)


def tables():
    """A table of functions has two implementations, or says why not"""
    found = []
    every = "\n".join(strip_comments(read(path)) for path in code_files())
    for path in code_files(*LIBRARY):
        for comment, name, body in TABLE.findall(
                read(path) if path.endswith("_impl.h") else ""):
            if "(*" not in body or "One implementation" in comment:
                continue
            made = re.findall(r"\b%s \w+(?:\[\])? = \{" % name, every)
            if len(made) < 2:
                found.append("%s: %s has %d" % (path, name, len(made)))
    return found


# Files of others that prose names: system headers, and sources of libraries.
FOREIGN = re.compile(r"^(\w*stdlib|signal|memory|lookup3|mpi|hdf5|cblas|\w*NAME)"
                     r"\.[ch]$")
FILE = re.compile(r"(?<![\w/.*-])((?:[\w-]+/)*[\w-]+\.(?:c|h|py|sh|md|supp|map))"
                  r"(?![\w.*-])")
FUNCTION = re.compile(r"\b(tr__?[a-z]\w*)\(\)")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
HASH = re.compile(r"#[^\n]*|\"\"\".*?\"\"\"", re.DOTALL)


def prose(path, text):
    """(offset, text) of what is prose in a file."""
    if path.endswith((".c", ".h", ".cpp")):
        pattern = COMMENT
    elif path.endswith((".py", ".sh", ".build")) or path.startswith("scripts/"):
        pattern = HASH
    elif path.endswith(".md") and path != "CHANGELOG.md":
        return [(0, text)]
    else:
        return []
    return [(match.start(), match.group(0)) for match in pattern.finditer(text)]


def stale_names():
    """Every file and function that prose names exists"""
    files = all_files()
    known = set(files) | {os.path.basename(path) for path in files}
    for path in files: # also from any folder on
        parts = path.split("/")
        known.update("/".join(parts[i:]) for i in range(1, len(parts)))
    symbols = set()
    for path in code_files():
        symbols.update(re.findall(r"\btr__?\w+", strip_comments(read(path))))
        symbols.update(re.findall(r"\btr__##\w+", read(path)))
    found = []
    for path in text_files():
        text = read(path)
        for start, words in prose(path, text):
            for match in FILE.finditer(words):
                name = match.group(1)
                if name not in known and not FOREIGN.match(
                        os.path.basename(name)):
                    found.append((path, text, start + match.start(), name))
            for match in FUNCTION.finditer(words):
                if match.group(1) not in symbols:
                    found.append((path, text, start + match.start(),
                                  match.group(1) + "()"))
    return ["%s:%d: there is no %s" %
            (path, text.count("\n", 0, at) + 1, name)
            for path, text, at, name in found]


CHECKS = [file_names, type_names, tables, stale_names]
