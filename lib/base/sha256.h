// SHA-256 (FIPS 180-4), for files of a few megabytes at most. Downloads are hashed by OpenSSL,
// which their build has.
//
// Why not a library: everything else of the library is built without OpenSSL (BLIP_DOWNLOADS=OFF,
// as the program for RISC-V is). libmd has the function, but would be one more package of every
// build, sysroot and tarball for these lines, which the standard's own examples test.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace blip {

// Of data that comes in pieces.
class Sha256 {
 public:
  Sha256();
  void add(std::span<const std::byte> data);
  // 64 lower-case hexadecimal digits, of all that was added. Called once.
  std::string finish();

 private:
  static constexpr std::size_t kBlock = 64;
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, kBlock> rest_;  // what fills no block yet
  std::size_t rest_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

std::string sha256(std::span<const std::byte> data);

// Of a file, or of its first `bytes`; "" when `stop` returned true. Throws Error(kIo).
inline constexpr std::uint64_t kWholeFile = ~std::uint64_t{0};
std::string sha256_of_file(const std::string& path, std::uint64_t bytes = kWholeFile,
                           const std::function<bool()>& stop = {});

}  // namespace blip
