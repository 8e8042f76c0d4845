# What the portable toolchains share: programs that need nothing of the system but its C library, of
# 2018 or later. Debian's compilers compile as for any other build; Zig links, as it has the symbols
# of every release of the C library. The including file sets cross_processor and portable_arch (the
# name of scripts/make-portable.sh), and where its processor needs them portable_libraries (archives
# that others call) and portable_flags.
get_filename_component(portable_build ${CMAKE_CURRENT_LIST_DIR}/../../build ABSOLUTE)
set(portable_glibc 2.27)
set(cross_triplet ${cross_processor}-linux-gnu)
set(cross_sysroot ${portable_build}/sysroot/portable-${portable_arch})
set(cross_loader ${portable_build}/sysroot/old-${portable_arch})
include(${CMAKE_CURRENT_LIST_DIR}/cross.cmake)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(OPENSSL_USE_STATIC_LIBS ON)
set(PKG_CONFIG_ARGN --static)
# jconfig.h and the like.
set(CMAKE_CXX_FLAGS_INIT
    "-isystem ${cross_sysroot}/usr/include/${cross_triplet} ${portable_flags}")

# The C++ runtime and the compiler's own library come from Debian's compiler, as archives.
set(portable_runtime "")
foreach(archive libstdc++.a libgcc_eh.a libgcc.a)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=${archive}
                  OUTPUT_VARIABLE portable_path OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(APPEND portable_runtime " ${portable_path}")
endforeach()
string(JOIN " " portable_link ${portable_build}/zig/bin/zig-cc
       -target ${cross_processor}-linux-gnu.${portable_glibc} -s -Wl,--gc-sections)
list(TRANSFORM portable_libraries PREPEND ${cross_sysroot}/usr/lib/${cross_triplet}/)
string(JOIN " " portable_end -o <TARGET> <LINK_LIBRARIES>
       ${CMAKE_CURRENT_LIST_DIR}/newer_glibc.c ${portable_libraries} ${portable_runtime}
       -ldl -lpthread -lm)
set(CMAKE_CXX_LINK_EXECUTABLE "${portable_link} <LINK_FLAGS> <OBJECTS> ${portable_end}")
# For the runtime of tests/sophon/fake, which programs load.
set(CMAKE_CXX_CREATE_SHARED_LIBRARY
    "${portable_link} -shared <SONAME_FLAG><TARGET_SONAME> <LINK_FLAGS> <OBJECTS> ${portable_end}")
