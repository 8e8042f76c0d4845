#!/usr/bin/env bash
# The tests of blipcpp.parquet and of the program's Parquet files with pyarrow, which the others may
# lack.
# usage: pyarrow_test.sh SOURCE LIBRARY [PROGRAM]
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$source/tests/python/venv.sh"
make_venv numpy pyarrow

BLIP_SOURCE=$source BLIPCPP_LIBRARY=$2 BLIP_PROGRAM=${3:-} \
  BLIP_MODEL=$source/models/blip-demo.gguf \
  PYTHONPATH=$source/python/src PYTHONDONTWRITEBYTECODE=1 \
  "$python" "$source/tests/python/test_parquet.py" -v
