#!/usr/bin/env bash
# Runs every fuzzer for some seconds, one for each core at a time, starting from its committed
# corpus. Starts no more after the first finding.
# usage: run-fuzzers.sh FOLDER SECONDS
set -euo pipefail

if [ "${1:-}" = --one ]; then
  fuzzer=$2 folder=$3 seconds=$4
  root=$(cd "$(dirname "$0")/.." && pwd)
  name=$(basename "$fuzzer" | sed 's/^fuzz_//')
  found=$folder/corpus/$name  # new inputs; the committed corpus is only read
  mkdir -p "$found"
  seeds=()
  [ -d "$root/fuzz/corpus/$name" ] && seeds=("$root/fuzz/corpus/$name")
  echo "fuzz_$name for $seconds s"
  if ! "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
      -artifact_prefix="$folder/$name-" \
      -verbosity=0 "$found" "${seeds[@]}" >"$folder/$name.log" 2>&1; then
    tail -n 60 "$folder/$name.log"
    echo "fuzz_$name failed; the input is in $folder/$name-*" >&2
    exit 255  # xargs starts no more
  fi
  exit 0
fi

folder=$1
seconds=$2
fuzzers=()
for fuzzer in "$folder"/fuzz_*; do
  [ -f "$fuzzer" ] && [ -x "$fuzzer" ] && fuzzers+=("$fuzzer")
done
if [ "${#fuzzers[@]}" -eq 0 ]; then
  echo "no fuzzer in $folder" >&2
  exit 1
fi
printf '%s\0' "${fuzzers[@]}" | xargs -0 -P "$(nproc)" -I{} "$0" --one {} "$folder" "$seconds" ||
  exit 1
echo "fuzzers: ${#fuzzers[@]} passed, 0 failed"
