// The products of BLIP-base's vision tower (577 rows), layer by layer: ours with everything that
// belongs to them (scales, bias, GELU, addition, rounding), and oneDNN's matmul over the same
// packed weights, in f32 and bfloat16 with all of it too, in 8 bits the sums alone. Built by `cmake
// --build --preset release --target bench_layers`.
//   build/release/bench/bench_layers [--threads N] [--rows N] [--type f32|bf16|int8]
// The text models' layers are of the same sizes: --rows 1 is a token's, with as many copies of the
// weights as it takes to come from memory.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/resources.h"
#include "core/thread_pool.h"
#include "kernels/isa.h"
#include "kernels/machine_speed.h"
#include "ops/attention.h"
#include "ops/linear.h"

extern "C" void omp_set_num_threads(int);

namespace {

using namespace blip;
using kernels::NumberType;

constexpr int kTowerRows = 577, kFewRows = 32, kWidth = 768, kRuns = 15;
// of each layer's weights, so that they come from memory, as a model's do
constexpr int kCopies = 4;
// where rows are few: more than caches hold
constexpr std::size_t kCopiedBytes = std::size_t{96} << 20;

struct Layer {
  const char* name;
  int in, out;
};
constexpr Layer kLayers[] = {{"queries, keys, values", kWidth, 3 * kWidth},
                             {"output", kWidth, kWidth},
                             {"fc1, GELU", kWidth, 4 * kWidth},
                             {"fc2", 4 * kWidth, kWidth}};

// With one thread its own CPU time, and the least: what others on the machine take only adds to it.
int clock_threads = 1;
double now_ms() {
  timespec now;
  clock_gettime(clock_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  if (clock_threads == 1) return *std::min_element(values.begin(), values.end());
  std::nth_element(values.begin(), values.begin() + kRuns / 2, values.end());
  return values[kRuns / 2];
}

template <class Before, class Work>
double median_ms(const Before& before, const Work& work) {
  std::vector<double> times;
  for (int run = -2; run < kRuns; ++run) {  // two to warm up
    before(run);
    const double start = now_ms();
    work();
    if (run >= 0) times.push_back(now_ms() - start);
  }
  return median(std::move(times));
}

template <class Work>
double median_ms(const Work& work) {
  return median_ms([](int) {}, work);
}

std::vector<float> random_values(std::size_t n, float scale) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.f, scale);
  std::vector<float> values(n);
  for (float& v : values) v = normal(generator);
  return values;
}

void ours(ThreadPool& pool, const Layer& layer, const ops::Operand& x, const ops::Linear& weights,
          ops::OperandBuffer& out, Matrix residual) {
  const NumberType rounded =
      weights.type() == NumberType::kF32 ? NumberType::kF32 : NumberType::kBf16;
  if (layer.out == 4 * kWidth)
    ops::linear_gelu(pool, x, weights, out);
  else if (layer.out == 3 * kWidth)
    ops::linear_as(pool, x, weights, rounded, out);
  else
    ops::linear(pool, x, weights, residual, ops::Epilogue::kAdd);
}

// A share of the rows by oneDNN on the calling thread; its weights as PackedWeights lays them out.
class OneDnn {
 public:
  OneDnn(const Layer& layer, NumberType type, int rows) {
    using dnnl::memory;
    using Type = memory::data_type;
    using Tag = memory::format_tag;
    const bool int8 = type == NumberType::kInt8, bf16 = type == NumberType::kBf16;
    x_ = memory::desc({rows, layer.in}, int8 ? Type::u8 : bf16 ? Type::bf16 : Type::f32, Tag::ab);
    w_ = memory::desc({layer.in, layer.out},
                      int8   ? Type::s8
                      : bf16 ? Type::bf16
                             : Type::f32,
                      int8   ? Tag::BA16a64b4a
                      : bf16 ? Tag::BA16a64b2a
                             : Tag::BA16a64b);
    const bool add = layer.out == kWidth;
    out_ = memory::desc({rows, layer.out},
                        int8           ? Type::s32
                        : bf16 && !add ? Type::bf16
                                       : Type::f32,
                        Tag::ab);
    bias_ = memory::desc({1, layer.out}, int8 ? Type::s32 : Type::f32, Tag::ab);
    dnnl::post_ops post;
#if DNNL_VERSION_MAJOR >= 3
    if (!int8 && layer.out == 4 * kWidth)
      post.append_eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f);
#else
    if (!int8 && layer.out == 4 * kWidth)
      post.append_eltwise(1.f, dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f);
#endif
    if (!int8 && add) post.append_sum(1.f);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(post);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc description(engine_, x_, w_, bias_, out_, attributes);
#else
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(x_, w_, bias_, out_),
                                                   attributes, engine_);
#endif
    name_ = description.impl_info_str();
    product_ = dnnl::matmul(description);
  }
  const std::string& name() const { return name_; }
  void multiply(const void* x, const void* w, const float* bias, float* out) const {
    omp_set_num_threads(1);
    dnnl::stream stream(engine_);
    const auto view = [&](const dnnl::memory::desc& d, const void* data) {
      return dnnl::memory(d, engine_, const_cast<void*>(data));
    };
    product_.execute(stream, {{DNNL_ARG_SRC, view(x_, x)},
                              {DNNL_ARG_WEIGHTS, view(w_, w)},
                              {DNNL_ARG_BIAS, view(bias_, bias)},
                              {DNNL_ARG_DST, view(out_, out)}});
    stream.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::memory::desc x_, w_, bias_, out_;
  dnnl::matmul product_;
  std::string name_;
};

void measure_layer(ThreadPool& pool, NumberType type, ops::Packing packing, const char* type_name,
                   const Layer& layer, int rows, kernels::MemorySpeed& memory, double peak) {
  const auto weight = random_values(static_cast<std::size_t>(layer.in) * layer.out, 0.02f),
             values = random_values(static_cast<std::size_t>(rows) * layer.in, 1.f);
  const int number =
      rows > kFewRows ? kCopies
                      : static_cast<int>(kCopiedBytes / (weight.size() * kernels::size_of(type)));
  const std::vector<float> bias(static_cast<std::size_t>(layer.out), 0.1f);
  std::vector<ops::Linear> copies;
  for (int i = 0; i < number; ++i)
    copies.emplace_back(
        pool,
        [&](int first, int count, float* out) {
          std::copy_n(weight.data() + static_cast<std::size_t>(first) * layer.in,
                      static_cast<std::size_t>(count) * layer.in, out);
        },
        bias, layer.in, layer.out, type, packing);
  const auto bytes = static_cast<double>(copies.front().weights().bytes());
  ops::OperandBuffer x_buffer, out;
  const ops::Operand x =
      ops::to_operand(pool, ConstMatrix(values.data(), rows, layer.in), type, x_buffer);
  AlignedArray<float> residual(static_cast<std::size_t>(rows) * layer.out, 0.f);
  std::vector<double> bandwidths;  // at the same moments
  const double own =
      median_ms(
          [&](int run) {
            if (const double gb_s = memory.read_gb_s(); run >= 0) bandwidths.push_back(gb_s);
          },
          [&] {
            for (const auto& copy : copies)
              ours(pool, layer, x, copy, out, Matrix(residual.data(), rows, layer.out));
          }) /
      number;
  const double gops = 2e-6 * rows * layer.in * layer.out;
  std::printf("%-13s  %-22s  %7.3f ms  %6.0f Gop/s  %3.0f %%  %5.1f GB/s  %3.0f %%", type_name,
              layer.name, own, gops / own, 100 * gops / own / peak, 1e-6 * bytes / own,
              1e-4 * bytes / own / median(std::move(bandwidths)));
  // Shares of few rows would read all weights once a thread.
  if (packing == ops::Packing::kPlain && copies.front().weights().blocked() &&
      (rows > kFewRows || pool.size() == 1)) {
    const int share = (rows + pool.size() - 1) / pool.size(), threads = (rows + share - 1) / share;
    std::vector<std::unique_ptr<OneDnn>> parts;
    for (int t = 0; t < threads; ++t)
      parts.push_back(std::make_unique<OneDnn>(layer, type, std::min(share, rows - t * share)));
    const double theirs =
        median_ms([&] {
          for (const auto& copy : copies)
            pool.parallel_for(threads, [&](int t, int) {
              parts[static_cast<std::size_t>(t)]->multiply(
                  x.row(t * share), copy.weights().columns(0), bias.data(),
                  residual.data() + static_cast<std::size_t>(t) * share * layer.out);
            });
        }) /
        number;
    std::printf("  oneDNN %7.3f ms  %6.0f Gop/s (%s)", theirs, gops / theirs,
                parts.front()->name().c_str());
  }
  std::printf("\n");
}

// type kInt8: 8-bit keys, queries and values in bfloat16; the peak is bfloat16's then.
void measure_attention(ThreadPool& pool, NumberType type, const char* type_name, double peak) {
  constexpr int rows = kTowerRows, heads = kWidth / 64;
  const auto values = random_values(std::size_t{rows} * 3 * kWidth, 1.f);
  ops::OperandBuffer buffer;
  ops::KeyValues kv(heads, 64, rows, type);
  const ops::Operand qkv = ops::to_operand(pool, ConstMatrix(values.data(), rows, 3 * kWidth),
                                           kv.operand_type(), buffer);
  AlignedArray<float> out(std::size_t{rows} * kWidth);
  const ops::AttentionItem item{qkv.col_range(0, kWidth), &kv, Matrix(out.data(), rows, kWidth)};
  const double packing = median_ms([&] {
    kv.clear();
    ops::append(pool, kv, qkv.col_range(kWidth, kWidth), qkv.col_range(2 * kWidth, kWidth));
  });
  const double ms = median_ms([&] {
    ops::attention(pool, {&item, 1});
  }),
               gops = 4e-6 * rows * rows * kWidth;
  std::printf("%-13s  %-22s  %7.3f ms  %6.0f Gop/s  %3.0f %%  packing keys and values %.3f ms\n",
              type_name, "attention", ms, gops / ms, 100 * gops / ms / peak, packing);
}

}  // namespace

int main(int argc, char** argv) {
  int threads = available_cpus(), rows = kTowerRows;
  std::string only;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i], text = i + 1 < argc ? argv[i + 1] : "";
    const int value = std::atoi(text.c_str());
    if (option == "--type" && !text.empty()) {
      only = text;
    } else if (value < 1 || (option != "--rows" && option != "--threads")) {
      std::fprintf(stderr, "usage: bench_layers [--threads N] [--rows N] [--type TYPE]\n");
      return 2;
    } else {
      (option == "--rows" ? rows : threads) = value;
    }
  }
  clock_threads = threads;
  kernels::isa();
  ThreadPool pool(threads);
  kernels::MemorySpeed memory(pool);
  const MachineSpeed speed = kernels::measure_machine(pool, memory, pool.size());
  std::printf(
      "%s, %d threads; %d rows; peaks: f32 %.0f, bf16 %.0f, int8 %.0f Gop/s, memory %.0f GB/s\n",
      kernels::to_string(kernels::isa()), threads, rows, speed.f32_gops, speed.bf16_gops,
      speed.int8_gops, speed.read_gb_s);
  const struct {
    NumberType type;
    const char* name;
    double peak;
  } types[] = {{NumberType::kF32, "f32", speed.f32_gops},
               {NumberType::kBf16, "bf16", speed.bf16_gops},
               {NumberType::kInt8, "int8", speed.int8_gops}};
  for (const auto& [type, name, peak] : types) {
    if (!only.empty() && only != name) continue;
    for (const Layer& layer : kLayers)
      measure_layer(pool, type, ops::Packing::kPlain, name, layer, rows, memory, peak);
    if (type == NumberType::kBf16)
      for (const Layer& layer : kLayers)
        measure_layer(pool, type, ops::Packing::k12Bit, "bf16, 12 bits", layer, rows, memory, peak);
    const bool has_attention =
        type == NumberType::kF32 || type == NumberType::kBf16 || ops::has_byte_keys(64);
    if (rows == kTowerRows && has_attention)
      measure_attention(pool, type, name, type == NumberType::kInt8 ? speed.bf16_gops : peak);
  }
}
