# 64-bit RISC-V, with Debian's cross compiler, its C library, and the headers that
# scripts/make-sysroot.sh unpacked.
set(cross_processor riscv64)
set(cross_triplet riscv64-linux-gnu)
get_filename_component(cross_sysroot ${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/riscv64 ABSOLUTE)
set(cross_loader /usr/${cross_triplet})
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
# Nothing but the C library is needed where it runs.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static-libstdc++ -static-libgcc")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-static-libstdc++ -static-libgcc")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-static-libstdc++ -static-libgcc")
# The processor has no atomic operations on bytes: they are functions of this library.
set(CMAKE_CXX_STANDARD_LIBRARIES_INIT
    "-Wl,--push-state,-Bstatic,--as-needed -latomic -Wl,--pop-state")
