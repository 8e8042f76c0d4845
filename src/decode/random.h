// The generator behind sampling. Internal to src/decode.
#pragma once

#include <array>
#include <cstdint>

namespace blip::decode {

// xoshiro256** (Blackman and Vigna, public domain), its state filled by splitmix64. Its numbers
// depend on (seed, stream) alone, on every platform and whatever is generated beside it.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) {
    // Streams lie far apart in splitmix64's sequence: the odd multiplier spreads them over all 2^64
    // starting points.
    std::uint64_t x = seed + stream * 0xd1342543de82ef95u;
    for (std::uint64_t& word : state_) word = splitmix(x);
  }

  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  static std::uint64_t splitmix(std::uint64_t& x) {
    std::uint64_t z = (x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  static std::uint64_t rotate(std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  std::uint64_t next() {
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  std::array<std::uint64_t, 4> state_;
};

}  // namespace blip::decode
