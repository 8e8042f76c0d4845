#!/usr/bin/env bash
# Unpacks packages that another build needs into FOLDER, and does nothing when they are there.
# Nothing of it is installed on this system.
#   arm64:     the libraries that blip links, with all they need, from this distribution's packages
#   riscv64:   the headers of the libraries that are headers alone (the C and C++ libraries come
#              with the cross compiler)
#   portable-x86_64, portable-arm64, portable-riscv64: what make-portable.sh links, libraries in C
#              as archives, and headers (for riscv64 from Debian 13, the first that has it)
#   old-x86_64, old-arm64, old-riscv64: the C library of Debian 11, to run programs over (2.31, as
#              Ubuntu 20.04); for riscv64, to which Debian 11 was not ported, that of its cross
#              compilers
# usage: make-sysroot.sh KIND FOLDER [PACKAGE...]    more packages, to try something out
# On Ubuntu the packages for other processors are on another mirror (ports): name a sources.list of
# it in BLIP_CROSS_SOURCES.
set -euo pipefail

kind=$1
mkdir -p "$2"
folder=$(realpath "$2")
shift 2

this_arch=$(dpkg --print-architecture)
declare -A debian_arch=([x86_64]=amd64 [arm64]=arm64 [riscv64]=riscv64)
arch=${debian_arch[${kind##*-}]:-}
suite=""      # of another release than this system's
headers=()    # the same for every processor: this one's packages serve
with_needed=no  # the packages that they depend on too
unpacked=""   # a source package, whose files come to usr/src/NAME
case $kind in
  arm64) packages=(libc6-dev libstdc++6 libgcc-s1 libhwy-dev nlohmann-json3-dev libcli11-dev
                   libjpeg-dev libpng-dev zlib1g-dev libwebp-dev libtiff-dev libheif-dev
                   libde265-dev libavif-dev libjxl-dev libcurl4-openssl-dev libssl-dev libboost-dev
                   libxxhash-dev libarchive-dev libsqlite3-dev libgtest-dev libstb-dev)
         with_needed=yes ;;
  riscv64) packages=()
           headers=(libhwy-dev nlohmann-json3-dev libcli11-dev libxxhash-dev libstb-dev) ;;
  portable-*)
    packages=(libjpeg62-turbo-dev libpng-dev zlib1g-dev libwebp-dev libxxhash-dev libsqlite3-dev
              libssl-dev libcurl4-openssl-dev)
    headers=(libboost1.74-dev nlohmann-json3-dev libcli11-dev)
    case $arch in
      amd64) unpacked=highway ;;  # Debian has no archive of it
      arm64) headers+=(libhwy-dev) ;;
      riscv64) headers+=(libhwy-dev); suite=trixie
               packages+=(libsharpyuv-dev libzstd-dev) ;;  # OpenSSL calls the latter
    esac ;;
  old-*) packages=(libc6)
         suite=bullseye
         if [ "$arch" = riscv64 ]; then packages=(libc6-riscv64-cross); arch=$this_arch; fi ;;
  *) echo "make-sysroot.sh: '$kind' is unknown; its head lists what is known" >&2; exit 2 ;;
esac
packages+=("$@")

stamp=$folder/.packages
wanted="${packages[*]} ${headers[*]} $unpacked"
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "This is no Debian or Ubuntu system: fill $folder by hand with the files of $wanted." >&2
  exit 1
fi
echo "Unpacking $wanted for $kind into $folder"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/new"
info=$work/new/var/lib/dpkg/info
mkdir -p "$info"

# This system's own sources for an architecture and, where it is named, another suite.
sources() {  # ARCH SUITE [deb-src]
  if [ -n "${BLIP_CROSS_SOURCES:-}" ] && [ "$1" != "$this_arch" ]; then
    cat "$BLIP_CROSS_SOURCES"
    return
  fi
  local origin
  origin=$(. /etc/os-release && [ "$ID" = ubuntu ] && echo Ubuntu || echo Debian)
  apt-get indextargets --format "${3:-deb} [arch=$1] \$(SITE) \$(RELEASE) \$(COMPONENT)" \
    'Created-By: Packages' "Origin: $origin" | sort -u |
    if [ -n "$2" ]; then awk -v suite="$2" '$4 !~ /-/ { $4 = suite; print }' | sort -u; else cat; fi
}

# Downloads packages of an architecture into $work/debs: download ARCH SUITE WITH_NEEDED PACKAGE...
# WITH_NEEDED: yes, no, or source for a source package.
download() {
  local arch=$1 suite=$2 with_needed=$3 apt=$work/apt kind=deb
  shift 3
  if [ "$with_needed" = source ]; then kind=deb-src; fi
  rm -rf "$apt" "$work/debs"
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$work/debs"
  touch "$apt/status"
  sources "$arch" "$suite" $kind >"$apt/sources.list"
  if [ ! -s "$apt/sources.list" ]; then  # no lists yet: a new machine
    if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    sources "$arch" "$suite" $kind >"$apt/sources.list"
  fi
  cat >"$apt/apt.conf" <<END
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
END
  if ! APT_CONFIG=$apt/apt.conf apt-get update -qq; then
    echo "No package lists for $arch: does the mirror have it? See the head of $0 for Ubuntu." >&2
    exit 1
  fi
  cd "$work/debs"
  case $with_needed in
    yes)
      APT_CONFIG=$apt/apt.conf apt-get install -y -qq --download-only --no-install-recommends \
        "$@" >/dev/null
      mv "$apt"/cache/archives/*.deb . ;;
    no) APT_CONFIG=$apt/apt.conf apt-get download -qq "$@" ;;
    source) APT_CONFIG=$apt/apt.conf apt-get source -qq --download-only "$@" >/dev/null ;;
  esac
}

if [ ${#headers[@]} -gt 0 ]; then
  download "$this_arch" "" no "${headers[@]}"
  for deb in *.deb; do dpkg-deb -x "$deb" "$work/new"; done
  rm -rf "$work"/new/usr/lib "$work"/new/usr/bin  # no library of this machine may be found there
fi
if [ ${#packages[@]} -gt 0 ]; then
  download "$arch" "$suite" "$with_needed" "${packages[@]}"
  for deb in *.deb; do
    dpkg-deb -x "$deb" "$work/new"
    name=$(dpkg-deb -f "$deb" Package)
    # Which package a library is from and which versions of it serve, for the dependencies of our
    # own package.
    dpkg-deb --ctrl-tarfile "$deb" | tar -x -C "$work" --wildcards './shlibs' 2>/dev/null &&
      mv "$work/shlibs" "$info/$name.shlibs"
    printf '%s %s\n' "$name" "$(dpkg-deb -f "$deb" Version)" >>"$info/versions"
  done
fi

if [ -n "$unpacked" ]; then
  download "$this_arch" "" source "$unpacked"
  mkdir -p "$work/new/usr/src/$unpacked"
  tar -xf ./*.orig.tar.* -C "$work/new/usr/src/$unpacked" --strip-components 1
fi

# What comes with cross compilers lies in a root folder of its own.
for root in "$work"/new/usr/*-linux-gnu; do
  if [ -d "$root" ]; then mv "$root"/* "$work/new"; fi
done

# Debian 13's packages leave the links of the root folder to the system that they are installed on.
if [ ! -e "$work/new/lib" ] && [ -d "$work/new/usr/lib" ]; then ln -s usr/lib "$work/new/lib"; fi

# Links must stay inside the folder.
cd "$work/new"
find . -type l -lname '/*' -printf '%p\n' | while read -r link; do
  ln -sfnr ".$(readlink "$link")" "$link"
done
printf '%s' "$wanted" >"$work/new/.packages"
rm -rf "$folder"
mv "$work/new" "$folder"
