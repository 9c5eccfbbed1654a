"""Which room may include which."""

import re

from common import code_files, read

ROOMS = {
    "libtrain/base/": "base", "libtrain/backend/": "backend",
    "libtrain/model/": "model", "libtrain/checkpoint/": "checkpoint",
    "libtrain/run/": "run", "layers/": "layers", "optim/": "optim",
    "comm/": "comm", "data/": "data",
    "examples/": "examples", "include/train/": "include",
}
ALL = set(ROOMS.values()) - {"examples", "include"}
MAY_INCLUDE = {
    "base": {"base"}, "backend": {"backend", "base"},
    "model": {"model", "base"}, "layers": {"layers", "model", "base"},
    "optim": {"optim", "base"}, "comm": {"comm", "base"},
    "data": {"data", "base"}, "checkpoint": {"checkpoint", "data", "base"},
    "run": ALL, "examples": {"examples"},
    "include": set(),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path):
    for prefix, room in ROOMS.items():
        if path.startswith(prefix):
            return room
    return None


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
            elif is_ours and target not in MAY_INCLUDE[room]:
                found.append("%s:%d: %s may not include %s (it may: %s)" %
                             (path, number, room, match.group(2),
                              ", ".join(sorted(MAY_INCLUDE[room])) or
                              "public headers"))
    return found


CHECKS = [include_arrows]
