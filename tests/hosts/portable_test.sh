#!/usr/bin/env bash
# Unpacks a tarball of make-portable.sh, looks at what its program asks of the system, and uses it
# over the old C library that the tarball is made for.
# usage: portable_test.sh ARCH [TARBALL]    the newest in build/dist, if none is named
set -euo pipefail
cd "$(dirname "$0")/../.."

arch=$1
tarball=${2:-$(ls -t build/dist/blip-*-linux-"$arch".tar.gz | head -n 1)}
newest=2.27
old=$PWD/build/sysroot/old-$arch
picture=$PWD/demo/scenes/clock.png
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

tar -xf "$tarball" -C "$work"
root=$(echo "$work"/blip-*-linux-"$arch")
program=$root/bin/blip
for file in bin/blip share/blip/models/blip-demo.gguf share/man/man1/blip.1.gz \
    share/doc/blip/LICENSE share/doc/blip/NOTICE; do
  [ -s "$root/$file" ] || fail "$file is not in it"
done

symbols=$(readelf -W --dyn-syms "$program" | grep -oE '@[A-Z]+_[0-9.]+' | tr -d @ | sort -Vu)
for symbol in $symbols; do
  case $symbol in
    GLIBC_*)
      last=$(printf '%s\n' "$newest" "${symbol#GLIBC_}" | sort -V | tail -n 1)
      [ "$last" = "$newest" ] || fail "it asks for $symbol" ;;
    *) fail "it asks for $symbol" ;;
  esac
done
needed=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for library in $needed; do
  case $library in
    libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1 | ld-linux*) ;;
    *) fail "it needs $library" ;;
  esac
done

# How a program runs over the old C library: by its own loader, or by qemu where the processor is
# another.
case $arch in
  x86_64) run=("$old/lib64/ld-linux-x86-64.so.2" --library-path "$old/lib/x86_64-linux-gnu") ;;
  arm64) run=(qemu-aarch64 -L "$old") ;;
  riscv64) run=(qemu-riscv64 -L "$old") ;;
esac
export BLIP_MODEL=$root/share/blip/models/blip-demo.gguf  # the loader is the program, to the system
caption=$("${run[@]}" "$program" caption --quiet "$picture")
[ "$caption" = "a clock on a gray background" ] ||
  fail "the unpacked program says '$caption' of $picture"
if "${run[@]}" "$program" pull no-such/model 2>"$work/pull"; then
  fail "it downloads without a library"
fi
grep -q "libcurl.so.4 is not on this system" "$work/pull" ||
  fail "without libcurl it says $(cat "$work/pull")"

"${run[@]}" "$program" serve --port 0 --no-history >"$work/address" 2>"$work/log" &
server=$!
for _ in $(seq 600); do
  [ ! -s "$work/address" ] || break
  sleep 0.1
done
address=$(sed 's|/$||' "$work/address")
python3 - "$address" "$picture" <<'END' || fail "the server: $(cat "$work/log")"
import base64, json, sys, urllib.request
address, picture = sys.argv[1:]
body = json.dumps({"images": [base64.b64encode(open(picture, "rb").read()).decode()]}).encode()
request = urllib.request.Request(address + "/v1/caption", body,
                                 {"Content-Type": "application/json"})
caption = json.load(urllib.request.urlopen(request, timeout=120))["results"][0]["caption"]
assert caption == "a clock on a gray background", caption
END
echo "portable program for $arch: $(stat -c %s "$tarball") bytes packed, needs \
$(echo "$symbols" | grep GLIBC | tail -n 1), says '$caption'"
