# What the portable toolchains share: programs that need nothing of the system but its C library, of 2018
# or later. Debian's compilers compile as for any other build; Zig links, as it has the symbols of every
# release of the C library. The including file sets portable_processor and portable_arch (the name of
# scripts/make-portable.sh).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${portable_processor})
set(portable_glibc 2.27)
set(portable_triplet ${portable_processor}-linux-gnu)
get_filename_component(portable_build ${CMAKE_CURRENT_LIST_DIR}/../../build ABSOLUTE)
set(portable_sysroot ${portable_build}/sysroot/portable-${portable_arch})
set(CMAKE_C_COMPILER ${portable_triplet}-gcc)
set(CMAKE_CXX_COMPILER ${portable_triplet}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${portable_triplet})
set(CMAKE_FIND_ROOT_PATH ${portable_sysroot})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(OPENSSL_USE_STATIC_LIBS ON)
set(PKG_CONFIG_ARGN --static)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${portable_sysroot})
set(ENV{PKG_CONFIG_LIBDIR} ${portable_sysroot}/usr/lib/${portable_triplet}/pkgconfig:${portable_sysroot}/usr/share/pkgconfig)
# jconfig.h and the like.
set(CMAKE_CXX_FLAGS_INIT "-isystem ${portable_sysroot}/usr/include/${portable_triplet}")

# The C++ runtime and the compiler's own library come from Debian's compiler, as archives.
set(portable_runtime "")
foreach(archive libstdc++.a libgcc_eh.a libgcc.a)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=${archive} OUTPUT_VARIABLE portable_path OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(APPEND portable_runtime " ${portable_path}")
endforeach()
set(portable_link "${portable_build}/zig/bin/zig-cc -target ${portable_processor}-linux-gnu.${portable_glibc} -s -Wl,--gc-sections")
set(portable_libraries "<LINK_LIBRARIES> ${CMAKE_CURRENT_LIST_DIR}/newer_glibc.c ${portable_runtime} -ldl -lpthread -lm")
set(CMAKE_CXX_LINK_EXECUTABLE "${portable_link} <LINK_FLAGS> <OBJECTS> -o <TARGET> ${portable_libraries}")
set(CMAKE_CXX_CREATE_SHARED_LIBRARY "${portable_link} -shared <SONAME_FLAG><TARGET_SONAME> <LINK_FLAGS> <OBJECTS> -o <TARGET> ${portable_libraries}")

# Tests and the completions' generator run over an old C library.
find_program(qemu_${portable_processor} NAMES qemu-${portable_processor} qemu-${portable_processor}-static)
if(portable_processor STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
  set(CMAKE_CROSSCOMPILING_EMULATOR env)
elseif(qemu_${portable_processor})
  set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu_${portable_processor}} -L ${portable_build}/sysroot/old-${portable_arch})
endif()
