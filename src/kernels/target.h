// Functions between BLIP_TARGET_BEGIN("avx512f,...") and BLIP_TARGET_END are compiled for those
// instructions, whatever the build's own instruction set; callers ask kernels/isa.h first.
#pragma once

#define BLIP_TEXT(...) #__VA_ARGS__
#if defined(__clang__)
#define BLIP_TARGET_BEGIN(isa) \
  _Pragma(BLIP_TEXT(clang attribute push(__attribute__((target(isa))), apply_to = function)))
#define BLIP_TARGET_END _Pragma("clang attribute pop")
#else
#define BLIP_TARGET_BEGIN(isa) _Pragma("GCC push_options") _Pragma(BLIP_TEXT(GCC target(isa)))
#define BLIP_TARGET_END _Pragma("GCC pop_options")
#endif
