// Compiles the vector passes for every instruction set the compiler knows and picks one at run time.
#include "image/resize.h"

// Accumulators are kept in arrays, which vectors of unknown length cannot be; such machines use the fixed-length set.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "image/resize_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "image/resize-inl.h"

#if HWY_ONCE
namespace blip::image {

HWY_EXPORT(kernels);

ResizeKernels vector_kernels() { return HWY_DYNAMIC_DISPATCH(kernels)(); }

Rgb resize_bicubic(const Rgb& source, int width, int height) { return resize_bicubic(source, width, height, vector_kernels()); }

}  // namespace blip::image
#endif
