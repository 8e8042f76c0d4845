// The arithmetic of the fake chip's networks: numbers that depend on everything they should depend
// on and on nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fake {

// FNV-1a.
inline std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  for (int byte = 0; byte < 8; ++byte)
    hash = (hash ^ (value >> (8 * byte) & 0xff)) * 1099511628211ull;
  return hash;
}
constexpr std::uint64_t kSeed = 14695981039346656037ull;

inline std::uint64_t digest(std::span<const float> values) {
  std::uint64_t hash = kSeed;
  for (const float value : values)
    hash = mix(hash, static_cast<std::uint64_t>(static_cast<std::int64_t>(value * 4096.f)));
  return hash;
}

inline float number(std::uint64_t hash) {
  return static_cast<float>(mix(hash, hash) >> 40) * 0x1p-24f;
}  // 0 to 1

// What a decoder says after the tokens of `history` while it looks at what `attended` stands for.
inline std::vector<float> logits(std::span<const std::int32_t> history, std::uint64_t attended,
                                 int vocab) {
  std::uint64_t hash = attended;
  for (const std::int32_t id : history) hash = mix(hash, static_cast<std::uint64_t>(id));
  std::vector<float> values;
  for (int token = 0; token < vocab; ++token)
    values.push_back(6.f * number(mix(hash, static_cast<std::uint64_t>(token))));
  return values;
}

}  // namespace fake
