#include "backend/sophon/bmodel_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <vector>

#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

constexpr std::uint32_t kMagic = 0xff55aaee;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kMaxChipName = 32;

// The file after its 64-byte header starts with a FlatBuffers table (the model's description); all
// offsets come from the file, so every read says whether it lies inside.
class Table {
 public:
  explicit Table(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class Value>
  std::optional<Value> read(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(Value)) return std::nullopt;
    Value value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }

  // A string field of the root table.
  std::optional<std::string> root_string(unsigned field) const {
    const auto root = read<std::uint32_t>(0);
    const auto to_vtable = root ? read<std::int32_t>(*root) : std::nullopt;
    if (!to_vtable) return std::nullopt;
    const std::int64_t vtable = std::int64_t{*root} - *to_vtable;
    if (vtable < 0) return std::nullopt;
    const auto vtable_bytes = read<std::uint16_t>(static_cast<std::uint64_t>(vtable));
    const std::uint64_t entry = 4 + 2 * std::uint64_t{field};
    if (!vtable_bytes || *vtable_bytes < entry + 2) return std::nullopt;
    const auto offset = read<std::uint16_t>(static_cast<std::uint64_t>(vtable) + entry);
    if (!offset || *offset == 0) return std::nullopt;
    const std::uint64_t place = std::uint64_t{*root} + *offset;
    const auto to_string = read<std::uint32_t>(place);
    if (!to_string) return std::nullopt;
    return string_at(place + *to_string);
  }

 private:
  std::optional<std::string> string_at(std::uint64_t place) const {
    const auto length = read<std::uint32_t>(place);
    if (!length || *length > kMaxChipName || bytes_.size() - place - sizeof *length < *length)
      return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes_.data() + place + sizeof *length),
                       *length);
  }

  std::span<const std::byte> bytes_;
};

}  // namespace

BmodelHead parse_bmodel_head(std::span<const std::byte> head, std::uint64_t file_bytes,
                             const std::string& path) {
  const Table header(head.first(std::min(head.size(), kHeaderBytes)));
  if (header.read<std::uint32_t>(0) != kMagic)
    throw Error(ErrorCode::kModel,
                path + " is not a bmodel: it must start with the bytes ee aa 55 ff");
  const auto header_bytes = header.read<std::uint32_t>(4),
             table_bytes = header.read<std::uint32_t>(8),
             data_bytes = header.read<std::uint32_t>(12);
  if (!data_bytes || *header_bytes != kHeaderBytes || head.size() < kHeaderBytes)
    throw Error(ErrorCode::kModel, path + ": damaged bmodel: its header must be " +
                                       std::to_string(kHeaderBytes) + " bytes");
  // The size of the data has 32 bits, which a file of 4 GiB and more overflows: only what is below
  // is known to be truncated.
  const std::uint64_t expected = kHeaderBytes + std::uint64_t{*table_bytes} + *data_bytes;
  if (file_bytes < expected)
    throw Error(ErrorCode::kModel, path + ": truncated bmodel: expected " +
                                       std::to_string(expected) + " bytes, got " +
                                       std::to_string(file_bytes) + "; copy or download it again");
  const std::size_t table_end = std::min<std::size_t>(head.size(), kHeaderBytes + *table_bytes);
  constexpr unsigned kChipField = 3;  // type, version, time, chip, ...
  return {Table(head.subspan(kHeaderBytes, table_end - kHeaderBytes))
              .root_string(kChipField)
              .value_or(""),
          kHeaderBytes + std::uint64_t{*table_bytes}};
}

BmodelHead read_bmodel_head(const std::string& path) {
  std::error_code error;
  const auto bytes =
      std::filesystem::is_directory(path, error) ? 0 : std::filesystem::file_size(path, error);
  if (error || std::filesystem::is_directory(path, error))
    throw Error(ErrorCode::kIo,
                "cannot open bmodel " + path + ": " + (error ? error.message() : "it is a folder"));
  std::ifstream file(path, std::ios::binary);
  std::vector<std::byte> head(std::min<std::uint64_t>(bytes, kBmodelHeadBytes));
  file.read(reinterpret_cast<char*>(head.data()), static_cast<std::streamsize>(head.size()));
  if (!file && !head.empty())
    throw Error(ErrorCode::kIo,
                "cannot read bmodel " + path + ": " + std::generic_category().message(errno));
  return parse_bmodel_head(head, bytes, path);
}

}  // namespace blip::backend::sophon
