#!/usr/bin/env bash
# Makes build/dist/blip-VERSION-linux-ARCH.tar.gz: the program, the bundled model, completions,
# manual pages and documents, for any Linux whose C library is of 2018 (glibc 2.27) or later. Its
# codecs (JPEG, PNG, WebP) and the C++ runtime are inside; libcurl is used for downloads where it is
# there. The library libblip is not in it: Debian's archives of the codecs cannot be linked into
# one.
# usage: make-portable.sh x86_64|arm64|riscv64
set -euo pipefail
cd "$(dirname "$0")/.."

arch=$1
case $arch in
  x86_64 | arm64 | riscv64) ;;
  *) echo "make-portable.sh: '$arch' is unknown; known are x86_64, arm64, riscv64" >&2; exit 2 ;;
esac
build=build/portable-$arch
scripts/install-zig.sh build/zig
scripts/make-sysroot.sh "portable-$arch" "build/sysroot/portable-$arch"
scripts/make-sysroot.sh "old-$arch" "build/sysroot/old-$arch"
cmake --preset "portable-$arch" >/dev/null
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target blip blip_completions

version=$(sed -n 's/^project(blip VERSION \([0-9.]*\) .*/\1/p' CMakeLists.txt)
name=blip-$version-linux-$arch
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/$name" >/dev/null
# The licences of what is linked, as Debian gives them.
licenses=$work/$name/share/doc/blip/licenses
mkdir -p "$licenses"
for file in "build/sysroot/portable-$arch"/usr/share/doc/*/copyright; do
  package=$(basename "$(dirname "$file")")
  case $package in libcurl*) ;; *) cp -L "$file" "$licenses/$package" ;; esac
done
for source in "build/sysroot/portable-$arch"/usr/src/*/LICENSE; do
  if [ -e "$source" ]; then cp "$source" "$licenses/$(basename "$(dirname "$source")")"; fi
done
cp /usr/share/doc/libstdc++6/copyright "$licenses/libstdc++6"
mkdir -p build/dist
# The same bytes for the same sources.
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@$(git log -1 --format=%ct)" -cf - "$name" |
  gzip -9n >"build/dist/.$name.tar.gz"
mv "build/dist/.$name.tar.gz" "build/dist/$name.tar.gz"
echo "Made build/dist/$name.tar.gz"
