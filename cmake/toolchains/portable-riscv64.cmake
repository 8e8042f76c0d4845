set(portable_arch riscv64)
set(cross_processor riscv64)
# Debian 13's OpenSSL unpacks with zstd. Exception tables of their own for functions: GCC's for
# RISC-V name the labels of functions that other files' copies replace, which lld refuses.
set(portable_libraries libzstd.a)
set(portable_flags -ffunction-sections)
include(${CMAKE_CURRENT_LIST_DIR}/portable.cmake)
