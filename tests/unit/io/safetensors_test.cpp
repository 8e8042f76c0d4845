#include <gtest/gtest.h>

#include "io/tensor_file.h"
#include "support.h"

namespace blip::io {
namespace {

Bytes with_header(const std::string& header, std::size_t data_size) {
  return to_bytes(number<std::uint64_t>(header.size()) + header + std::string(data_size, '\1'));
}

void expect_refused(const std::string& header, std::size_t data_size,
                    std::initializer_list<std::string> parts) {
  SCOPED_TRACE(header);
  const Bytes bytes = with_header(header, data_size);
  expect_error(ErrorCode::kModel, parts, [&] { parse_safetensors(bytes, "x.safetensors"); });
}

const std::string kGood = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                          R"("b":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})";

TEST(Safetensors, ReadsInPlace) {
  const Bytes bytes = with_header(kGood, 9);
  const auto file = parse_safetensors(bytes, "x");
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->find("a")->data.data(), &bytes[8 + kGood.size()]);
  EXPECT_EQ(to_floats(*file->find("b")), std::vector<float>{1});
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST(Safetensors, NoTensorsAtAll) {
  EXPECT_TRUE(parse_safetensors(with_header("{}", 0), "x")->tensors().empty());
}

TEST(Safetensors, RefusesEveryPrefix) {
  expect_no_prefix_reads(parse_safetensors, with_header(kGood, 9));
}

TEST(Safetensors, FlippedBytesAreSafe) {
  expect_flips_are_safe(parse_safetensors, with_header(kGood, 9));
}

TEST(Safetensors, RefusesDamagedHeaders) {
  expect_refused(kGood, 8, {"x.safetensors", "\"b\"", "ends at byte 9", "8 bytes"});
  expect_refused(kGood, 10, {"1 bytes after the last tensor"});
  expect_refused(R"([1])", 0, {"not an object"});
  expect_refused(R"({"a":1})", 0, {"\"a\"", "expected an object"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[2]}})", 0, {"data_offsets"});
  expect_refused(R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", 2,
                 {"\"a\"", "F8_E4M3", "not supported"});
  expect_refused(R"({"a":{"dtype":3,"shape":[2],"data_offsets":[0,2]}})", 2,
                 {"dtype is not a string"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8,
                 {"whole numbers"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8,
                 {"whole numbers"});
  expect_refused(R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", 8, {"shape"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, {"[begin, end]"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8,
                 {"[begin, end]"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}})", 8,
                 {"[begin, end]"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
                 {"f32 [3] takes 12 bytes", "span 8"});
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                 {"impossibly many"});
  expect_refused(R"({"__metadata__":{"a":1}})", 0, {"__metadata__"});
}

TEST(Safetensors, RefusesOverlapsHolesAndDuplicates) {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  expect_refused("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3,
                 {"\"b\"", "begins at byte 1", "expected 2"});
  expect_refused("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5,
                 {"\"b\"", "begins at byte 3", "expected 2"});
  expect_refused("{" + a + "," + a + "}", 2, {"\"a\" appears twice"});
  expect_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2,
                 {"\"dtype\" appears twice"});
}

TEST(Safetensors, RefusesBadJson) {
  expect_refused("{", 0, {"JSON header is damaged"});
  expect_refused("{\"\xff\":1}", 0, {"JSON header is damaged"});
  expect_refused(R"({"a":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}", 0,
                 {"nested deeper"});
  expect_refused(std::string(1'000'000, '['), 0, {"nested deeper"});
}

// A header of this size took minutes where each name was looked for among all before it.
TEST(Safetensors, ReadsLargeHeadersInLinearTime) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i > 0 ? ",\"" : "\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_EQ(parse_safetensors(with_header(header + "}", 0), "x")->tensors().size(), 100'000u);
  expect_refused("{\"a\":[" + std::string(2'000'000, '1') + ",]}", 0, {"JSON header is damaged"});
  std::string values = "{\"a\":[1";
  for (int i = 0; i < 1'000'000; ++i) values += ",1";
  expect_refused(values + "]}", 0, {"more than 1000000 values"});
}

TEST(Safetensors, RefusesOverlongHeaders) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{200'000'000}, UINT64_MAX, UINT64_MAX - 7}) {
    expect_error(ErrorCode::kModel, {"header would take " + std::to_string(length)},
                 [&] { parse_safetensors(to_bytes(number(length) + "{}"), "x"); });
  }
}

TEST(Safetensors, NamesWhatTheFileIsInstead) {
  expect_error(ErrorCode::kModel, {"Git LFS pointer"}, [] {
    parse_safetensors(to_bytes("version https://git-lfs.github.com/spec/v1\n"), "x");
  });
  expect_error(ErrorCode::kModel, {"web page"},
               [] { parse_safetensors(to_bytes("<!DOCTYPE html><html>"), "x"); });
  expect_error(ErrorCode::kModel, {"empty"}, [] { parse_safetensors({}, "x"); });
}

class SafetensorsIndex : public testing::Test {
 protected:
  SafetensorsIndex() {
    const std::string one = BLIP_TEST_DATA "/io/sharded/model-00001-of-00003.safetensors";
    std::filesystem::copy_file(one, folder_ / "one.safetensors");
    std::filesystem::create_directory(folder_ / "inner");
    std::filesystem::copy_file(one, folder_ / "inner/one.safetensors");
    name_ = open_safetensors(one)->tensors().front().name;
  }
  std::string index(const std::string& text) const {
    std::ofstream(folder_ / "index.json") << text;
    return folder_ / "index.json";
  }
  void expect_refused(const std::string& text, std::initializer_list<std::string> parts,
                      ErrorCode code = ErrorCode::kModel) const {
    SCOPED_TRACE(text);
    expect_error(code, parts, [&] { open_safetensors_index(index(text)); });
  }
  TempFolder folder_;
  std::string name_;
};

TEST_F(SafetensorsIndex, ReadsOnlyWhatItNames) {
  const auto file = open_safetensors_index(index(
      R"({"metadata":{"total_size":12},"weight_map":{")" + name_ + R"(":"one.safetensors"}})"));
  ASSERT_EQ(file->tensors().size(), 1u);
  EXPECT_EQ(file->metadata().at("total_size"), MetadataValue(std::int64_t{12}));
  EXPECT_EQ(to_floats(file->tensors()[0]).size(), 64u);
}

TEST_F(SafetensorsIndex, RefusesPathsOutOfItsFolder) {
  for (const char* shard : {"../one.safetensors", "inner/one.safetensors", "/etc/passwd", "..", ".",
                            "", "a\\\\b", "one.safetensors\\u0000"}) {
    expect_refused(R"({"weight_map":{")" + name_ + R"(":")" + shard + R"("}})",
                   {"index.json", "not a plain file name"});
  }
}

TEST_F(SafetensorsIndex, RefusesDamagedOnes) {
  expect_refused("{}", {"weight_map"});
  expect_refused(R"({"weight_map":[]})", {"weight_map"});
  expect_refused(R"({"weight_map":{"a":1}})", {"\"a\"", "not a file name"});
  expect_refused(R"({"weight_map":{"a":"x","a":"y"}})", {"\"a\" appears twice"});
  expect_refused(R"({"weight_map":{"nothing":"one.safetensors"}})",
                 {"\"nothing\"", "not in its shard one.safetensors"});
  expect_refused(R"({"weight_map":{"a":"none.safetensors"}})", {"cannot open", "none.safetensors"},
                 ErrorCode::kIo);
}

}  // namespace
}  // namespace blip::io
