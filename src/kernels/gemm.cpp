#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "blip/error.h"
#include "core/aligned.h"
#include "core/large_memory.h"
#include "kernels/gemm_amx.h"
#include "kernels/gemm_avx512.h"
#include "kernels/isa.h"
#include "kernels/narrow_bf16.h"
#include "kernels/vector.h"

// From the OpenMP runtime that Debian's oneDNN uses.
extern "C" void omp_set_num_threads(int);
extern "C" int omp_get_max_threads(void);

namespace blip::kernels {
namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

dnnl::stream& stream() {
  static thread_local dnnl::stream s(engine());
  return s;
}

// oneDNN splits work by the calling thread's OpenMP setting; this one wants no split. A caller's own setting is put back.
class SingleThread {
 public:
  SingleThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~SingleThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_;
};

using Tag = memory::format_tag;

memory::data_type data_type(NumberType type, bool left) {
  using Type = memory::data_type;
  return type == NumberType::kF32 ? Type::f32 : type == NumberType::kBf16 ? Type::bf16 : left ? Type::u8 : Type::s8;
}

memory::desc weights_desc(NumberType type, int k, int n, int ldw, bool blocked) {
  if (!blocked) return memory::desc({k, n}, data_type(type, false), memory::dims{ldw, 1});
  const Tag tag = type == NumberType::kF32 ? Tag::BA16a64b : type == NumberType::kBf16 ? Tag::BA16a64b2a : Tag::BA16a64b4a;
  return memory::desc({k, n}, data_type(type, false), tag);
}

// A product's primitive; bias may be null. oneDNN 3 (newer distributions) lost the operation
// descriptors of oneDNN 2 (Debian 12).
dnnl::matmul::primitive_desc describe(const memory::desc& x, const memory::desc& w, const memory::desc* bias, const memory::desc& out,
                                      const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  return bias ? dnnl::matmul::primitive_desc(engine(), x, w, *bias, out, attributes) : dnnl::matmul::primitive_desc(engine(), x, w, out, attributes);
#else
  const auto operation = bias ? dnnl::matmul::desc(x, w, *bias, out) : dnnl::matmul::desc(x, w, out);
  return dnnl::matmul::primitive_desc(operation, attributes, engine());
#endif
}

void append_gelu(dnnl::post_ops& post) {
#if DNNL_VERSION_MAJOR >= 3
  post.append_eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f);
#else
  post.append_eltwise(1.f, dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f);
#endif
}

// Whether oneDNN has kernels for the blocked layout on this machine; it would take them for its slow reference code otherwise.
bool has_blocked_kernels(NumberType type) {
  try {
    const memory::desc x({32, 64}, data_type(type, true), Tag::ab);
    const memory::desc out({32, 64}, type == NumberType::kInt8 ? memory::data_type::s32 : memory::data_type::f32, Tag::ab);
    const auto pd = describe(x, weights_desc(type, 64, 64, 64, true), nullptr, out, {});
    return std::string_view(pd.impl_info_str()).starts_with("brg");
  } catch (const dnnl::error&) {
    return false;
  }
}

bool use_blocked(NumberType type) {
  isa();  // its limit is set before oneDNN is asked
  static const std::array<bool, 3> has{has_blocked_kernels(NumberType::kF32), has_blocked_kernels(NumberType::kBf16), has_blocked_kernels(NumberType::kInt8)};
  return has[static_cast<std::size_t>(type)];
}

// Everything a compiled product depends on.
using Key = std::array<std::int64_t, 9>;

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const auto v : key) h = (h ^ static_cast<std::uint64_t>(v)) * 0x100000001b3u;
    return static_cast<std::size_t>(h ^ (h >> 29));
  }
};

struct Product {
  dnnl::matmul primitive;
  memory::desc x, w, bias, out, scratchpad;
};

Product compile(const GemmTile& t) {
  using type = memory::data_type;
  const NumberType number = t.w->type();
  const auto rows = [](int r, int c, std::size_t stride, type element) {
    return memory::desc({r, c}, element, memory::dims{static_cast<memory::dim>(stride), 1});
  };
  Product p;
  p.x = rows(t.m, t.w->k(), static_cast<std::size_t>(t.w->k()), data_type(number, true));
  p.w = weights_desc(number, t.w->k(), t.n, t.w->n(), t.w->blocked());
  p.out = rows(t.m, t.n, t.ldo, t.out_bf16 ? type::bf16 : number == NumberType::kInt8 ? type::s32 : type::f32);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post;
  if (t.epilogue == Epilogue::kGelu) append_gelu(post);
  if (t.epilogue == Epilogue::kAdd) post.append_sum(1.f);
  attributes.set_post_ops(post);
  if (t.bias) p.bias = memory::desc({1, t.n}, type::f32, memory::format_tag::ab);
  const auto pd = describe(p.x, p.w, t.bias ? &p.bias : nullptr, p.out, attributes);
  p.scratchpad = pd.scratchpad_desc();
  p.primitive = dnnl::matmul(pd);
  return p;
}

// Compiled products by shape. Shapes repeat (layers, tokens), but a server's batches vary, so the cache is bounded; it is
// simply emptied when full, products in use live on through their shared_ptr.
std::shared_ptr<const Product> find_or_compile(const GemmTile& t) {
  constexpr std::size_t kMaxProducts = 4096;
  static std::shared_mutex mutex;
  static std::unordered_map<Key, std::shared_ptr<const Product>, KeyHash> cache;
  const Key key{t.m, t.n, t.w->k(), t.w->blocked() ? 0 : t.w->n(), static_cast<std::int64_t>(t.ldo), static_cast<std::int64_t>(t.epilogue),
                t.bias != nullptr, static_cast<std::int64_t>(t.w->type()), t.out_bf16};
  {
    const std::shared_lock lock(mutex);
    if (const auto it = cache.find(key); it != cache.end()) return it->second;
  }
  auto product = std::make_shared<const Product>(compile(t));
  const std::unique_lock lock(mutex);
  if (cache.size() >= kMaxProducts) cache.clear();
  return cache.emplace(key, std::move(product)).first->second;
}

// Up to 64 rows -> blocks of [16, 64] units of 4 bytes (one float, two bfloat16 or four bytes), which follow one another: [units, 64]. The same
// transposition for all types. What completes a last unit and the last block is zero already.
void pack_block(const std::byte* rows, int count, std::size_t row_bytes, std::uint32_t* out) {
  constexpr std::size_t kUnit = 4;
  const std::size_t units = row_bytes / kUnit, rest = row_bytes % kUnit;
  if (rest == 0 && reinterpret_cast<std::uintptr_t>(rows) % kUnit == 0)
    return transpose_units(reinterpret_cast<const std::uint32_t*>(rows), units, count, static_cast<int>(units), out, kColumnBlock);
  for (int j = 0; j < count; ++j, rows += row_bytes)
    for (std::size_t u = 0; u * kUnit < row_bytes; ++u) std::memcpy(out + u * kColumnBlock + j, rows + u * kUnit, std::min(kUnit, row_bytes - u * kUnit));
}

// [count, k] -> columns of [k, n] in blocks that keep both sides' cache lines in L1.
template <class T>
void transpose(const T* rows, int count, int k, T* out, int n) {
  constexpr int kBlock = 32;
  for (int r0 = 0; r0 < count; r0 += kBlock)
    for (int c0 = 0; c0 < k; c0 += kBlock)
      for (int c = c0; c < std::min(c0 + kBlock, k); ++c)
        for (int r = r0; r < std::min(r0 + kBlock, count); ++r)
          out[static_cast<std::size_t>(c) * n + r] = rows[static_cast<std::size_t>(r) * k + c];
}

bool can_narrow(NumberType type, int k) { return type == NumberType::kBf16 && k % 2 == 0 && has_avx512_gemm(type); }

// Units of 4 bytes in a row, in whole lines.
int padded_units(NumberType type, int k) {
  constexpr int kLine = 64, kUnit = 4;
  return round_up(k * static_cast<int>(size_of(type)), kLine) / kUnit;
}

// Of kColumnBlock columns, if blocked.
std::size_t block_bytes(NumberType type, int k, Packing packing) {
  const int units = padded_units(type, k);
  return packing == Packing::kNarrow ? narrow_block_bytes(units) : static_cast<std::size_t>(units) * sizeof(std::uint32_t) * kColumnBlock;
}

}  // namespace

PackedWeights::PackedWeights(NumberType type, int n, int k, Packing packing)
    : type_(type), n_(n), k_(k), packing_(can_narrow(type, k) ? packing : Packing::kPlain), blocked_(use_blocked(type)), block_bytes_(block_bytes(type, k, packing_)),
      bytes_(blocked_ ? static_cast<std::size_t>((n + kColumnBlock - 1) / kColumnBlock) * block_bytes_ : static_cast<std::size_t>(n) * static_cast<std::size_t>(k) * size_of(type)),
      data_(allocate_zeros(bytes_)) {}

void PackedWeights::pack(int first, int count, const void* rows) {
  assert(first % kColumnBlock == 0 && first + count <= n_);
  const std::size_t row_bytes = static_cast<std::size_t>(k_) * size_of(type_);
  auto* out = const_cast<void*>(columns(first));
  if (blocked_) {
    for (int j = 0; j < count; j += kColumnBlock) {
      const auto* block = static_cast<const std::byte*>(rows) + static_cast<std::size_t>(j) * row_bytes;
      auto* to = static_cast<std::byte*>(out) + static_cast<std::size_t>(j / kColumnBlock) * block_bytes_;
      if (packing_ == Packing::kNarrow) {
        static thread_local AlignedArray<std::uint32_t> units;
        const int n = padded_units(type_, k_);
        const std::size_t values = static_cast<std::size_t>(n) * kColumnBlock;
        std::fill_n(units.reserve(values), values, 0u);
        pack_block(block, std::min(kColumnBlock, count - j), row_bytes, units.data());
        narrow_block(units.data(), n, to);
      } else {
        pack_block(block, std::min(kColumnBlock, count - j), row_bytes, reinterpret_cast<std::uint32_t*>(to));
      }
    }
    return;
  }
  switch (type_) {
    case NumberType::kF32: return transpose(static_cast<const float*>(rows), count, k_, static_cast<float*>(out), n_);
    case NumberType::kBf16: return transpose(static_cast<const std::uint16_t*>(rows), count, k_, static_cast<std::uint16_t*>(out), n_);
    case NumberType::kInt8: return transpose(static_cast<const std::int8_t*>(rows), count, k_, static_cast<std::int8_t*>(out), n_);
  }
}

const void* PackedWeights::columns(int first) const {
  assert(first % kColumnBlock == 0);
  if (!blocked_) return data_.get() + static_cast<std::size_t>(first) * size_of(type_);
  return data_.get() + static_cast<std::size_t>(first / kColumnBlock) * block_bytes_;
}

bool gemm_supports(NumberType type) {
  switch (type) {
    case NumberType::kF32: return true;
    case NumberType::kBf16: return has_isa(Isa::kAvx512Bf16);
    case NumberType::kInt8: return has_isa(Isa::kAvx512Vnni);
  }
  return false;
}

namespace {

void multiply(const GemmTile& t) {
  const SingleThread single;
  try {
    const auto p = find_or_compile(t);
    const auto view = [](const memory::desc& d, const void* data) { return memory(d, engine(), const_cast<void*>(data)); };
    static thread_local AlignedArray<std::byte> scratch;
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, view(p->x, t.x)},
                                              {DNNL_ARG_WEIGHTS, view(p->w, t.w->columns(t.first))},
                                              {DNNL_ARG_DST, view(p->out, t.out)},
                                              {DNNL_ARG_SCRATCHPAD, view(p->scratchpad, scratch.reserve(p->scratchpad.get_size()))}};
    if (t.bias) arguments.emplace(DNNL_ARG_BIAS, view(p->bias, t.bias));
    p->primitive.execute(stream(), arguments);
    stream().wait();
  } catch (const dnnl::error& e) {
    throw Error(ErrorCode::kDevice, std::string("oneDNN could not multiply [") + std::to_string(t.m) + ", " + std::to_string(t.w->k()) + "] x [" +
                                        std::to_string(t.w->k()) + ", " + std::to_string(t.n) + "]: " + e.what());
  }
}

// Sums into scratch, then finish() while they are in the L2 cache: 96 rows x 512 columns x 4 bytes = 192 KB.
void multiply_and_finish(const GemmTile& t) {
  constexpr int kColumns = 512;
  static thread_local AlignedArray<float> scratch;  // or int32
  for (int column = 0; column < t.n; column += kColumns) {
    const int n = std::min(kColumns, t.n - column);
    GemmTile part{.m = t.m, .n = n, .x = t.x, .w = t.w, .first = t.first + column, .out = nullptr, .ldo = static_cast<std::size_t>(n)};
    part.out = scratch.reserve(static_cast<std::size_t>(t.m) * static_cast<std::size_t>(n));
    multiply(part);
    finish({.sums = part.out, .lds = part.ldo, .rows = t.m, .n = n, .x_scales = t.x_scales, .x_offsets = t.x_offsets,
            .w_scales = t.w_scales ? t.w_scales + column : nullptr, .w_sums = t.w_sums ? t.w_sums + column : nullptr,
            .bias = t.bias ? t.bias + column : nullptr, .epilogue = t.epilogue,
            .out = static_cast<std::byte*>(t.out) + static_cast<std::size_t>(column) * (t.out_bf16 ? 2 : 4), .ldo = t.ldo, .out_bf16 = t.out_bf16});
  }
}

}  // namespace

// With one share a thread, weights are read once by each. In f32 half of 577 rows do not fit the L2 cache: two shares.
RowShares row_shares(NumberType type, int rows, int k) {
  constexpr int kTile = 16, kVectorRows = 6;
  if (has_amx_gemm(type, rows, k)) return {kTile, 1};
  return {kVectorRows, type == NumberType::kF32 ? 2 : 1};
}

void gemm(const GemmTile& t) {
  assert((t.w->type() == NumberType::kInt8) == (t.x_scales != nullptr) && !(t.out_bf16 && t.epilogue == Epilogue::kAdd));
  if (t.w->blocked() && has_amx_gemm(t.w->type(), t.m, t.w->k())) return gemm_amx(t);
  if (t.w->blocked() && has_avx512_gemm(t.w->type()) && static_cast<std::size_t>(t.w->k()) * size_of(t.w->type()) % 4 == 0) return gemm_avx512(t);
  // oneDNN's fast kernels write rows without gaps, and know no scale by token.
  const bool direct = t.w->type() != NumberType::kInt8 && (t.m == 1 || t.ldo == static_cast<std::size_t>(t.n));
  direct ? multiply(t) : multiply_and_finish(t);
}

}  // namespace blip::kernels
