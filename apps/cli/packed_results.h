// What became of pictures, by numbers and in few bytes: for as many as a LookIndex remembers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "cli/look_index.h"

namespace blip::cli {

struct PackedResult {
  std::string name, failure;  // of the picture; why it failed, or ""
  std::string packed;         // Emit::packed
};

class PackedResults {
 public:
  // For one that was added, and is one of the kLooksOfPage * kLookPages last.
  PackedResult at(std::uint64_t number) const;
  // They are numbered 0, 1, 2 and so on. Names and failures end at a NUL.
  void add(std::string_view name, std::string_view failure, std::string_view packed);

 private:
  struct Page {
    std::string text;
    std::vector<std::uint32_t> ends;
  };
  std::deque<Page> pages_;
  std::uint64_t dropped_ = 0;  // pages
};

}  // namespace blip::cli
