#!/usr/bin/env bash
# Makes the wheel, installs it with NumPy alone where nothing else of this checkout is seen, and
# captions a picture.
# usage: wheel_test.sh SOURCE
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$source/tests/python/venv.sh"

"$source/scripts/make-wheel.sh" "$work/dist" || exit $?
wheel=$(echo "$work"/dist/blipcpp-*-py3-none-manylinux*_"$(uname -m)".whl)
[ -f "$wheel" ] || { echo "FAILED: $(ls "$work/dist")" >&2; exit 1; }
make_venv numpy "$wheel"
cp "$source/demo/scenes/clock.png" "$work/"
cd "$work"
caption=$(env -u BLIP_MODEL -u BLIPCPP_LIBRARY -u LD_LIBRARY_PATH "$python" -c '
import blipcpp, sys
from blipcpp import _c
assert _c.library_path.startswith(sys.prefix), _c.library_path
print(blipcpp.Model.load().caption("clock.png"))')
[ "$caption" = "a clock on a gray background" ] ||
  { echo "FAILED: the installed wheel says $caption" >&2; exit 1; }
# Every library that it needs beyond the C library comes from the wheel.
maps=$("$python" -c 'import blipcpp; print(open("/proc/self/maps").read())' |
  grep -oE '/[^ ]*(jpeg|png16|webp)[^ ]*\.so[^ ]*' | sort -u)
echo "$maps"
if grep -v "^$work/venv" <<<"$maps"; then echo "FAILED: the libraries above are the system's" >&2; \
    exit 1; fi
echo "wheel: $(basename "$wheel"), $(stat -c %s "$wheel") bytes"
