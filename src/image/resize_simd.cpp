// Compiles the vector passes for every instruction set the compiler knows and picks one at run
// time.
#include "core/vector_targets.h"  // before Highway
#include "image/resize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "image/resize_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "image/resize-inl.h"

#if HWY_ONCE
namespace blip::image {

HWY_EXPORT(kernels);

ResizeKernels vector_kernels() { return HWY_DYNAMIC_DISPATCH(kernels)(); }

Rgb resize_bicubic(const Rgb& source, int width, int height) {
  return resize_bicubic(source, width, height, vector_kernels());
}

}  // namespace blip::image
#endif
