#!/bin/sh
# Records again and compares with the files of this folder, where PyTorch is:
# those of the script that is named, record.py where none is.
here=$(dirname "$0")
python=${LIBTRAIN_PYTHON:-python3}
if ! "$python" -c 'import numpy, torch' >/dev/null 2>&1; then
  echo "1..0 # SKIP $python cannot import torch (set LIBTRAIN_PYTHON)"
  exit 0
fi
exec "$python" "$here/${1:-record.py}" --check
