# 64-bit ARM, with Debian's cross compiler and the libraries that scripts/make-sysroot.sh unpacked.
set(cross_processor aarch64)
set(cross_triplet aarch64-linux-gnu)
get_filename_component(cross_sysroot ${CMAKE_CURRENT_LIST_DIR}/../../build/sysroot/arm64 ABSOLUTE)
set(cross_loader ${cross_sysroot})
set(CMAKE_SYSROOT ${cross_sysroot})
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
