// The head of a bmodel file, read before the vendor's loader sees it: is it whole, and for which
// chip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace blip::backend::sophon {

struct BmodelHead {
  std::string chip;         // "BM1684X"; empty where the file does not say
  std::uint64_t bytes = 0;  // of header and description, which the weights follow
};

// head: the first bytes of the file, as many as kBmodelHeadBytes or the whole file. Throws
// Error(kModel).
constexpr std::size_t kBmodelHeadBytes = std::size_t{1} << 20;
BmodelHead parse_bmodel_head(std::span<const std::byte> head, std::uint64_t file_bytes,
                             const std::string& path);
// Throws Error(kIo | kModel).
BmodelHead read_bmodel_head(const std::string& path);

}  // namespace blip::backend::sophon
