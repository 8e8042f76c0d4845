#!/usr/bin/env bash
# clang-tidy with the checks of .clang-tidy over lib/, src/ and apps/: everything, some 13 minutes
# of one core, or the files that are given. It configures a build folder of its own and builds
# nothing.
# usage: check-tidy.sh [--changed | FILE...]
# --changed: the files that differ from main
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/tidy
sources=('lib/*.cpp' 'src/*.cpp' 'apps/*.cpp')
case ${1:-} in
  "") mapfile -t files < <(git ls-files "${sources[@]}") ;;
  --changed)
    base=$(git merge-base main HEAD)
    mapfile -t files < <(git diff --name-only --diff-filter=d "$base" -- "${sources[@]}") ;;
  *) files=("$@") ;;
esac

# Without precompiled headers, which clang-tidy cannot read where GCC has made them.
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
  -DBLIP_BUILD_TESTS=OFF >/dev/null
# GCC's options that clang does not know are no findings.
sed -i -E 's/ -Wno-(maybe-uninitialized|restrict)//g' $build/compile_commands.json

# Of this build: other processors' and other codecs' files are not in it.
known=()
for file in "${files[@]}"; do
  if grep -qF "\"$PWD/$file\"" $build/compile_commands.json; then known+=("$file"); fi
done
if [ ${#known[@]} -eq 0 ]; then
  echo "check-tidy.sh: no file to check"
  exit 0
fi
if ! printf '%s\0' "${known[@]}" |
  xargs -0 -P "$(nproc)" -n 1 clang-tidy-14 -p $build --quiet 2> \
    >(grep -v ' warnings\? generated\.$' >&2); then
  echo "check-tidy.sh: mend what is found, or say why it is none: NOLINT(CHECK) and the reason" >&2
  exit 1
fi
echo "check-tidy.sh: ${#known[@]} files, nothing found"
