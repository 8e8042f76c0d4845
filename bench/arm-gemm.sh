#!/usr/bin/env bash
# How many instructions a 64-bit ARM processor executes for each multiply-add of a matrix product,
# by the libraries that could do
# it: counted under qemu-user, as the difference of three products and one. NEON needs at least 0.25
# (four at a time).
# usage: arm-gemm.sh    (needs g++-aarch64-linux-gnu, qemu-user, 200 MB below build/; takes some
# minutes)
set -euo pipefail
cd "$(dirname "$0")/.."

sysroot=build/sysroot/arm-gemm
program=build/arm_gemm
scripts/make-sysroot.sh arm64 "$sysroot" libdnnl-dev libopenblas-serial-dev
blas=$sysroot/usr/lib/aarch64-linux-gnu/openblas-serial
aarch64-linux-gnu-g++ --sysroot="$PWD/$sysroot" -O3 -DNDEBUG -std=c++20 -Isrc -Iinclude \
    bench/arm_gemm.cpp \
  src/kernels/{gemm,gemm_amx,gemm_avx512,gemm_panels,gemm_panels_vnni}.cpp \
  src/kernels/{isa,isa_portable,narrow_bf16,vector}.cpp src/core/{error,large_memory}.cpp \
  -o "$program" -lhwy -ldnnl "$blas/libopenblas.a" -lgomp

executed() {  # CORE LIBRARY M N K TIMES
  OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=$1 qemu-aarch64 -singlestep -d exec,nochain -D /dev/stderr \
      -L "$sysroot" "$program" "${@:2}" 2>&1 >/dev/null |
    grep -c '^Trace'
}

per_term() {  # CORE LIBRARY M N K
  local once thrice
  once=$(executed "$@" 1)
  thrice=$(executed "$@" 3)
  awk "BEGIN { printf \"%.2f\", ($thrice - $once) / 2 / ($3 * $4 * $5) }"
}

printf '%-28s %12s %12s %12s\n' 'instructions / multiply-add' '48x192x384' '3x768x192' '1x768x192'
while read -r name core library; do
  printf '%-28s' "$name"
  for shape in '48 192 384' '3 768 192' '1 768 192'; do
    # shellcheck disable=SC2086
    printf ' %12s' "$(per_term "$core" "$library" $shape)"
  done
  printf '\n'
done <<'END'
own ARMV8 own
OpenBLAS-ARMV8 ARMV8 openblas
OpenBLAS-NEOVERSEN1 NEOVERSEN1 openblas
OpenBLAS-CORTEXA53 CORTEXA53 openblas
oneDNN ARMV8 onednn
END
