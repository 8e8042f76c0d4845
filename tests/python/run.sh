#!/usr/bin/env bash
# Runs a test of the Python package with the first interpreter that has NumPy.
# usage: run.sh SCRIPT
set -euo pipefail

export PYTHONPATH=$BLIP_SOURCE/python/src PYTHONDONTWRITEBYTECODE=1
for python in ${BLIP_NUMPY_PYTHON:-} python3 /usr/bin/python3; do
  if command -v "$python" >/dev/null && "$python" -c 'import numpy' 2>/dev/null; then
    exec "$python" "$1"
  fi
done
echo "SKIPPED: no Python with NumPy here (python3-numpy)"
exit 77
