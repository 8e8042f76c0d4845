#!/usr/bin/env bash
# Does the library still have the binary interface that programs were built with? Compares the
# symbols that it exports with include/blip/c.h, and functions and types with the dump in
# tests/capi/libblip.abi, by libabigail.
# usage: check-abi.sh BUILD [--update]    (--update writes the dump anew)
# Any difference fails. Functions and fields at the end of structs may be added: then --update, and
# commit the dump. Whatever else abidiff tells breaks programs that are there: raise
# BLIP_ABI_VERSION first.
set -euo pipefail

build=$1
source=$(cd "$(dirname "$0")/.." && pwd)
dump=$source/tests/capi/libblip.abi
header=$source/include/blip/c.h
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

abi=$(sed -n 's/^#define BLIP_ABI_VERSION //p' "$header")
tr '\n' ' ' <"$header" | grep -oE 'BLIP_C_API [^(]*' | grep -oE 'blip_[a-z0-9_]+$' |
  sort >"$work/declared"
nm -D --defined-only "$build/src/libblip.so" | awk '{ print $3 }' >"$work/symbols"
sed -n "s/@@BLIP_$abi\$//p" "$work/symbols" | sort >"$work/exported"
diff -u "$work/declared" "$work/exported" ||
  { echo "check-abi.sh: declared (-) and exported (+) functions differ" >&2; exit 1; }
if grep -vE "@@BLIP_($abi|CXX_[0-9.]+)\$|^BLIP_($abi|CXX_[0-9.]+)\$" "$work/symbols"; then
  echo "check-abi.sh: the symbols above are exported without being part of an interface" >&2
  exit 1
fi
grep '@@BLIP_CXX_' "$work/symbols" | c++filt |
  grep -vE '^((typeinfo|vtable)( name)? for )?blip::' &&
  { echo "check-abi.sh: the C++ symbols above are not of blip::" >&2; exit 1; }
readelf -d "$build/src/libblip.so" | grep -q "SONAME.*\[libblip\.so\.$abi\]" ||
  { echo "check-abi.sh: the library's SONAME does not end in its ABI version, $abi" >&2; exit 1; }

if ! command -v abidw >/dev/null; then
  echo "SKIPPED: types, without abidw (abigail-tools);" \
    "the $(wc -l <"$work/exported") exported functions are as declared"
  exit 77
fi
# What handles hide, and the C++ behind it, is no part of the interface.
handles=$(grep -oE '^typedef struct (blip_[a-z_]+) \1;' "$header" | awk '{ print $3 }' |
  paste -sd '|')
cat >"$work/internals.abignore" <<END
[suppress_type]
  name_regexp = ^($handles)\$
  drop = yes
[suppress_type]
  name_regexp = ^(std|__gnu_cxx|blip)::
  drop = yes
[suppress_function]
  name_not_regexp = ^blip_
  drop = yes
END
abidw --suppressions "$work/internals.abignore" --no-corpus-path --no-comp-dir-path --no-show-locs \
    --no-elf-needed \
  --no-architecture --out-file "$work/libblip.abi" "$build/src/libblip_abi.so"
if [ "${2:-}" = --update ]; then
  cp "$work/libblip.abi" "$dump"
  echo "wrote $dump"
  exit 0
fi
# abidiff's status has a bit for any change, and another for one that breaks programs.
status=0
abidiff --no-show-locs "$dump" "$work/libblip.abi" || status=$?
if [ $((status & 8)) -ne 0 ]; then
  echo "check-abi.sh: programs that are built against the committed interface would break:" \
    "raise BLIP_ABI_VERSION" >&2
elif [ "$status" -ne 0 ]; then
  echo "check-abi.sh: the interface differs from the committed dump; if it only grew," \
    "run check-abi.sh BUILD --update" >&2
else
  echo "the binary interface is the committed one: $(wc -l <"$work/exported") functions"
fi
exit "$status"
