#include "core/large_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "core/aligned.h"

namespace blip {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20;  // of x86-64 and ARM64 alike
constexpr std::size_t kChunk = std::size_t{64}
                               << 20;  // of weights; what is not used of it costs addresses only

std::size_t round_to(std::size_t bytes, std::size_t multiple) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  return (bytes + multiple - 1) / multiple * multiple;
}

// An aligned range of pages, zero at first.
struct Pages {
  void* mapping = nullptr;
  std::size_t mapped = 0;
  std::byte* begin = nullptr;
  std::size_t size = 0;

  void unmap() const { ::munmap(mapping, mapped); }
};

Pages map(std::size_t bytes) {
  Pages p{.mapped = bytes + kPage, .size = bytes};
  p.mapping = ::mmap(nullptr, p.mapped, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p.mapping == MAP_FAILED) throw std::bad_alloc();
  const auto start = reinterpret_cast<std::uintptr_t>(p.mapping);
  p.begin = static_cast<std::byte*>(p.mapping) + (round_to(start, kPage) - start);
#ifdef MADV_HUGEPAGE
  ::madvise(p.begin, p.size,
            MADV_HUGEPAGE);  // a wish: without it the memory is as good, only slower
#endif
  return p;
}

struct Chunk {
  explicit Chunk(std::size_t bytes) : pages(map(bytes)) {}
  ~Chunk() { pages.unmap(); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  Pages pages;
  std::size_t used = 0;
};

// Pages of dropped arenas, the latest last. Never destroyed: an arena may outlive any static
// object.
class KeptPages {
 public:
  KeptPages() {
    kept_.reserve(kMost / kPage + 1);
  }  // giving back, in destructors, allocates nothing
  static KeptPages& instance() {
    static auto& kept = *new KeptPages;
    return kept;
  }

  // Any that fit without wasting as much again.
  Pages take_or_map(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      for (auto it = kept_.rbegin(); it != kept_.rend(); ++it) {
        if (it->size < bytes || it->size > 2 * bytes) continue;
        const Pages pages = *it;
        bytes_ -= pages.size;
        kept_.erase(std::next(it).base());
        return pages;
      }
    }
    return map(bytes);
  }

  std::size_t bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  std::size_t trim() {
    const std::lock_guard lock(mutex_);
    for (const Pages& pages : kept_) pages.unmap();
    kept_.clear();
    return std::exchange(bytes_, 0);
  }

  void give_back(const Pages& pages) {
    if (pages.size > kMost) return pages.unmap();
#ifdef MADV_FREE
    ::madvise(pages.begin, pages.size, MADV_FREE);
#endif
    const std::lock_guard lock(mutex_);
    kept_.push_back(pages);
    for (bytes_ += pages.size; bytes_ > kMost; kept_.erase(kept_.begin())) {
      bytes_ -= kept_.front().size;
      kept_.front().unmap();
    }
  }

 private:
  // keys and values of 8 pictures of BLIP-base
  static constexpr std::size_t kMost = std::size_t{192} << 20;

  std::mutex mutex_;
  std::vector<Pages> kept_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes) {
  constexpr std::size_t kSmall = std::size_t{64} << 10;
  if (bytes < kSmall) {
    auto memory =
        std::make_shared<AlignedArray<std::byte>>(std::max<std::size_t>(bytes, 1), std::byte{0});
    return {memory, memory->data()};
  }
  static std::mutex mutex;
  static std::weak_ptr<Chunk> current;
  const std::size_t needed = round_to(bytes, kAlignment);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Chunk> chunk = current.lock();
  if (!chunk || chunk->pages.size - chunk->used < needed) {
    chunk = std::make_shared<Chunk>(std::max(kChunk, round_to(needed, kPage)));
    current = chunk;
  }
  std::byte* memory = chunk->pages.begin + chunk->used;
  chunk->used += needed;
  return {chunk, memory};
}

struct Arena::Block {
  explicit Block(std::size_t bytes) : size(bytes) {
    // the allocator does these better
    if (bytes < kPage)
      small = AlignedArray<std::byte>(std::max<std::size_t>(bytes, 1));
    else
      pages = KeptPages::instance().take_or_map(round_to(bytes, kPage));
  }
  ~Block() {
    if (pages.mapping) KeptPages::instance().give_back(pages);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  std::byte* begin() { return pages.mapping ? pages.begin : small.data(); }

  std::size_t size;
  Pages pages;
  AlignedArray<std::byte> small;
};

std::size_t kept_arena_bytes() { return KeptPages::instance().bytes(); }
std::size_t trim_arenas() { return KeptPages::instance().trim(); }

Arena::Arena(std::size_t bytes) : block_(std::make_shared<Block>(bytes)) {}

std::shared_ptr<std::byte> Arena::carve(std::size_t bytes) {
  assert(used_ + bytes <= block_->size);
  std::byte* memory = block_->begin() + used_;
  used_ += round_to(bytes, kAlignment);
  return {block_, memory};
}

}  // namespace blip
