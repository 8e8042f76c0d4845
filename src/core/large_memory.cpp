#include "core/large_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>

#include "core/aligned.h"

namespace blip {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20;    // of x86-64 and ARM64 alike
constexpr std::size_t kChunk = std::size_t{64} << 20;  // what is not used of it costs addresses only

std::size_t round_to(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

struct Chunk {
  explicit Chunk(std::size_t bytes) : mapped(bytes + kPage) {
    void* address = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) throw std::bad_alloc();
    mapping = address;
    const auto start = reinterpret_cast<std::uintptr_t>(address);
    begin = static_cast<std::byte*>(address) + (round_to(start, kPage) - start);
    size = bytes;
#ifdef MADV_HUGEPAGE
    ::madvise(begin, size, MADV_HUGEPAGE);  // a wish: without it the memory is as good, only slower
#endif
  }
  ~Chunk() { ::munmap(mapping, mapped); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  void* mapping = nullptr;
  std::size_t mapped;
  std::byte* begin = nullptr;
  std::size_t size = 0, used = 0;
};

}  // namespace

std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes) {
  constexpr std::size_t kSmall = std::size_t{64} << 10;
  if (bytes < kSmall) {
    auto memory = std::make_shared<AlignedArray<std::byte>>(std::max<std::size_t>(bytes, 1), std::byte{0});
    return {memory, memory->data()};
  }
  static std::mutex mutex;
  static std::weak_ptr<Chunk> current;
  const std::size_t needed = round_to(bytes, kAlignment);
  if (needed < bytes || needed > SIZE_MAX / 2) throw std::bad_alloc();
  const std::lock_guard lock(mutex);
  std::shared_ptr<Chunk> chunk = current.lock();
  if (!chunk || chunk->size - chunk->used < needed) {
    chunk = std::make_shared<Chunk>(std::max(kChunk, round_to(needed, kPage)));
    current = chunk;
  }
  std::byte* memory = chunk->begin + chunk->used;
  chunk->used += needed;
  return {chunk, memory};
}

}  // namespace blip
