"""scripts/check finds what is planted: each fault in a copy of the tree.

usage: test_checks.py SOURCE_ROOT BUILD CC...
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

RUN = """
import sys
sys.path.insert(0, "scripts/checks")
import arrows, names
for check in (%s):
    for line in check():
        print(line)
"""
CHECKS = ("names.file_names", "names.type_names", "names.tables",
          "names.stale_names", "arrows.include_arrows", "arrows.declarations",
          "arrows.symbol_arrows", "arrows.circles")


class Tree:
    """A copy of the sources, and links to the objects of a build."""

    def __init__(self, source, build, compiler):
        self.planted = []
        self.at = tempfile.mkdtemp(prefix="test_checks.")
        self.compiler = compiler
        sys.path.insert(0, os.path.join(source, "scripts", "checks"))
        sys.dont_write_bytecode = True
        import common
        for path in common.all_files():
            if path.endswith((".c", ".h", ".py", ".sh", ".md", ".build",
                              ".supp", ".map", ".cpp")) or (
                                  path.startswith("scripts/")):
                self.write(path, common.read(path))
        self.planted.clear()
        objects = [path for folder in ("libtrain.a.p", "libtrain.so*.p")
                   for path in glob.glob(os.path.join(build, folder, "*.o"))]
        self.objects = os.path.join(self.at, "build", "libtrain.a.p")
        os.makedirs(self.objects)
        for path in objects:
            path = os.path.abspath(path)
            link = os.path.join(self.objects, os.path.basename(path))
            if not os.path.exists(link):
                os.symlink(path, link)

    def write(self, path, text):
        target = os.path.join(self.at, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
        self.planted.append((target, None))

    def compile(self, path, text):
        """The object of an existing source becomes that of another text."""
        target = os.path.join(self.objects, path.replace("/", "_") + ".o")
        self.planted.append((target, os.readlink(target)))
        os.remove(target)
        subprocess.run([*self.compiler, "-x", "c", "-c", "-o", target, "-"],
                       input=text, text=True, check=True)

    def found(self):
        done = subprocess.run(
            [sys.executable, "-B", "-c", RUN % ", ".join(CHECKS)], cwd=self.at,
            capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def clear(self):
        """Take out what was planted."""
        for target, link in self.planted:
            os.remove(target)
            if link is not None:
                os.symlink(link, target)
        self.planted.clear()

    def remove(self):
        shutil.rmtree(self.at, ignore_errors=True)


def call(name):
    return "void %s(void); void planted(void) { %s(); }\n" % (name, name)


# (claim, what plants it, what the checks say)
FAULTS = (
    ("a call of a room that may not be used is found",
     lambda tree: tree.compile("libtrain/model/freeze.c",
                               call("tr__queue_poll")),
     ["libtrain/model/freeze.c: model may not use tr__queue_poll of "
      "comm/queue.c"]),
    ("a circle of files across folders is found",
     lambda tree: tree.compile("comm/shm/node_memory.c",
                               call("tr__comm_mpi_create") +
                               "void tr__segment_create(void) {}\n"),
     ["circle: ", "comm/mpi/communicator.c", "comm/shm/node_memory.c"]),
    ("an include of a room that may not be used is found",
     lambda tree: tree.write("data/planted.c",
                             "#include \"model/model_impl.h\"\n"),
     ["data/planted.c:1: data may not include model/model_impl.h"]),
    ("a prototype of what another room defines is found",
     lambda tree: tree.write("libtrain/base/planted_impl.h",
                             "void tr__queue_poll(tr__queue *queue);\n"),
     ["libtrain/base/planted_impl.h:1: tr__queue_poll is defined in "
      "comm/queue.c"]),
    ("a second type of one name is found",
     lambda tree: tree.write("data/planted_impl.h",
                             "typedef struct tr__store {\n  int x;\n"
                             "} tr__store;\n"),
     ["tr__store: in data/planted_impl.h, libtrain/store/store_impl.h"]),
    ("a second file of one name is found",
     lambda tree: tree.write("data/store.c", "int planted;\n"),
     ["data/store.c: also libtrain/store/store.c"]),
    ("a table of functions with one implementation is found",
     lambda tree: tree.write("libtrain/core/planted_impl.h",
                             "typedef struct tr__planted_type {\n"
                             "  void (*run)(void);\n} tr__planted_type;\n"),
     ["libtrain/core/planted_impl.h: tr__planted_type has 0"]),
    ("a file and a function that are no more are found in a comment",
     lambda tree: tree.write("data/planted.c",
                             "/* As model/gone.c: tr__gone_away(). */\n"),
     ["data/planted.c:1: there is no model/gone.c",
      "data/planted.c:1: there is no tr__gone_away()"]),
    ("and in a document",
     lambda tree: tree.write("docs/planted.md", "See `scripts/gone.py`.\n"),
     ["docs/planted.md:1: there is no scripts/gone.py"]),
)


def main():
    source, build, *compiler = sys.argv[1:]
    print("1..%d" % (len(FAULTS) + 1))
    tree = Tree(source, build, compiler)
    clean = tree.found()
    print("%sok 1 - nothing is found where nothing is planted" %
          ("not " if clean else ""))
    for line in clean.splitlines():
        print("# " + line)
    for number, (claim, plant, expected) in enumerate(FAULTS, 2):
        plant(tree)
        said = tree.found()
        tree.clear()
        missing = [words for words in expected if words not in said]
        print("%sok %d - %s" % ("not " if missing else "", number, claim))
        for words in missing:
            print("# not found: %s, in: %s" % (words, said.strip()[:500]))
    tree.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
