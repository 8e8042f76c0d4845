#!/usr/bin/env bash
# Installs the build into a folder of its own and uses it as a stranger would: the program with its
# bundled model, the example with find_package (shared and static) and with pkg-config. Then once
# more after moving the folder.
# usage: package_test.sh BUILD SOURCE
set -euo pipefail

build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
picture=$source/demo/scenes/clock.png

fail() { echo "FAILED: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix"  # nothing may remember where it was installed
prefix=$work/prefix
libdir=$(dirname "$(find "$prefix" -name libblip.a)")

for file in bin/blip include/blip/blip.h include/blip/c.h share/blip/models/blip-demo.gguf \
    share/bash-completion/completions/blip \
    share/zsh/site-functions/_blip share/fish/vendor_completions.d/blip.fish \
    share/man/man1/blip.1.gz share/man/man1/blip-match.1.gz; do
  [ -s "$prefix/$file" ] || fail "$file is not installed"
done
[ -e "$libdir/libblip.so" ] || fail "libblip.so is not installed"
if grep -rlF "$source/" "$prefix/bin" "$libdir" "$prefix/include"; then
  fail "the files above name the source folder"
fi

# The bundled model is found from the program's place alone, through a link, too.
ln -s "$prefix/bin/blip" "$work/blip-link"
caption=$(cd / && env -u BLIP_MODEL "$work/blip-link" caption --quiet "$picture")
[[ $caption == *clock* ]] || fail "the installed program says '$caption' of $picture"
model=$prefix/share/blip/models/blip-demo.gguf

check_example() {  # PROGRAM
  local output
  output=$("$1" "$model" "$picture" "a clock" "is there a clock?")
  echo "$output"
  [[ $output == *"caption: $caption"* && $output == *"answer: yes"* &&
    $output =~ match:\ [01]\.[0-9]+ ]] || fail "$1 printed: $output"
}

for static in OFF ON; do
  cmake -S "$source/examples/find_package" -B "$work/example-$static" \
      -DCMAKE_PREFIX_PATH="$prefix" -DUSE_STATIC=$static >/dev/null
  cmake --build "$work/example-$static" >/dev/null
  check_example "$work/example-$static/describe"
done
readelf -d "$work/example-ON/describe" | grep -q 'libblip' &&
  fail "the static example needs libblip.so"

export PKG_CONFIG_PATH=$libdir/pkgconfig
read -ra flags <<<"$(pkg-config --cflags --libs blip)"
c++ -std=c++20 "$source/examples/find_package/describe.cpp" -o "$work/describe" "${flags[@]}"
LD_LIBRARY_PATH=$libdir check_example "$work/describe"
rm "$libdir"/libblip.so*
read -ra flags <<<"$(pkg-config --static --cflags --libs blip)"
c++ -std=c++20 "$source/examples/find_package/describe.cpp" -o "$work/describe-static" "${flags[@]}"
check_example "$work/describe-static"
echo "installed package: 4 examples passed"
