// What the tests of src/image share.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "image/image.h"

namespace blip::image {

// The committed cases, or those of a larger set (see tests/reference/image.py).
inline std::string case_file(const std::string& name) {
  const char* folder = std::getenv("BLIP_IMAGE_CASES");
  return (folder ? std::string(folder) : std::string(BLIP_TEST_DATA "/image")) + "/" + name;
}

inline std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// FNV-1a, as tests/reference/image.py computes it.
inline std::uint64_t hash(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t value = 1469598103934665603u;
  for (const std::uint8_t byte : bytes) value = (value ^ byte) * 1099511628211u;
  return value;
}

// The same bytes as noise() of tests/reference/image.py.
inline Rgb noise(int width, int height, std::uint32_t seed) {
  Rgb rgb{width, height, {}};
  rgb.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  for (std::uint8_t& byte : rgb.pixels) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(seed >> 24);
  }
  return rgb;
}

struct Picture {
  std::string file;
  int width = 0, height = 0;
  std::uint64_t hash = 0;
};

inline std::vector<Picture> pictures() {
  std::vector<Picture> all;
  std::ifstream list(case_file("pictures.txt"));
  for (Picture p; list >> p.file >> p.width >> p.height >> std::hex >> p.hash >> std::dec;)
    all.push_back(p);
  return all;
}

}  // namespace blip::image
