// Memory for matrices: aligned to a cache line, which is also the widest vector register.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace blip {

inline constexpr std::size_t kAlignment = 64;

// A fixed-size, movable array of trivially copyable values; not initialised unless asked.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(std::size_t size)
      : data_(size
                  ? static_cast<T*>(::operator new (size * sizeof(T), std::align_val_t{kAlignment}))
                  : nullptr),
        size_(size) {}
  AlignedArray(std::size_t size, T value) : AlignedArray(size) {
    std::fill_n(data_.get(), size, value);
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_.get()[i]; }
  const T& operator[](std::size_t i) const { return data_.get()[i]; }
  operator std::span<T>() { return {data(), size_}; }
  operator std::span<const T>() const { return {data(), size_}; }

  // Grows to at least `size` values; the content is lost when it grows. For scratch that is reused.
  T* reserve(std::size_t size) {
    if (size > size_) *this = AlignedArray(size);
    return data();
  }

 private:
  struct Delete {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<T, Delete> data_;
  std::size_t size_ = 0;
};

inline int round_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace blip
