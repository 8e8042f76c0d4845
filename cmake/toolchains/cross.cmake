# What the cross toolchains share. The including file sets: cross_processor, cross_triplet,
# cross_sysroot (the folder of scripts/make-sysroot.sh) and cross_loader (where qemu finds the C
# library).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${cross_processor})
set(CMAKE_C_COMPILER ${cross_triplet}-gcc)
set(CMAKE_CXX_COMPILER ${cross_triplet}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${cross_triplet})
set(CMAKE_FIND_ROOT_PATH ${cross_sysroot})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${cross_sysroot})
set(ENV{PKG_CONFIG_LIBDIR}
    ${cross_sysroot}/usr/lib/${cross_triplet}/pkgconfig:${cross_sysroot}/usr/share/pkgconfig)
# Tests and the completions' generator run through it.
find_program(qemu_${cross_processor} NAMES qemu-${cross_processor} qemu-${cross_processor}-static)
if(cross_processor STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
  set(CMAKE_CROSSCOMPILING_EMULATOR env)
elseif(qemu_${cross_processor})
  set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu_${cross_processor}} -L ${cross_loader})
endif()
