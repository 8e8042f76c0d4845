// Memory in pieces of megabytes, of large pages where the system has them. With pages of 4 KB a
// fifth of the memory's bandwidth is lost to finding them, and filling new ones takes longer than
// the work on them.
#pragma once

#include <cstddef>
#include <memory>

namespace blip {

// `bytes` of zeros for what a model keeps until it is dropped, aligned to kAlignment, carved from
// chunks that live as long as anything in them; small pieces have memory of their own. Thread-safe.
// Throws std::bad_alloc.
std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes);

// Memory for what comes and goes together, as a picture's keys and values do; not thread-safe, but
// what was carved may be used and dropped by any thread, and outlive the arena. The pages of a few
// dropped arenas are kept for the next ones, with leave for the system to take them back when it is
// short: new pages are cleared first and, on a virtual machine, may have to be fetched from its
// host.
class Arena {
 public:
  explicit Arena(std::size_t bytes);  // throws std::bad_alloc
  // The next `bytes`, aligned to kAlignment, of unknown content. All of them, each rounded up to
  // kAlignment, must fit.
  std::shared_ptr<std::byte> carve(std::size_t bytes);

 private:
  struct Block;
  std::shared_ptr<Block> block_;
  std::size_t used_ = 0;
};

// Of dropped arenas, kept for the next ones: so much, of the whole process; and gives it back,
// returning how much that was.
std::size_t kept_arena_bytes();
std::size_t trim_arenas();

}  // namespace blip
