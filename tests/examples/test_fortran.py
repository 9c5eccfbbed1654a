"""The Fortran example builds with the MPI's own compiler, and trains.

usage: test_fortran.py MPIRUN BUILD SANITIZE MPIF90 TRAIN_F90 SIZES_F90 SIZES
"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "reliability"))
import job  # noqa: E402

LIMIT_S = 60
CLAIMS = ("test_the_fortran_program_builds_with_mpif90",
          "test_fortran_types_have_the_sizes_of_c",
          "test_the_fortran_program_trains_on_1_2_and_3_ranks")


def call(*command, cwd):
    """What it printed, and whether it ended well."""
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False,
                            env=job.ENVIRONMENT, timeout=LIMIT_S)
    return result.stdout, result.returncode == 0


def reason_to_skip(mpif90, sanitize, scratch):
    if sanitize != "none":
        return "programs outside do not link a sanitized library"
    if shutil.which(mpif90) is None:
        return "there is no " + mpif90
    with open(os.path.join(scratch, "probe.f90"), "w",
              encoding="utf-8") as file:
        file.write("program probe\nuse mpi\nend program\n")
    output, is_built = call(mpif90, "-fsyntax-only", "probe.f90", cwd=scratch)
    return None if is_built else "%s finds no gfortran, or no module mpi: %s" \
        % (mpif90, " ".join(output.split()))


def brings_another_mpi(program, scratch):
    """Open MPI's library has another name than MPICH's."""
    output, _ = call("ldd", program, cwd=scratch)
    return "libmpi.so" in output and "libmpich.so" in output


def build(mpif90, library, source, scratch):
    output, is_built = call(
        mpif90, "-std=f2008", "-Wall", source, "-o", "train_f90",
        "-L" + library, "-ltrain", "-Wl,-rpath," + library,
        cwd=scratch)
    return [] if is_built else output.splitlines()


def compare_sizes(mpif90, source, sizes, scratch):
    output, is_built = call(mpif90, source, "-o", "sizes_f90", cwd=scratch)
    if not is_built:
        return output.splitlines()
    in_fortran, _ = call("./sizes_f90", cwd=scratch)
    in_c, _ = call(sizes, cwd=scratch)
    return [] if in_fortran == in_c else \
        ["in Fortran", *in_fortran.splitlines(), "in C", *in_c.splitlines()]


def train(launcher, scratch):
    problems = []
    for ranks in (1, 2, 3):
        output, is_good = call(*job.mpirun(launcher, ranks), "./train_f90",
                               cwd=scratch)
        words = output.split()
        is_good = is_good and words[:1] == ["loss"] and float(words[1]) < 0.02
        problems += [] if is_good else ["%d ranks:" % ranks,
                                        *output.splitlines()]
    return problems


def main():
    launcher, library = map(os.path.abspath, sys.argv[1:3])
    sanitize, mpif90, source, sizes_f90, sizes = sys.argv[3:]
    tap = job.Tap(len(CLAIMS))
    with tempfile.TemporaryDirectory() as scratch:
        skip = reason_to_skip(mpif90, sanitize, scratch)
        problems = [] if skip else build(mpif90, library, source, scratch)
        if not skip and not problems and \
                brings_another_mpi("./train_f90", scratch):
            skip = mpif90 + " belongs to another MPI than the library"
        if skip:
            for claim in CLAIMS:
                tap.report(claim, skip=skip)
            return 0
        tap.report(CLAIMS[0], problems)
        tap.report(CLAIMS[1], compare_sizes(mpif90, sizes_f90,
                                            os.path.abspath(sizes), scratch))
        tap.report(CLAIMS[2], train(launcher, scratch) if not problems
                   else ["it was not built"])
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
