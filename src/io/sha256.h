// SHA-256 (FIPS 180-4), for files of a few megabytes at most. Downloads are hashed by OpenSSL,
// which their build has.
//
// Why not a library: everything else of the library is built without OpenSSL (BLIP_DOWNLOADS=OFF,
// as the program for RISC-V is). libmd has the function, but would be one more package of every
// build, sysroot and tarball for these lines, which the standard's own examples test.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace blip::io {

// 64 lower-case hexadecimal digits.
std::string sha256(std::span<const std::byte> data);

}  // namespace blip::io
