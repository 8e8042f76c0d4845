// Keeps the process alive where a mapped file shrinks, or its disk fails, while it is read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace blip {

// While one lives, a page of `bytes` that the file no longer holds reads as zeros instead of
// raising SIGBUS, and damaged() is true from then on. `bytes` is a mapping of whole pages. Signals
// that belong to other memory go to the handler that was installed before, or end the process as
// they would without us. The handler is installed with the first guard and taken back with the
// last. Thread-safe. Throws std::bad_alloc.
class MappingGuard {
 public:
  explicit MappingGuard(std::span<const std::byte> bytes);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  bool damaged() const;

  struct Range;  // what the signal handler reads

 private:
  Range* range_;
};

}  // namespace blip
