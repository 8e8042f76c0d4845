set(portable_arch x86_64)
set(cross_processor x86_64)
include(${CMAKE_CURRENT_LIST_DIR}/portable.cmake)
