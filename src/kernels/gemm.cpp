#include "kernels/gemm.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>
#include <unordered_map>

#include "blip/error.h"
#include "core/aligned.h"

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

// Everything a compiled product depends on.
using Key = std::array<std::int64_t, 8>;

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
  const auto rows = [](int r, int c, std::size_t stride) {
    return memory::desc({r, c}, type::f32, memory::dims{static_cast<memory::dim>(stride), 1});
  };
  Product p;
  p.x = rows(t.m, t.k, t.ldx);
  p.w = rows(t.k, t.n, t.ldw);
  p.out = rows(t.m, t.n, t.ldo);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post;
  if (t.epilogue == Epilogue::kGelu) post.append_eltwise(1.f, dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f);
  if (t.epilogue == Epilogue::kAdd) post.append_sum(1.f);
  attributes.set_post_ops(post);
  dnnl::matmul::primitive_desc pd;
  if (t.bias) {
    p.bias = memory::desc({1, t.n}, type::f32, memory::format_tag::ab);
    pd = dnnl::matmul::primitive_desc(dnnl::matmul::desc(p.x, p.w, p.bias, p.out), attributes, engine());
  } else {
    pd = dnnl::matmul::primitive_desc(dnnl::matmul::desc(p.x, p.w, p.out), attributes, engine());
  }
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
  const Key key{t.m, t.n, t.k, static_cast<std::int64_t>(t.ldx), static_cast<std::int64_t>(t.ldw), static_cast<std::int64_t>(t.ldo),
                static_cast<std::int64_t>(t.epilogue), t.bias != nullptr};
  {
    const std::shared_lock lock(mutex);
    if (const auto it = cache.find(key); it != cache.end()) return it->second;
  }
  auto product = std::make_shared<const Product>(compile(t));
  const std::unique_lock lock(mutex);
  if (cache.size() >= kMaxProducts) cache.clear();
  return cache.emplace(key, std::move(product)).first->second;
}

}  // namespace

void gemm(const GemmTile& t) {
  const SingleThread single;
  try {
    const auto p = find_or_compile(t);
    const auto view = [](const memory::desc& d, const void* data) { return memory(d, engine(), const_cast<void*>(data)); };
    static thread_local AlignedArray<std::byte> scratch;
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, view(p->x, t.x)},
                                              {DNNL_ARG_WEIGHTS, view(p->w, t.w)},
                                              {DNNL_ARG_DST, view(p->out, t.out)},
                                              {DNNL_ARG_SCRATCHPAD, view(p->scratchpad, scratch.reserve(p->scratchpad.get_size()))}};
    if (t.bias) arguments.emplace(DNNL_ARG_BIAS, view(p->bias, t.bias));
    p->primitive.execute(stream(), arguments);
    stream().wait();
  } catch (const dnnl::error& e) {
    throw Error(ErrorCode::kDevice, std::string("oneDNN could not multiply [") + std::to_string(t.m) + ", " + std::to_string(t.k) + "] x [" +
                                        std::to_string(t.k) + ", " + std::to_string(t.n) + "]: " + e.what());
  }
}

}  // namespace blip::kernels
