"""Spack's recipe of libtrain, for a source tree that is here already:

    spack repo add scripts/spack
    spack dev-build libtrain@0.2.0      # in the root of the source tree

It is written for Spack 1.0 and its builtin repository. It has been compiled,
and meson has been run with the arguments that it gives, but it has not been run
by Spack.
"""

from spack_repo.builtin.build_systems.meson import MesonPackage

from spack.package import *


class Libtrain(MesonPackage):
    """A C library with which MPI programs train neural networks."""

    license("BSD-3-Clause")

    version("0.2.0")

    variant("tests", default=False, description="Build tests and benchmarks")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+tests")
    depends_on("meson@1.0:", type="build")

    depends_on("mpi@3:")
    depends_on("openblas")
    depends_on("hdf5@1.10:~mpi")
    depends_on("zlib-api")
    depends_on("xxhash@0.8:")

    def meson_args(self):
        return [
            "-Dmpi={0}".format(self.spec["mpi"].mpicc),
            "-Dtests={0}".format("true" if "+tests" in self.spec else "false"),
        ]

    def setup_run_environment(self, env):
        env.prepend_path("PKG_CONFIG_PATH", self.prefix.lib.pkgconfig)
