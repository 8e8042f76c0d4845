// Helpers shared by the tests of io.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blip/error.h"
#include "io/tensor_file.h"
#include "unit/base/support.h"

namespace blip::io {

inline std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values(tensor.count());
  tensor.to_f32(values);
  return values;
}

// A little-endian number as text.
template <typename T>
std::string number(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

using Parser = std::unique_ptr<TensorFile> (*)(std::span<const std::byte>, const std::string&);

// Reads every value of what the parser makes of the bytes; false where it throws Error(kModel).
// Anything else fails the test. The bytes lie in a heap block of exactly their size, so that
// AddressSanitizer sees a read past them.
inline bool reads(Parser parse, std::span<const std::byte> bytes) {
  const Bytes exact(bytes.begin(), bytes.end());
  try {
    const auto file = parse(exact, "bytes");
    for (const TensorView& tensor : file->tensors()) to_floats(tensor);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel) << error.what();
    EXPECT_EQ(std::string_view(error.what()).substr(0, 5), "bytes") << error.what();
    return false;
  }
}

// No prefix of the file is accepted: each is refused with an Error.
inline void expect_no_prefix_reads(Parser parse, std::span<const std::byte> bytes) {
  ASSERT_TRUE(reads(parse, bytes));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(reads(parse, bytes.first(length)))
        << "the first " << length << " of " << bytes.size() << " bytes";
  }
}

// Every byte replaced in several ways is read or refused, and nothing else happens. Some
// replacements must be refused.
inline void expect_flips_are_safe(Parser parse, std::span<const std::byte> bytes) {
  Bytes copy(bytes.begin(), bytes.end());
  std::size_t refused = 0;
  for (std::size_t i = 0; i < copy.size(); ++i) {
    const std::byte original = copy[i];
    for (const unsigned change : {0x01u, 0x10u, 0x80u, 0xffu}) {
      copy[i] = original ^ std::byte{static_cast<unsigned char>(change)};
      if (!reads(parse, copy)) ++refused;
    }
    copy[i] = original;
  }
  EXPECT_GT(refused, 0u);
}

}  // namespace blip::io
