// Builds torch archives and pickles by hand, right or wrong.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace blip::io::torch_archive {

struct Entry {
  std::string name = {}, content = {};
  bool deflate = false, zip64 = false;
  // What the directory says where that is not the truth.
  std::optional<std::uint64_t> size = {}, stored_size = {}, offset = {};
  std::optional<std::uint32_t> crc = {};
  std::optional<std::uint16_t> method = {}, flags = {};
  std::optional<std::string> local_name = {};
};

inline std::string deflated(const std::string& content) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline std::string end_record(std::uint32_t entries, std::uint32_t size, std::uint32_t offset) {
  return number(0x06054b50u) + number<std::uint32_t>(0) +
         number(static_cast<std::uint16_t>(entries)) + number(static_cast<std::uint16_t>(entries)) +
         number(size) + number(offset) + number<std::uint16_t>(0);
}

inline std::string zip(const std::vector<Entry>& entries, bool zip64_end = false) {
  std::string file, directory;
  for (const Entry& entry : entries) {
    const std::string stored = entry.deflate ? deflated(entry.content) : entry.content;
    const auto crc = entry.crc.value_or(
        static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(entry.content.data()),
                                         static_cast<uInt>(entry.content.size()))));
    const std::uint64_t size = entry.size.value_or(entry.content.size()),
                        stored_size = entry.stored_size.value_or(stored.size());
    const std::uint64_t offset = entry.offset.value_or(file.size());
    const std::string& local = entry.local_name ? *entry.local_name : entry.name;
    const std::string kind =
        number(entry.flags.value_or(0)) + number(entry.method.value_or(entry.deflate ? 8 : 0));
    const std::string common = number<std::uint32_t>(0) + number(crc);
    file += number(0x04034b50u) + number<std::uint16_t>(20) + kind + common +
            number(static_cast<std::uint32_t>(stored_size)) +
            number(static_cast<std::uint32_t>(size)) +
            number(static_cast<std::uint16_t>(local.size())) + number<std::uint16_t>(0) + local +
            stored;
    std::string extra;
    const std::uint32_t in64 = 0xffffffff;
    if (entry.zip64)
      extra = number<std::uint16_t>(1) + number<std::uint16_t>(24) + number(size) +
              number(stored_size) + number(offset);
    directory += number(0x02014b50u) + number<std::uint32_t>(20 << 16 | 20) + kind + common +
                 number(entry.zip64 ? in64 : static_cast<std::uint32_t>(stored_size)) +
                 number(entry.zip64 ? in64 : static_cast<std::uint32_t>(size)) +
                 number(static_cast<std::uint16_t>(entry.name.size())) +
                 number(static_cast<std::uint16_t>(extra.size())) + number<std::uint16_t>(0) +
                 number<std::uint32_t>(0) + number<std::uint32_t>(0) +
                 number(entry.zip64 ? in64 : static_cast<std::uint32_t>(offset)) + entry.name +
                 extra;
  }
  const std::uint64_t start = file.size();
  file += directory;
  if (zip64_end) {
    const std::uint64_t at = file.size(), count = entries.size();
    file += number(0x06064b50u) + number<std::uint64_t>(44) + number<std::uint32_t>(45 << 16 | 45) +
            number<std::uint64_t>(0) + number(count) + number(count) +
            number<std::uint64_t>(directory.size()) + number(start);
    file += number(0x07064b50u) + number<std::uint32_t>(0) + number(at) + number<std::uint32_t>(1);
    return file + end_record(0xffff, 0xffffffff, 0xffffffff);
  }
  return file + end_record(static_cast<std::uint32_t>(entries.size()),
                           static_cast<std::uint32_t>(directory.size()),
                           static_cast<std::uint32_t>(start));
}

// Pickle opcodes.
inline const std::string kProto("\x80\x02", 2);
inline std::string text(std::string_view value) {
  return std::string("X") + number(static_cast<std::uint32_t>(value.size())) + std::string(value);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string integer(std::int64_t value) {
  return std::string("\x8a\x08", 2) + number(value);
}
inline std::string integers(const std::vector<std::int64_t>& values) {
  std::string result = "(";
  for (const std::int64_t value : values) result += integer(value);
  return result + "t";
}
inline std::string storage(const std::string& type, const std::string& key, std::int64_t count) {
  return std::string("(") + text("storage") + global("torch", type) + text(key) + text("cpu") +
         integer(count) + "tQ";
}
inline std::string tensor(const std::string& from, std::int64_t offset,
                          const std::vector<std::int64_t>& size,
                          const std::vector<std::int64_t>& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + from + integer(offset) +
         integers(size) + integers(stride) + "\x89" + global("collections", "OrderedDict") + ")RtR";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string result = "}(";
  for (const auto& [key, value] : items) result += text(key) + value;
  return result + "u";
}

// An archive of one pickle body and storages "0", "1"...
inline Bytes archive(const std::string& body, const std::vector<std::string>& storages = {},
                     const std::vector<Entry>& more = {}) {
  std::vector<Entry> entries = {{.name = "a/data.pkl", .content = kProto + body + "."}};
  for (std::size_t i = 0; i < storages.size(); ++i)
    entries.push_back({.name = "a/data/" + std::to_string(i), .content = storages[i]});
  entries.insert(entries.end(), more.begin(), more.end());
  return to_bytes(zip(entries));
}

inline std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace blip::io::torch_archive
