#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that are missing, and nothing when all are there.
# usage: install-deps.sh GROUP...
# groups: build, test, bench, clients, browser, proxies, check, package, portable-ARCH, cross-arm64,
#         cross-riscv64
# What cross builds link is not installed but unpacked: make-sysroot.sh.
set -euo pipefail

packages=()
for group in "$@"; do
  case $group in
    build) packages+=(g++ cmake ninja-build pkg-config libhwy-dev nlohmann-json3-dev libcli11-dev
                      libjpeg-dev libpng-dev zlib1g-dev libwebp-dev libtiff-dev libheif-dev \
                          libde265-dev libavif-dev libjxl-dev
                      libcurl4-openssl-dev libssl-dev libboost-dev libxxhash-dev libarchive-dev \
                          libexiv2-dev libsqlite3-dev) ;;
    test) packages+=(libgtest-dev libstb-dev dpkg-dev python3 python3-pip python3-numpy \
        python3-pil python3-venv zstd) ;;
    clients) packages+=(python3-venv) ;;
    browser) packages+=(chromium) ;;
    # oneDNN's CMake package looks for OpenCL, which its Debian package does not bring.
    bench) packages+=(libdnnl-dev ocl-icd-opencl-dev) ;;
    check) packages+=(clang clang-format clang-tidy-14 libclang-rt-dev abigail-tools) ;;
    # For tests/server/test_proxies.py; Debian starts it as a service.
    proxies) packages+=(nginx-light) ;;
    package) packages+=(dpkg-dev) ;;
    portable-x86_64) packages+=(python3-venv) ;;
    portable-arm64) packages+=(python3-venv qemu-user g++-aarch64-linux-gnu) ;;
    portable-riscv64) packages+=(python3-venv qemu-user g++-riscv64-linux-gnu) ;;
    cross-arm64) packages+=(cmake ninja-build pkg-config python3 dpkg-dev qemu-user \
        g++-aarch64-linux-gnu) ;;
    cross-riscv64) packages+=(cmake ninja-build pkg-config python3 dpkg-dev qemu-user \
        g++-riscv64-linux-gnu) ;;
    *) echo "install-deps.sh: unknown group '$group'; its head lists them" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$'; then
    missing+=("$package")
  fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]}." \
    "This is no Debian or Ubuntu system: install their equivalents by hand." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages, and neither root nor sudo to install them. As root, run:" >&2
    echo "  apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
