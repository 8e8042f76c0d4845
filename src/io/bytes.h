// Bounds-checked reading of little-endian bytes and overflow-checked sizes, for the file readers.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "blip/error.h"

namespace blip::io {

// Every format read here is little endian, as are all the machines we build for; a swap in each
// reader would be untestable.
static_assert(std::endian::native == std::endian::little, "blip::io needs a little-endian machine");

// a * b and a + b, or false where the result does not fit.
inline bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t* result) {
  return !__builtin_mul_overflow(a, b, result);
}
inline bool add(std::uint64_t a, std::uint64_t b, std::uint64_t* result) {
  return !__builtin_add_overflow(a, b, result);
}

// A value at an offset the caller has checked; any alignment.
template <typename T>
T load(const std::byte* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Text out of a file, made safe for an error message: in quotes, control and non-ASCII bytes
// escaped, truncated to 100 bytes.
std::string quote(std::string_view text);

// What a file that is none of our formats looks like (a Git LFS pointer, a web page); "" if nothing
// is known.
std::string hint_for(std::span<const std::byte> bytes);

// Walks over bytes from front to back. Reading past the end throws Error(kModel) that names file,
// place and what was read.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(file) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t count, const char* what) {
    if (count > remaining()) fail_short(count, what);
    const auto part = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += part.size();
    return part;
  }

  template <typename T>
  T read(const char* what) {
    return load<T>(take(sizeof(T), what).data());
  }

  // Error(kModel) "FILE: byte N: MESSAGE".
  [[noreturn]] void fail(const std::string& message) const;

 private:
  [[noreturn]] void fail_short(std::uint64_t count, const char* what) const;

  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::size_t position_ = 0;
};

}  // namespace blip::io
