"""What the checks share: the project's files and their rooms."""

import os
import re
import subprocess

class Skip(Exception):
    """This machine cannot make the check."""


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LIBRARY = ("libtrain/", "layers/", "optim/", "comm/", "data/")
SKIPPED_FOLDERS = (".git", "build", "build-asan", "run", "__pycache__")
TEXT_ENDINGS = (".c", ".h", ".cpp", ".f90", ".py", ".sh", ".md", ".build",
                ".yml", ".yaml", ".cff", ".supp", ".options", ".txt")


def all_files():
    """Paths of the project's own files, relative to its root."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached",
         "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False) if os.path.exists(
            os.path.join(ROOT, ".git")) and has_command("git") else None
    if listed is not None and listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return sorted(name for name in set(names)
                      if name and os.path.isfile(os.path.join(ROOT, name)))
    found = []
    for folder, folders, names in os.walk(ROOT):
        if folder == ROOT:
            folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
        folders[:] = [f for f in folders if f != "__pycache__"]
        found += [os.path.relpath(os.path.join(folder, n), ROOT)
                  for n in names]
    return sorted(found)


def has_command(name):
    return any(os.access(os.path.join(folder, name), os.X_OK)
               for folder in os.environ.get("PATH", "").split(os.pathsep))


def is_text(path):
    return (path.endswith(TEXT_ENDINGS) or path.startswith(".ci/") or
            (path.startswith("scripts/") and "." not in
             os.path.basename(path)))


def text_files():
    return [path for path in all_files() if is_text(path)]


def code_files(*prefixes):
    """C sources and headers below any of the prefixes (all: none given)."""
    return [path for path in all_files() if path.endswith((".c", ".h")) and
            (not prefixes or path.startswith(prefixes))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8",
              errors="replace") as file:
        return file.read()


NOT_CODE = re.compile(r"//[^\n]*|/\*.*?\*/|"
                      r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def strip_comments(text):
    """The text with comments and strings blanked; lines stay where they are."""
    return NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)),
                        text)


def flags(*modules):
    """Include flags of pkg-config modules, as system folders."""
    found = []
    for names in modules:
        for name in names.split("|"):
            result = subprocess.run(["pkg-config", "--cflags-only-I", name],
                                    capture_output=True, text=True,
                                    check=False)
            if result.returncode == 0:
                found += result.stdout.split()
                break
    return [part.replace("-I", "-isystem", 1) for part in found]
