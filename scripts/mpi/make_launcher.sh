#!/bin/sh
# Write a launcher that takes "-n RANKS PROGRAM..." whatever MPI there is: ranks
# share the CPUs that the caller may use, also more ranks than CPUs, also as root.
#
#   make_launcher.sh MPIRUN OUTPUT
set -eu
mpirun=$1 output=$2

version=$("$mpirun" --version 2>&1 </dev/null || true)
settings='' options=''
case $version in
*'Open MPI) '[1-4].*)
  settings='export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1'
  options='--oversubscribe --bind-to none'
  ;;
*'Open MPI) '*)
  settings='export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1'
  options='--map-by :OVERSUBSCRIBE --bind-to none'
  ;;
*) ;; # MPICH and its relatives need no word
esac
{
  echo '#!/bin/sh'
  echo "# Made for: $(printf '%s' "$version" | grep -im1 'version\|mpi)')"
  [ -z "$settings" ] || printf '%s\n' "$settings"
  echo "exec '$mpirun'${options:+ $options} \"\$@\""
} >"$output"
chmod +x "$output"
