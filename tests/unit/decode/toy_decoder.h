// The toy model of tests/reference/decode.py as a Decoder: logits are a hash of the text so far.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "decode/generate.h"

namespace blip::decode {

// MurmurHash3's 64-bit finaliser.
inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
  return x ^ (x >> 33);
}

// -log2(value / 2^40) in steps of 2^-18, linear between the powers of two.
inline std::int64_t logarithm(std::uint64_t value) {
  constexpr std::int64_t kSteps = 1 << 18;
  const auto exponent = static_cast<std::int64_t>(std::bit_width(value)) - 1;
  const auto fraction = static_cast<std::int64_t>(value << (40 - exponent) >> 22) & (kSteps - 1);
  return (39 - exponent) * kSteps + (kSteps - 1 - fraction);
}

struct Toy {
  int vocab = 40;
  std::int64_t levels = 1 << 14;  // 0: logarithmic
  float step = 1.0f / 1024;
  std::int32_t eos = 2;
  std::int64_t eos_bias = 0;

  void logits(std::span<const std::int32_t> ids, std::uint64_t salt, float* out) const {
    std::uint64_t h = salt;
    for (const std::int32_t id : ids.last(std::min(ids.size(), std::size_t{3})))
      h = mix(h + static_cast<std::uint64_t>(id) + 1);
    h = mix(h + ids.size());
    for (int t = 0; t < vocab; ++t) {
      const std::uint64_t value =
          mix(static_cast<std::uint64_t>(t) * 0x9e3779b97f4a7c15u + h) >> 24;
      const std::int64_t level =
          levels > 0 ? static_cast<std::int64_t>(value) % levels : logarithm(value | 1);
      out[t] = static_cast<float>(level + (t == eos ? eos_bias : 0)) * step;
    }
  }
};

// Keeps the text of every row, and checks that it is used as generate.h says.
class ToyDecoder : public Decoder {
 public:
  ToyDecoder(const Toy& toy, std::vector<std::uint64_t> salts, int max_positions = 512)
      : toy_(toy), salts_(std::move(salts)), max_positions_(max_positions) {}

  int vocab_size() const override { return toy_.vocab; }
  int max_positions() const override { return max_positions_; }
  int sequences() const override { return static_cast<int>(salts_.size()); }

  std::span<const float> prefill(std::span<const std::int32_t> prompt) override {
    if (!rows_.empty()) throw std::logic_error("prefill is called once");
    for (const std::uint64_t salt : salts_) rows_.push_back({salt, {prompt.begin(), prompt.end()}});
    return compute();
  }

  std::span<const float> step(std::span<const Next> next) override {
    std::vector<Row> rows;
    for (const Next& row : next) {
      rows.push_back(rows_.at(static_cast<std::size_t>(row.parent)));
      rows.back().ids.push_back(row.token);
      if (static_cast<int>(rows.back().ids.size()) > max_positions_)
        throw std::logic_error("past the last position");
    }
    rows_ = std::move(rows);
    step_rows.push_back(static_cast<int>(next.size()));
    return compute();
  }

  std::vector<int> step_rows;  // how many rows each step had

 protected:
  struct Row {
    std::uint64_t salt;
    std::vector<std::int32_t> ids;
  };

  // A fresh buffer each time, so that a sanitizer sees logits used after the next call.
  std::span<const float> compute() {
    if (rows_.empty()) throw std::logic_error("a call without rows");
    std::vector<float>(rows_.size() * static_cast<std::size_t>(toy_.vocab)).swap(logits_);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      toy_.logits(rows_[r].ids, rows_[r].salt,
                  logits_.data() + r * static_cast<std::size_t>(toy_.vocab));
    }
    return logits_;
  }

  Toy toy_;
  std::vector<std::uint64_t> salts_;
  int max_positions_;
  std::vector<Row> rows_;
  std::vector<float> logits_;
};

}  // namespace blip::decode
