#!/usr/bin/env bash
# Executes docs/tour.ipynb from top to bottom and looks for what its cells should print.
# usage: notebook_test.sh SOURCE LIBRARY
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$source/tests/python/venv.sh"
make_venv numpy matplotlib pillow nbconvert ipykernel

cd "$source/docs"
BLIPCPP_LIBRARY=$2 BLIP_MODEL=$source/models/blip-demo.gguf PYTHONPATH=$source/python/src \
    PYTHONDONTWRITEBYTECODE=1 \
  "$python" -m nbconvert --to notebook --execute tour.ipynb --output-dir "$work" --output tour.ipynb
"$python" - "$work/tour.ipynb" tour.ipynb <<'END'
import json, sys

def outputs(path):
    text, pictures = "", 0
    for cell in json.load(open(path))["cells"]:
        for output in cell.get("outputs", []):
            text += "".join(output.get("text", []))
            pictures += "image/png" in output.get("data", {})
    return text.splitlines(), pictures

got, shown = outputs(sys.argv[1]), outputs(sys.argv[2])
assert got[0] == shown[0] and len(got[0]) > 5, "the notebook prints %s, and shows %s" % (
    got[0], shown[0])
assert got[1] == shown[1] >= 2, "pictures: %d, shown %d" % (got[1], shown[1])
print("notebook: %d lines and %d pictures as shown" % (len(got[0]), got[1]))
END
