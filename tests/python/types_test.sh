#!/usr/bin/env bash
# The package under mypy --strict and pyright, and what callers get of its types.
# usage: types_test.sh SOURCE
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$source/tests/python/venv.sh"
make_venv mypy pyright numpy pillow

cp -r "$source/python/src" "$source/python/pyproject.toml" "$work/"
cd "$work"
"$python" -m mypy --strict
"$python" -m pyright --pythonpath "$python"
cat >use.py <<'END'
from typing import List

import blipcpp

model = blipcpp.Model.load()
one: blipcpp.Generation = model.caption("a.png", beams=1)
many: List[blipcpp.Generation] = model.caption(["a.png", b"bytes"], num_captions=2)
answer: blipcpp.Generation = model.ask("a.png", "what?")
match: blipcpp.Match = model.match("a.png", "a text")
END
MYPYPATH=src "$python" -m mypy --strict --config-file= use.py
sed 's/beams=1/beam=1/' use.py >wrong.py
if MYPYPATH=src "$python" -m mypy --strict --config-file= wrong.py >wrong.log; then
  echo "FAILED: a wrong argument passes" >&2
  exit 1
fi
grep -q '"beam"' wrong.log
echo "types: clean"
