"""Which room may use which, by includes, by declarations and by symbols."""

import functools
import glob
import os
import re
import subprocess

from common import LIBRARY, ROOT, Skip, code_files, read, strip_comments
from rooms import MAY_USE, may_use, room_of

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def include_arrows():
    """Rooms include only the rooms that the design lets them"""
    found = []
    for path in code_files():
        room = room_of(path)
        if room is None:
            continue
        for number, line in enumerate(read(path).split("\n"), 1):
            match = INCLUDE.match(line)
            if match is None or match.group(2).startswith("train/"):
                continue
            target = match.group(2).split("/")[0]
            is_ours = match.group(1) == '"'
            if is_ours and "/" not in match.group(2):
                target = room
            if room == "include" and match.group(2).endswith("_impl.h"):
                found.append("%s:%d: a public header includes %s" %
                             (path, number, match.group(2)))
            elif is_ours and not may_use(room, target):
                found.append("%s:%d: %s may not include %s (it may: %s)" %
                             (path, number, room, match.group(2),
                              ", ".join(sorted(MAY_USE[room])) or
                              "public headers"))
    return found


PROTOTYPE = re.compile(r"^\w[\w \*\n]*?\b(tr__\w+)\s*\([^;{}]*\)\s*"
                       r"(?:TR_PRINTF\([^)]*\)\s*)?;", re.MULTILINE)
DEFINED = re.compile(r"^(?!static\b)[\w \*\n]*?\b(tr__\w+)\s*\([^;{}]*\)\n\{",
                     re.MULTILINE)


def declarations():
    """A room declares in its own headers what it defines"""
    where = {}
    for path in code_files(*LIBRARY):
        if path.endswith(".c"):
            for name in DEFINED.findall(strip_comments(read(path))):
                where.setdefault(name, path)
    found = []
    for path in code_files(*LIBRARY):
        if not path.endswith(".h"):
            continue
        text = strip_comments(read(path))
        for match in PROTOTYPE.finditer(text):
            home = where.get(match.group(1))
            if home is not None and room_of(home) != room_of(path):
                line = text.count("\n", 0, match.start()) + 1
                found.append("%s:%d: %s is defined in %s" %
                             (path, line, match.group(1), home))
    return found


def symbols_of(objects):
    """(object, kind, symbol) of all global symbols."""
    listed = subprocess.run(["nm", "-A", "-g", *objects], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        path, rest = line.split(":", 1)
        parts = rest.split()
        yield os.path.basename(path), parts[-2], parts[-1]


@functools.lru_cache(maxsize=None)
def uses():
    """{(file, file): symbols} of the library as it is built in build/."""
    objects = [path for folder in ("libtrain.a.p", "libtrain.so*.p")
               for path in glob.glob(os.path.join(ROOT, "build", folder,
                                                  "*.o"))]
    if not objects:
        raise Skip("there is no build (scripts/check makes one)")
    # Meson names an object by the path of its source.
    sources = {path.replace("/", "_") + ".o": path
               for path in code_files(*LIBRARY) if path.endswith(".c")}
    defined, undefined = {}, []
    for name, kind, symbol in symbols_of(objects):
        if name not in sources:
            continue # left behind by a source that is no more
        if kind == "U":
            undefined.append((sources[name], symbol))
        else:
            defined[symbol] = sources[name]
    found = {}
    for path, symbol in undefined:
        home = defined.get(symbol)
        if home is not None and home != path:
            found.setdefault((path, home), set()).add(symbol)
    return found


def symbol_arrows():
    """Rooms call only the rooms that the design lets them"""
    return sorted("%s: %s may not use %s of %s" %
                  (path, room_of(path), ", ".join(sorted(names)), home)
                  for (path, home), names in uses().items()
                  if not may_use(room_of(path), room_of(home)))


def circles():
    """No files of different folders use each other in a circle"""
    after = {}
    for path, home in uses():
        after.setdefault(path, set()).add(home)
    reach = {}
    for path in after:
        seen, left = set(), [path]
        while left:
            for other in after.get(left.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        reach[path] = seen
    found, told = [], set()
    for path in sorted(reach):
        circle = sorted(other for other in reach[path]
                        if path in reach.get(other, ()))
        if len({os.path.dirname(other) for other in circle}) > 1 and (
                circle[0] not in told):
            told.update(circle)
            found.append("circle: " + ", ".join(circle))
    return found


CHECKS = [include_arrows, declarations, symbol_arrows, circles]
