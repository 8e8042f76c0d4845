// What the boxes of a HEIF file say of its pictures, read before libheif sees the file: which are
// coded how, and what refers to what.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "image/bytes.h"

namespace blip::image {

struct HeifItems {
  struct Reference {
    std::string type;  // "dimg": `from` is made of `to`; "auxl": `from` belongs to `to`
    std::uint32_t from = 0;
    std::vector<std::uint32_t> to;
  };

  std::uint32_t primary = 0;
  std::map<std::uint32_t, std::string> types;  // "hvc1", "grid", ...
  std::vector<Reference> references;
  int chroma = 0;  // of the HEVC pictures, the richest: 0 = grey, 1 = 4:2:0, 2 = 4:2:2, 3 = 4:4:4

  std::string type_of(std::uint32_t item) const;
  bool is_grid() const { return type_of(primary) == "grid"; }
  // The kinds of pictures that the picture itself is made of: one, or the cells of a grid.
  std::vector<std::string> coded_types(std::uint32_t item) const;
  // Those that belong to it: alpha, depth and others.
  std::vector<std::uint32_t> auxiliaries() const;
};

// nullopt where the boxes are damaged or there is no picture in them.
std::optional<HeifItems> read_heif_items(Bytes file);

}  // namespace blip::image
