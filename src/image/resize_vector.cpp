#include "image/resize.h"
namespace blip::image {

// The vector passes follow; until then both names mean the plain one.
ResizeKernels vector_kernels() { return scalar_kernels(); }

}
