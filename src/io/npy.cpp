#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/tensor_file.h"

namespace blip::io {

// Version 1.0: magic, version, u16 header length, a Python dict as text, padded with spaces to a
// multiple of 64 and ended by a newline; then the values.
std::vector<std::byte> npy_bytes(std::span<const std::int64_t> shape,
                                 std::span<const float> values) {
  // NumPy's own limit; also keeps the header length within its 16 bits
  constexpr std::size_t kMaxDimensions = 64;
  if (shape.size() > kMaxDimensions || element_count(shape) != values.size()) {
    throw Error(ErrorCode::kUsage, "npy: " + std::to_string(values.size()) +
                                       " values do not fill the shape " + describe_shape(shape));
  }
  std::string dimensions;
  for (const std::int64_t dimension : shape) dimensions += std::to_string(dimension) + ", ";
  if (shape.size() == 1)
    dimensions.pop_back();  // "(3,)"
  else if (!shape.empty())
    dimensions.resize(dimensions.size() - 2);
  const std::string dict =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (" + dimensions + "), }";

  constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
  constexpr std::size_t kAlignment = 64;
  const std::size_t unpadded = kMagic.size() + sizeof(std::uint16_t) + dict.size() + 1;
  const std::size_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  const std::size_t header_length = dict.size() + padding + 1;

  std::string header(kMagic);
  header += static_cast<char>(header_length & 0xff);
  header += static_cast<char>(header_length >> 8);
  header += dict + std::string(padding, ' ') + "\n";
  std::vector<std::byte> bytes(header.size() + values.size_bytes());
  std::memcpy(bytes.data(), header.data(), header.size());
  if (!values.empty())
    std::memcpy(bytes.data() + header.size(), values.data(), values.size_bytes());
  return bytes;
}

}  // namespace blip::io
