set(portable_arch riscv64)
set(cross_processor riscv64)
include(${CMAKE_CURRENT_LIST_DIR}/portable.cmake)
