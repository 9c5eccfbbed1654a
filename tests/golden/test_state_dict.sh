#!/bin/sh
# Runs test_state_dict.py with what it is given, where there is a Python for it.
here=$(dirname "$0")
python=${LIBTRAIN_PYTHON:-python3}
if ! "$python" -c 'import h5py, numpy, torch' >/dev/null 2>&1; then
  echo "1..0 # SKIP $python cannot import torch and h5py (set LIBTRAIN_PYTHON)"
  exit 0
fi
exec "$python" -B "$here/test_state_dict.py" "$@"
