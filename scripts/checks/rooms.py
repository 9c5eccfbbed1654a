"""The rooms of the library and which of them may use which: one table, for
includes and for symbols."""

ROOMS = {
    "libtrain/base/": "base", "libtrain/core/": "core",
    "libtrain/store/": "store", "libtrain/model/": "model",
    "libtrain/sync/": "sync", "libtrain/hdf5/": "hdf5",
    "libtrain/checkpoint/": "checkpoint", "libtrain/run/": "run",
    "libtrain/backend/": "backend", "layers/": "layers", "optim/": "optim",
    "comm/": "comm", "data/": "data",
    "examples/": "examples", "include/train/": "include",
}
ALL = set(ROOMS.values()) - {"examples", "include"}

# A room may use itself too.
MAY_USE = {
    "base": set(),
    "core": {"base"},
    "store": {"core", "base"},
    "backend": {"core", "base"},
    "comm": {"core", "base"},
    "model": {"store", "core", "base"},
    "sync": {"model", "store", "comm", "core", "base"},
    # BatchNorm sums over ranks in its forward.
    "layers": {"sync", "model", "store", "core", "base"},
    "optim": {"sync", "model", "store", "core", "base"},
    "hdf5": {"core", "base"},
    "data": {"hdf5", "core", "base"},
    "checkpoint": {"optim", "sync", "model", "data", "hdf5", "store", "core",
                   "base"},
    "run": ALL,
    "examples": set(),
    "include": set(),
}


def room_of(path):
    for prefix, room in ROOMS.items():
        if path.startswith(prefix):
            return room
    return None


def may_use(room, other):
    return other == room or other in MAY_USE[room]
