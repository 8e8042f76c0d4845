#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "io/element_type.h"
#include "io/half.h"
#include "io/tensor_file.h"
#include "support.h"

namespace blip::io {
namespace {

// The value by the definition of the format, in double arithmetic.
double half_by_definition(std::uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const double sign = (half & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31)
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  return sign *
         (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(Half, EveryF16DecodesAndEncodesBack) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double expected = half_by_definition(half);
    const float value = f16_to_f32(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(f32_to_f16(value), half);  // keeps the sign of zero
  }
}

// From an odd address, all of them and a few.
TEST(Half, RowsOfF16AreTheirValues) {
  std::vector<std::byte> bytes(2 * 65536 + 1);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    std::memcpy(bytes.data() + 1 + 2 * bits, &half, sizeof(half));
  }
  for (const std::size_t n : {std::size_t{65536}, std::size_t{7}, std::size_t{1}}) {
    std::vector<float> row(n);
    f16_row_to_f32(bytes.data() + 1, n, row.data());
    for (std::size_t i = 0; i < n; ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(row[i]),
                std::bit_cast<std::uint32_t>(f16_to_f32(static_cast<std::uint16_t>(i))))
          << i;
  }
}

TEST(Half, Bf16KeepsNan) {
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0xffffffffu)))));
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // ties go to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
}

template <typename T>
void expect_converted(ElementType type, std::vector<T> stored, const std::vector<float>& expected) {
  // One byte in front, so that the values are unaligned.
  Bytes bytes(1 + stored.size() * sizeof(T));
  std::memcpy(&bytes[1], stored.data(), stored.size() * sizeof(T));
  const TensorView tensor{
      "t", type, {static_cast<std::int64_t>(stored.size())}, std::span(bytes).subspan(1)};
  EXPECT_EQ(to_floats(tensor), expected) << to_string(type);
}

TEST(TensorView, ConvertsEveryType) {
  expect_converted<double>(ElementType::f64, {1.5, -2}, {1.5f, -2});
  expect_converted<float>(ElementType::f32, {1.5f, -2}, {1.5f, -2});
  expect_converted<std::uint16_t>(ElementType::f16, {0x3e00, 0xc000}, {1.5f, -2});
  expect_converted<std::uint16_t>(ElementType::bf16, {0x3fc0, 0xc000}, {1.5f, -2});
  expect_converted<std::int64_t>(ElementType::i64, {1, std::int64_t{-1} << 62}, {1, -0x1p62f});
  expect_converted<std::int32_t>(ElementType::i32, {1, -70000}, {1, -70000});
  expect_converted<std::int16_t>(ElementType::i16, {1, -300}, {1, -300});
  expect_converted<std::int8_t>(ElementType::i8, {1, -128}, {1, -128});
  expect_converted<std::uint8_t>(ElementType::u8, {1, 255}, {1, 255});
  expect_converted<std::uint8_t>(ElementType::boolean, {0, 1, 7}, {0, 1, 1});
}

TEST(TensorView, Describes) {
  EXPECT_EQ((TensorView{"t", ElementType::f32, {768, 3072}, {}}).describe(), "f32 [768, 3072]");
  EXPECT_EQ((TensorView{"t", ElementType::boolean, {}, {}}).describe(), "bool []");
}

TEST(TensorView, RefusesTheWrongRoom) {
  const Bytes bytes(8);
  std::vector<float> three(3);
  expect_error(ErrorCode::kUsage, {"\"t\"", "f32 [2]", "3 values"}, [&] {
    TensorView{"t", ElementType::f32, {2}, bytes}.to_f32(three);
  });
  expect_error(ErrorCode::kUsage, {"8 bytes"}, [&] {
    TensorView{"t", ElementType::f32, {3}, bytes}.to_f32(three);
  });
  expect_error(ErrorCode::kModel, {"impossible"}, [&] {
    TensorView{"t", ElementType::f32, {-1}, bytes}.to_f32(three);
  });
}

TEST(ByteSize, CountsAndRefuses) {
  EXPECT_EQ(byte_size(ElementType::f64, 3), 24u);
  EXPECT_EQ(byte_size(ElementType::q8_0, 64), 68u);
  expect_error(ErrorCode::kModel, {"33 values"}, [] { byte_size(ElementType::q8_0, 33); });
  expect_error(ErrorCode::kModel, {"fit in memory"},
               [] { byte_size(ElementType::f32, SIZE_MAX / 2); });
}

TEST(ElementCount, NeverOverflows) {
  const std::int64_t large = std::int64_t{1} << 32;
  EXPECT_EQ(element_count(std::vector<std::int64_t>{}), 1u);
  EXPECT_EQ(element_count(std::vector<std::int64_t>{2, 0, 3}), 0u);
  EXPECT_EQ(element_count(std::vector<std::int64_t>{large, large}), std::nullopt);
  EXPECT_EQ(element_count(std::vector<std::int64_t>{2, -1}), std::nullopt);
  EXPECT_EQ(tensor_bytes(ElementType::f32, std::vector<std::int64_t>{large, large / 4}),
            std::nullopt);
  EXPECT_EQ(tensor_bytes(ElementType::q8_0, std::vector<std::int64_t>{2, 31}), std::nullopt);
  EXPECT_EQ(tensor_bytes(ElementType::q8_0, std::vector<std::int64_t>{32, 16}),
            std::nullopt);  // blocks lie along the last dimension
  EXPECT_EQ(tensor_bytes(ElementType::q8_0, std::vector<std::int64_t>{16, 32}), 544u);
}

TEST(Encode, RefusesWhatQ8CannotHold) {
  std::vector<float> values(32, 1.0f);
  Bytes out(34);
  for (const float bad : {HUGE_VALF, -HUGE_VALF, std::nanf(""), 1e30f}) {
    values[5] = bad;
    expect_error(ErrorCode::kModel, {"q8_0"}, [&] { encode(values, ElementType::q8_0, out); });
  }
  values.assign(32, 1e-42f);  // the scale's inverse would be infinite
  encode(values, ElementType::q8_0, out);
  EXPECT_EQ(out, Bytes(34));
}

TEST(Encode, RefusesWrongSizesAndTypes) {
  const std::vector<float> values(32);
  Bytes out(34);
  expect_error(ErrorCode::kUsage, {"32 values as f16 take 64 bytes, got 34"},
               [&] { encode(values, ElementType::f16, out); });
  out.resize(32);
  expect_error(ErrorCode::kUsage, {"i8"}, [&] { encode(values, ElementType::i8, out); });
}

TEST(Npy, RefusesTheWrongShape) {
  const std::vector<float> values(5);
  expect_error(ErrorCode::kUsage, {"5 values", "[2, 3]"}, [&] {
    npy_bytes(std::vector<std::int64_t>{2, 3}, values);
  });
}

}  // namespace
}  // namespace blip::io
