#!/usr/bin/env bash
# Puts the Zig compiler (a package of PyPI: clang, lld and the symbols of every release of the C
# library) into FOLDER, with a script zig-cc that links; does nothing when it is there.
# usage: install-zig.sh FOLDER
set -euo pipefail

version=0.15.2
mkdir -p "$1"
folder=$(realpath "$1")
[ "$(cat "$folder/.version" 2>/dev/null)" = "$version" ] && exit 0
echo "Installing Zig $version into $folder"
python3 -m venv "$folder"
"$folder/bin/pip" install -q --disable-pip-version-check "ziglang==$version"
find_zig='import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / "zig")'
zig=$("$folder/bin/python" -c "$find_zig")
printf '#!/bin/sh\nexec "%s" cc "$@"\n' "$zig" >"$folder/bin/zig-cc"
chmod +x "$folder/bin/zig-cc"
echo "$version" >"$folder/.version"
