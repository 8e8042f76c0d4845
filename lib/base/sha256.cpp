#include "base/sha256.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "blip/error.h"

namespace blip {
namespace {

using State = std::array<std::uint32_t, 8>;

// The standard's constants: the first 32 bits of the fractions of the square (2) and cube (3) roots
// of the first primes. Exact integer arithmetic: root is the largest with root^k <= prime * 2^(32
// k).
template <std::size_t Count>
constexpr std::array<std::uint32_t, Count> root_fractions(int k) {
  __extension__ using Wide = unsigned __int128;
  std::array<std::uint32_t, Count> fractions{};
  std::uint32_t prime = 2;
  for (std::size_t found = 0; found < Count; ++prime) {
    bool is_prime = true;
    for (std::uint32_t d = 2; d * d <= prime; ++d) is_prime = is_prime && prime % d != 0;
    if (!is_prime) continue;
    std::uint64_t root = 0;
    for (int bit = 36; bit >= 0; --bit) {  // roots of the primes used are below 2^5
      const std::uint64_t next = root | std::uint64_t{1} << bit;
      Wide power = Wide{next} * next;
      if (k == 3) power *= next;
      if (power <= Wide{prime} << (32 * k)) root = next;
    }
    fractions[found++] = static_cast<std::uint32_t>(root);
  }
  return fractions;
}
constexpr State kStart = root_fractions<8>(2);
constexpr std::array<std::uint32_t, 64> kRound = root_fractions<64>(3);

void add_block(State& state, const std::byte* block) {
  std::array<std::uint32_t, 64> w;
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] = 0;
    for (std::size_t b = 0; b < 4; ++b)
      w[i] = w[i] << 8 | std::to_integer<std::uint32_t>(block[4 * i + b]);
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
    const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25),
                        s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i],
                        t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  const State added{a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < state.size(); ++i) state[i] += added[i];
}

}  // namespace

Sha256::Sha256() : state_(kStart) {}

void Sha256::add(std::span<const std::byte> data) {
  bytes_ += data.size();
  if (rest_bytes_ > 0) {
    const std::size_t taken = std::min(kBlock - rest_bytes_, data.size());
    if (taken > 0) std::memcpy(rest_.data() + rest_bytes_, data.data(), taken);
    rest_bytes_ += taken;
    data = data.subspan(taken);
    if (rest_bytes_ < kBlock) return;
    add_block(state_, rest_.data());
    rest_bytes_ = 0;
  }
  for (; data.size() >= kBlock; data = data.subspan(kBlock)) add_block(state_, data.data());
  if (!data.empty()) std::memcpy(rest_.data(), data.data(), data.size());
  rest_bytes_ = data.size();
}

// After the data a one bit, zeros, and the length in bits: one block or two.
std::string Sha256::finish() {
  std::array<std::byte, 2 * kBlock> end{};
  std::copy_n(rest_.begin(), rest_bytes_, end.begin());
  end[rest_bytes_] = std::byte{0x80};
  const std::size_t length = rest_bytes_ + 9 <= kBlock ? kBlock : 2 * kBlock;
  for (std::size_t i = 0; i < 8; ++i)
    end[length - 1 - i] = static_cast<std::byte>(bytes_ * 8 >> (8 * i));
  for (std::size_t at = 0; at < length; at += kBlock) add_block(state_, end.data() + at);
  std::string text;
  for (const std::uint32_t word : state_)
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 0xf];
  return text;
}

std::string sha256(std::span<const std::byte> data) {
  Sha256 sum;
  sum.add(data);
  return sum.finish();
}

std::string sha256_of_file(const std::string& path, std::uint64_t bytes,
                           const std::function<bool()>& stop) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  std::error_code error;  // a pipe would keep the reader waiting
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error))
    throw Error(ErrorCode::kIo, path + " is no regular file");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error(ErrorCode::kIo,
                "cannot open " + path + ": " + std::generic_category().message(errno));
  Sha256 sum;
  std::vector<std::byte> piece(kPiece);
  while (bytes > 0 && file) {
    if (stop && stop()) return "";
    errno = 0;
    file.read(reinterpret_cast<char*>(piece.data()),
              static_cast<std::streamsize>(std::min<std::uint64_t>(bytes, kPiece)));
    const auto got = static_cast<std::size_t>(file.gcount());
    sum.add(std::span(piece).first(got));
    bytes -= got;
    if (file.bad() || (!file && errno != 0))
      throw Error(ErrorCode::kIo,
                  "cannot read " + path + ": " + std::generic_category().message(errno));
  }
  return sum.finish();
}

}  // namespace blip
