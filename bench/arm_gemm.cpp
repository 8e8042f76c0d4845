// One matrix product, out[m, n] = x[m, k] W[n, k]', by one of the libraries that could do it on
// 64-bit ARM; see arm-gemm.sh. Ours in each number type, by the instructions that BLIP_FORCE_ISA
// allows. usage: arm_gemm f32|bf16|int8|openblas|onednn M N K TIMES
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/gemm.h"

#if !defined(BLIP_OWN_ALONE)
#include <oneapi/dnnl/dnnl.hpp>

extern "C" void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                            const float* a, int lda, const float* b, int ldb, float beta, float* c,
                            int ldc);
extern "C" char* openblas_get_corename();
#endif

namespace {

using namespace blip::kernels;

std::size_t size(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

// All values are 1.
void own(NumberType type, int m, int n, int k, int times, float* out) {
  const auto ones = [&](int rows) {
    constexpr std::uint8_t kOne[] = {0, 0, 0x80, 0x3f};  // its upper half is that of bfloat16
    std::vector<std::uint8_t> values(size(rows, k) * size_of(type), 1);
    for (std::size_t i = 0; type != NumberType::kInt8 && i < values.size(); ++i)
      values[i] = kOne[type == NumberType::kF32 ? i % 4 : 2 + i % 2];
    return values;
  };
  const auto x = ones(m), w = ones(n);
  const std::vector<float> scales(static_cast<std::size_t>(m + n), 1.f),
      zeros(static_cast<std::size_t>(m + n), 0.f);
  const bool bytes = type == NumberType::kInt8;
  PackedWeights packed(type, n, k);
  packed.pack(0, n, w.data());
  for (int i = 0; i < times; ++i) WorkerScratch memory(1);
  gemm({.m = m,
        .n = n,
        .x = x.data(),
        .w = &packed,
        .x_scales = bytes ? scales.data() : nullptr,
        .x_offsets = bytes ? zeros.data() : nullptr,
        .w_scales = bytes ? scales.data() : nullptr,
        .w_sums = bytes ? zeros.data() : nullptr,
        .out = out,
        .ldo = static_cast<std::size_t>(n),
        .scratch = Scratch(memory, 0)});
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) return 2;
  const std::string library = arguments[1];
  const int m = std::atoi(arguments[2]), n = std::atoi(arguments[3]), k = std::atoi(arguments[4]),
            times = std::atoi(arguments[5]);
  std::vector<float> out(size(m, n));
  if (library == "f32" || library == "bf16" || library == "int8") {
    own(library == "f32"    ? NumberType::kF32
        : library == "bf16" ? NumberType::kBf16
                            : NumberType::kInt8,
        m, n, k, times, out.data());
#if !defined(BLIP_OWN_ALONE)
  } else if (library == "openblas") {
    std::vector<float> x(size(m, k), 1.f), w(size(n, k), 1.f);
    std::fprintf(stderr, "%s\n", openblas_get_corename());
    for (int i = 0; i < times; ++i)
      cblas_sgemm(101, 111, 112, m, n, k, 1.f, x.data(), k, w.data(), k, 0.f, out.data(), n);
  } else if (library == "onednn") {
    using namespace dnnl;
    std::vector<float> x(size(m, k), 1.f), w(size(n, k), 1.f);
    const engine cpu(engine::kind::cpu, 0);
    stream queue(cpu);
    const auto desc = [](int rows, int cols) {
      return memory::desc({rows, cols}, memory::data_type::f32, memory::format_tag::ab);
    };
    const matmul product(
        matmul::primitive_desc(matmul::desc(desc(m, k), desc(k, n), desc(m, n)), cpu));
    for (int i = 0; i < times; ++i) {
      product.execute(queue, {{DNNL_ARG_SRC, memory(desc(m, k), cpu, x.data())},
                              {DNNL_ARG_WEIGHTS, memory(desc(k, n), cpu, w.data())},
                              {DNNL_ARG_DST, memory(desc(m, n), cpu, out.data())}});
      queue.wait();
    }
#endif
  } else {
    return 2;
  }
  std::printf("%g\n", static_cast<double>(out.back()));  // k
}
