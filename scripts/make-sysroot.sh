#!/usr/bin/env bash
# Unpacks what a cross build needs into FOLDER, and does nothing when it is there. Nothing of it is installed on this system.
#   arm64:   the libraries that blip links, with all they need, from this distribution's packages for arm64
#   riscv64: the headers of the libraries that are headers alone (the C and C++ libraries come with the cross compiler)
# usage: make-sysroot.sh ARCH FOLDER [PACKAGE...]    more packages, to try something out
# On Ubuntu the packages for arm64 are on another mirror (ports): name a sources.list of it in BLIP_CROSS_SOURCES.
set -euo pipefail

arch=$1
mkdir -p "$2"
folder=$(realpath "$2")
shift 2

case $arch in
  arm64) packages=(libc6-dev libstdc++6 libgcc-s1 libhwy-dev nlohmann-json3-dev libcli11-dev libjpeg-dev libpng-dev zlib1g-dev
                   libwebp-dev libtiff-dev libheif-dev libde265-dev libavif-dev libjxl-dev libcurl4-openssl-dev libssl-dev libboost-dev libxxhash-dev libarchive-dev libsqlite3-dev libgtest-dev libstb-dev) ;;
  riscv64) packages=(libhwy-dev nlohmann-json3-dev libcli11-dev libxxhash-dev libstb-dev) ;;
  *) echo "make-sysroot.sh: unknown architecture '$arch'; arm64 and riscv64 are known" >&2; exit 2 ;;
esac
packages+=("$@")

stamp=$folder/.packages
[ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "This is no Debian or Ubuntu system: fill $folder by hand with the files of ${packages[*]}." >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,new}
touch "$work/status"

# Headers are the same for every architecture: those of this one's packages serve.
from=$arch
[ "$arch" = riscv64 ] && from=$(dpkg --print-architecture)

# This system's own sources, asked for the other architecture.
if [ -n "${BLIP_CROSS_SOURCES:-}" ]; then
  cp "$BLIP_CROSS_SOURCES" "$work/sources.list"
else
  origin=$(. /etc/os-release && [ "$ID" = ubuntu ] && echo Ubuntu || echo Debian)
  sources() { apt-get indextargets --format "deb [arch=$from] \$(SITE) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' "Origin: $origin" | sort -u; }
  sources >"$work/sources.list"
  if [ ! -s "$work/sources.list" ]; then  # no lists yet: a new machine
    if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    sources >"$work/sources.list"
  fi
fi

cat >"$work/apt.conf" <<END
APT::Architecture "$from";
APT::Architectures { "$from"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
END
export APT_CONFIG=$work/apt.conf
echo "Unpacking ${packages[*]} for $arch into $folder"
if ! apt-get update -qq; then
  echo "No package lists for $arch: does the mirror have it? See the head of $0 for Ubuntu." >&2
  exit 1
fi
cd "$work/cache/archives"
if [ "$arch" = riscv64 ]; then
  apt-get download -qq "${packages[@]}"
else
  apt-get install -y -qq --download-only --no-install-recommends "${packages[@]}" >/dev/null
fi
info=$work/new/var/lib/dpkg/info
mkdir -p "$info"
for deb in *.deb; do
  dpkg-deb -x "$deb" "$work/new"
  name=$(dpkg-deb -f "$deb" Package)
  # Which package a library is from and which versions of it serve, for the dependencies of our own package.
  dpkg-deb --ctrl-tarfile "$deb" | tar -x -C "$work" --wildcards './shlibs' 2>/dev/null && mv "$work/shlibs" "$info/$name.shlibs"
  printf '%s %s\n' "$name" "$(dpkg-deb -f "$deb" Version)" >>"$info/versions"
done
if [ "$arch" = riscv64 ]; then  # no library of this machine may be found there
  rm -rf "$work"/new/usr/lib "$work"/new/usr/bin
fi

# Links must stay inside the folder.
cd "$work/new"
find . -type l -lname '/*' -printf '%p\n' | while read -r link; do
  ln -sfnr ".$(readlink "$link")" "$link"
done
printf '%s' "${packages[*]}" >"$work/new/.packages"
rm -rf "$folder"
mv "$work/new" "$folder"
