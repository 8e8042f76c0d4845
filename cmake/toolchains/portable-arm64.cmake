set(portable_arch arm64)
set(cross_processor aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/portable.cmake)
