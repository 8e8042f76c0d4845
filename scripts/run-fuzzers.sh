#!/usr/bin/env bash
# Runs every fuzzer for some seconds, starting from its committed corpus. Stops at the first finding.
# usage: run-fuzzers.sh FOLDER SECONDS
set -euo pipefail

folder=$1
seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)
passed=0
for fuzzer in "$folder"/fuzz_*; do
  [ -f "$fuzzer" ] && [ -x "$fuzzer" ] || continue
  name=$(basename "$fuzzer" | sed 's/^fuzz_//')
  found=$folder/corpus/$name  # new inputs; the committed corpus is only read
  mkdir -p "$found"
  seeds=()
  [ -d "$root/fuzz/corpus/$name" ] && seeds=("$root/fuzz/corpus/$name")
  echo "fuzz_$name for $seconds s"
  if ! "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$folder/$name-" \
      -verbosity=0 "$found" "${seeds[@]}" >"$folder/$name.log" 2>&1; then
    tail -n 60 "$folder/$name.log"
    echo "fuzz_$name failed; the input is in $folder/$name-*" >&2
    exit 1
  fi
  passed=$((passed + 1))
done
if [ "$passed" -eq 0 ]; then
  echo "no fuzzer in $folder" >&2
  exit 1
fi
echo "fuzzers: $passed passed, 0 failed"
