// One matrix product, out[m, n] = x[m, k] W[n, k]', by one of the libraries that could do it on
// 64-bit ARM; see arm-gemm.sh. usage: arm_gemm own|openblas|onednn M N K TIMES
#include <cstdio>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

#include "kernels/gemm.h"

extern "C" void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                            const float* a, int lda, const float* b, int ldb, float beta, float* c,
                            int ldc);
extern "C" char* openblas_get_corename();

int main(int count, char** arguments) {
  if (count != 6) return 2;
  const std::string library = arguments[1];
  const int m = std::atoi(arguments[2]), n = std::atoi(arguments[3]), k = std::atoi(arguments[4]),
            times = std::atoi(arguments[5]);
  const auto size = [](int a, int b) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
  };
  std::vector<float> x(size(m, k), 1.f), w(size(n, k), 1.f), out(size(m, n));
  if (library == "own") {
    using namespace blip::kernels;
    PackedWeights packed(NumberType::kF32, n, k);
    packed.pack(0, n, w.data());
    for (int i = 0; i < times; ++i)
      gemm({.m = m,
            .n = n,
            .x = x.data(),
            .w = &packed,
            .out = out.data(),
            .ldo = static_cast<std::size_t>(n)});
  } else if (library == "openblas") {
    std::fprintf(stderr, "%s\n", openblas_get_corename());
    for (int i = 0; i < times; ++i)
      cblas_sgemm(101, 111, 112, m, n, k, 1.f, x.data(), k, w.data(), k, 0.f, out.data(), n);
  } else {
    using namespace dnnl;
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
  }
  std::printf("%g\n", static_cast<double>(out.back()));  // k
}
