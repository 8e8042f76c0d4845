#!/usr/bin/env bash
# Makes the Debian package, looks at what it says of itself, unpacks it and uses it from there.
# usage: deb_test.sh BUILD SOURCE ARCH [EMULATOR...]
set -euo pipefail

build=$1
source=$2
arch=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
picture=$source/demo/scenes/clock.png

fail() { echo "FAILED: $*" >&2; exit 1; }

(cd "$build" && cpack -G DEB -B "$work/out" >"$work/cpack.log" 2>&1) ||
  { cat "$work/cpack.log"; fail "cpack"; }
deb=$(echo "$work"/out/blip_*_"$arch".deb)
[ -f "$deb" ] || fail "no package for $arch: $(ls "$work/out")"
[ "$(dpkg-deb -f "$deb" Package Architecture | tr '\n' ' ')" = \
    "Package: blip Architecture: $arch " ] || fail "$(dpkg-deb -f "$deb")"
depends=$(dpkg-deb -f "$deb" Depends)
echo "Depends: $depends"
[[ $depends == *"libc6 (>= 2."* ]] || fail "it does not depend on the C library"
[ "$(dpkg-deb -f "$deb" Description | sort | uniq -d)" = "" ] ||
  fail "a line of its description comes twice: $(dpkg-deb -f "$deb" Description)"
[[ $(dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./triggers) == *ldconfig* ]] ||
  fail "the loader does not learn of libblip"

dpkg-deb -x "$deb" "$work/root"
for file in bin/blip include/blip/blip.h lib/libblip.a share/blip/models/blip-demo.gguf \
    share/doc/blip/copyright share/doc/blip/changelog.gz \
    share/bash-completion/completions/blip share/zsh/vendor-completions/_blip \
        share/fish/vendor_completions.d/blip.fish \
    share/man/man1/blip.1.gz share/man/man1/blip-caption.1.gz; do
  [ -s "$work/root/usr/$file" ] || fail "$file is not in it"
done

[ ! -e "$work/root/usr/share/zsh/site-functions" ] ||
  fail "completions where Debian's zsh does not look"
# Every link of the README that is not an address leads to a file of the package.
doc=$work/root/usr/share/doc/blip
for link in $(grep -oE '\]\([^)#]+' "$doc/README.md" | cut -c 3- | grep -v '://' | sort -u); do
  [ -e "$doc/$link" ] || fail "README.md links to $link, which is not in the package"
done

# It depends on the packages of the libraries that it links, in this build, and on no others of
# these.
needed=$(readelf -d "$work/root/usr/bin/blip" | grep NEEDED)
for library in libavif libde265 libheif libhwy libjpeg libjxl libpng16 libsqlite3 libstdc++ \
    libtiff libwebp libxxhash; do
  [[ ${needed/"$library"/} != "$needed" ]] && linked=yes || linked=no
  [[ ${depends/"$library"/} != "$depends" ]] && named=yes || named=no
  [ "$linked" = "$named" ] || fail "$library: linked $linked, in Depends $named"
done

# The bundled model is found from the program's place alone.
caption=$(cd / && env -u BLIP_MODEL "$@" "$work/root/usr/bin/blip" caption --quiet "$picture")
[[ $caption == *clock* ]] || fail "the unpacked program says '$caption' of $picture"

if command -v lintian >/dev/null; then
  lintian --fail-on error "$deb" >"$work/lintian.log" 2>&1 ||
    { grep '^E' "$work/lintian.log"; fail "lintian"; }
  echo "lintian: no errors"
fi
echo "package for $arch: $(basename "$deb"), caption: $caption"
