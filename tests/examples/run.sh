#!/usr/bin/env bash
# Runs the command of an example's README and compares its output with the one shown there; then
# with a picture that is not there, which must be a message and status 1. Exits with 77 where the
# toolchain or its packages cannot be had.
# usage: run.sh LANGUAGE LIBRARY_FOLDER
set -euo pipefail

language=$1
libraries=$2
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

skip() { echo "SKIPPED: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || skip "no $1 here"; }

# A copy in the same place relative to the models, so that nothing is written into the sources.
mkdir -p "$work/examples" "$work/build/release"
cp -r "$source/examples/$language" "$work/examples/"
ln -s "$source/models" "$source/demo" "$work/"
ln -s "$libraries" "$work/build/release/src"
cd "$work/examples/$language"

case $language in
  rust) need cargo; need cc ;;
  go) need go; go mod download >download.log 2>&1 ||
    skip "go cannot download its module: $(tail -n 1 download.log)" ;;
  java)
    need javac; need mvn
    mvn -q -B compile org.codehaus.mojo:exec-maven-plugin:3.1.0:help >download.log 2>&1 ||
      { grep -q 'COMPILATION ERROR' download.log &&
        fail "$(cat download.log)"; skip "mvn: $(grep -m 1 ERROR download.log)"; } ;;
esac

# The command goes on in the lines below it that are indented.
example=$(sed -n '/^```console$/,/^```$/p' README.md | grep -v '^```')
command=$(sed -n 's/^\$ //p; /^    /p' <<<"$example")
grep -v '^\$ \|^    ' <<<"$example" >expected.txt
bash -c "$command" >raw.txt || fail "$command"
sed 's/\x1b\[0m//g' raw.txt >got.txt  # mvn resets the terminal's colours
diff -u expected.txt got.txt || fail "$language prints something else than its README shows"

if bash -c "${command//cat-bus.png/nowhere.png}" >got.txt 2>errors.txt; then
  fail "$language takes a picture that is not there"
fi
grep -q 'describe: .*nowhere.png: No such file' errors.txt ||
  fail "$language says: $(cat errors.txt)"
echo "$language: as its README shows"
