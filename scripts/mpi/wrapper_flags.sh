#!/bin/sh
# What a compiler wrapper of MPI adds, a flag per line.
#
#   wrapper_flags.sh compile|link WRAPPER
set -eu
kind=$1 wrapper=$2

# Open MPI's, MPICH's and Intel's wrappers all know -show.
for word in $("$wrapper" -show); do
  case $kind:$word in
  compile:-I* | compile:-D* | link:-L* | link:-l* | link:-Wl,*)
    printf '%s\n' "$word"
    ;;
  esac
done
