#!/bin/sh
# How a job ends: the exit code of the failure, and its message exactly once.
# usage: test_comm_exit.sh MPIRUN PROGRAM
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun=$1
program=$2
number=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# check RANKS CODE TEXT ARGUMENTS...: RANKS 0 runs without a launcher.
check() {
  ranks=$1 code=$2 text=$3
  shift 3
  number=$((number + 1))
  launcher=
  if [ "$ranks" -gt 0 ]; then
    launcher="$mpirun -n $ranks --oversubscribe --bind-to none"
  fi
  timeout 60 $launcher "$program" "$@" >"$output" 2>&1
  got=$?
  times=$(grep -cF "$text" "$output")
  if [ "$got" -eq "$code" ] && [ "$times" -eq 1 ]; then
    echo "ok $number - $* on $ranks ranks ends with $code"
    return
  fi
  echo "not ok $number - $* on $ranks ranks ends with $code"
  echo "# got $got, and \"$text\" $times times in:"
  sed 's/^/# /' "$output"
}

echo "1..14"
for ranks in 0 1 3; do
  check $ranks 0 "left well" well
  check $ranks 74 "error on rank 0: input/output failure" agreed 0
  check $ranks 65 "bad data" alone 0
  check $ranks 69 'device "gpu" is none of' device gpu
done
check 3 74 "error on rank 2: input/output failure" agreed 2
check 3 78 'rank 0 has "seed 0", rank 1 has "seed 1"' mismatch
