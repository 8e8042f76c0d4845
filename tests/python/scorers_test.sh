#!/usr/bin/env bash
# The tests of blipcpp.eval with the public scorers, which the others may lack.
# usage: scorers_test.sh SOURCE LIBRARY
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v java >/dev/null || { echo "SKIPPED: no java here (default-jre-headless)"; exit 77; }
. "$source/tests/python/venv.sh"
make_venv numpy pycocoevalcap

BLIP_SOURCE=$source BLIPCPP_LIBRARY=$2 BLIP_MODEL=$source/models/blip-demo.gguf \
  PYTHONPATH=$source/python/src PYTHONDONTWRITEBYTECODE=1 \
  "$python" "$source/tests/python/test_eval.py" -v 2>&1 | tee "$work/log"
if grep -q "skipped" "$work/log"; then
  echo "FAILED: something was skipped" >&2
  exit 1
fi
