#!/usr/bin/env bash
# How many instructions a 64-bit ARM processor executes for each multiply-add of a matrix product,
# by each of our levels of instructions and by the libraries that could do it: counted under
# qemu-user, as the difference of three products and one. A multiply-add of 4 floats is 0.25, a dot
# product of 16 bytes 0.0625, a matrix product of 32 bytes 0.031, of 16 bfloat16s 0.0625, with
# nothing else.
# usage: arm-gemm.sh [own]    (needs g++-aarch64-linux-gnu, qemu-user, 200 MB below build/ for the
# libraries, which `own` does without; takes some minutes)
set -euo pipefail
cd "$(dirname "$0")/.."

own=${1:-}
program=build/arm_gemm
if [ "$own" = own ]; then
  sysroot=build/sysroot/arm64
  scripts/make-sysroot.sh arm64 "$sysroot"
  others=(-DBLIP_OWN_ALONE)
else
  sysroot=build/sysroot/arm-gemm
  scripts/make-sysroot.sh arm64 "$sysroot" libdnnl-dev libopenblas-serial-dev
  blas=$sysroot/usr/lib/aarch64-linux-gnu/openblas-serial
  others=(-ldnnl "$blas/libopenblas.a" -lgomp)
fi
aarch64-linux-gnu-g++ --sysroot="$PWD/$sysroot" -O3 -DNDEBUG -std=c++20 -Isrc -Iinclude \
  bench/arm_gemm.cpp src/core/{error,large_memory}.cpp \
  src/kernels/{gemm,gemm_amx,gemm_avx512,gemm_panels,gemm_panels_arm,gemm_panels_vnni}.cpp \
  src/kernels/{isa,isa_arm,narrow_bf16,vector}.cpp -o "$program" -lhwy "${others[@]}"

executed() {  # LEVEL CORE LIBRARY M N K TIMES
  BLIP_FORCE_ISA=$1 OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=$2 \
    qemu-aarch64 -cpu max -singlestep -d exec,nochain -D /dev/stderr -L "$sysroot" \
    "$program" "${@:3}" 2>&1 >/dev/null |
    grep -c '^Trace'
}

per_term() {  # LEVEL CORE LIBRARY M N K
  local once thrice
  once=$(executed "$@" 1)
  thrice=$(executed "$@" 3)
  awk "BEGIN { printf \"%.3f\", ($thrice - $once) / 2 / ($4 * $5 * $6) }"
}

printf '%-28s %12s %12s %12s\n' 'instructions / multiply-add' '48x192x384' '3x768x192' '1x768x192'
while read -r name level core library; do
  if [ "$own" = own ] && [ "$core" != - ]; then continue; fi
  printf '%-28s' "$name"
  for shape in '48 192 384' '3 768 192' '1 768 192'; do
    # shellcheck disable=SC2086
    printf ' %12s' "$(per_term "$level" "${core/-/ARMV8}" "$library" $shape)"
  done
  printf '\n'
done <<'END'
f32 neon - f32
bf16,NEON neon - bf16
bf16,BFMMLA bf16 - bf16
int8,NEON neon - int8
int8,SDOT dotprod - int8
int8,SMMLA i8mm - int8
OpenBLAS-ARMV8 neon ARMV8 openblas
OpenBLAS-NEOVERSEN1 neon NEOVERSEN1 openblas
OpenBLAS-CORTEXA53 neon CORTEXA53 openblas
oneDNN neon ARMV8 onednn
END
