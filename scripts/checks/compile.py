"""What the compiler and clang-format have to say."""

import glob
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from common import ROOT, Skip, code_files, flags, has_command

FORMATTER = "clang-format-14"


def run(command, text=None):
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True,
                          text=True, errors="replace", check=False)


def in_parallel(work, items):
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [line for lines in pool.map(work, items) for line in lines]


def formatting():
    """clang-format-14 changes nothing"""
    if not has_command(FORMATTER):
        raise Skip(FORMATTER + " is not installed")

    def check(paths):
        result = run([FORMATTER, "--dry-run", "-Werror", *paths])
        places = dict(re.findall(r"^(\S+?):(\d+):\d+: error", result.stderr,
                                 re.MULTILINE)[::-1])
        if result.returncode != 0 and not places:
            return [result.stderr[-300:]]
        return ["%s:%s (%s -i %s)" % (path, line, FORMATTER, path)
                for path, line in sorted(places.items())]

    files = code_files()
    parts = os.cpu_count() or 1
    return in_parallel(check, [files[i::parts] for i in range(parts)
                               if files[i::parts]])


def compile_alone(compiler, language, standard, more):
    """A function that compiles one header with nothing before it."""
    includes = ["-Iinclude", "-Ilibtrain", "-I."] + flags(
        "mpi-c|ompi-c|mpich|mpi", "hdf5-serial|hdf5", "openblas")

    def check(path):
        name = path.replace("include/", "").replace("libtrain/", "")
        result = run([compiler, "-x", language, "-std=" + standard, "-Wall",
                      "-Wextra", "-Werror", "-fsyntax-only", *more, *includes,
                      "-"], "#include \"%s\"\n" % name)
        if result.returncode == 0:
            return []
        errors = [line for line in result.stderr.split("\n")
                  if "error:" in line]
        return ["%s as %s: %s" % (path, standard, errors[0] if errors else
                                  result.stderr[-200:])]
    return check


def public_headers():
    """Each public header compiles alone, as C11 and as C++"""
    headers = [path for path in code_files("include/train/")]
    found = in_parallel(compile_alone("gcc", "c", "c11", ["-Wpedantic"]),
                        headers)
    if not has_command("g++"):
        raise Skip("g++ is not installed")
    return found + in_parallel(
        compile_alone("g++", "c++", "c++11", ["-Wpedantic"]), headers)


def internal_headers():
    """Each internal header compiles alone"""
    headers = [path for path in code_files("libtrain/", "layers/", "optim/",
                                           "comm/", "data/")
               if path.endswith(".h") and
               not os.path.basename(path).startswith("template_")]
    return in_parallel(compile_alone("gcc", "c", "c11", ["-D_GNU_SOURCE"]),
                       headers)


def exported_symbols():
    """The shared library exports only tr_[^_]"""
    build = os.path.join(ROOT, "build")
    if not os.path.exists(os.path.join(build, "build.ninja")):
        raise Skip("there is no build (scripts/test makes one)")
    library = glob.glob(os.path.join(build, "libtrain.so.*[0-9]"))
    if not library:
        raise Skip("build/ has no libtrain.so")
    result = run(["nm", "-D", "--defined-only", library[0]])
    names = [line.split()[-1] for line in result.stdout.splitlines()]
    if result.returncode != 0 or not names:
        return ["%s: nm finds no symbols: %s" % (library[0], result.stderr)]
    return ["%s: exports %s" % (os.path.basename(library[0]), name)
            for name in names
            if not (name.startswith("tr_") and not name.startswith("tr__"))]


CHECKS = [formatting, public_headers, internal_headers, exported_symbols]
