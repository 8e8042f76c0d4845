// Tensors in torch archives: views, storages, where the state dict lies.
#include <gtest/gtest.h>

#include "io/tensor_file.h"
#include "support.h"
#include "torch_archive.h"

namespace blip::io {
namespace {

using namespace torch_archive;

const std::string kSix = floats({0, 1, 2, 3, 4, 5});
const std::string kStorage = storage("FloatStorage", "0", 6);
const std::string kTensor = tensor(kStorage, 0, {2, 3}, {3, 1});

void expect_refused(const Bytes& bytes, std::initializer_list<std::string> parts) {
  expect_error(ErrorCode::kModel, parts, [&] { parse_torch(bytes, "x.pth"); });
}

std::vector<float> values(const std::string& body) {
  const Bytes bytes = archive(dict({{"w", body}}), {kSix});
  return to_floats(*parse_torch(bytes, "x")->find("w"));
}

using Floats = std::vector<float>;

TEST(Torch, ViewsStoredTensorsInPlace) {
  const Bytes bytes = archive(dict({{"w", kTensor}}), {kSix});
  const auto file = parse_torch(bytes, "x");
  const auto* data = file->find("w")->data.data();
  EXPECT_TRUE(data > bytes.data() && data < bytes.data() + bytes.size());
  EXPECT_EQ(to_floats(*file->find("w")), (Floats{0, 1, 2, 3, 4, 5}));
}

TEST(Torch, GathersViews) {
  EXPECT_EQ(values(tensor(kStorage, 0, {3, 2}, {1, 3})), (Floats{0, 3, 1, 4, 2, 5}));  // transposed
  EXPECT_EQ(values(tensor(kStorage, 1, {2, 2}, {3, 1})), (Floats{1, 2, 4, 5}));        // columns
  EXPECT_EQ(values(tensor(kStorage, 4, {2, 3}, {1, 0})), (Floats{4, 4, 4, 5, 5, 5}));  // expanded
  EXPECT_EQ(values(tensor(kStorage, 5, {}, {})), (Floats{5}));                         // a number
  EXPECT_EQ(values(tensor(kStorage, 2, {1, 2}, {77, 1})),
            (Floats{2, 3}));  // a stride that is never taken
  EXPECT_EQ(values(tensor(kStorage, 0, {0, 2}, {2, 1})), (Floats{}));
}

TEST(Torch, RefusesViewsPastTheirStorage) {
  const std::int64_t large = std::int64_t{1} << 62;
  const std::vector<std::string> bad = {tensor(kStorage, 1, {2, 3}, {3, 1}),
                                        tensor(kStorage, 0, {7}, {1}),
                                        tensor(kStorage, 6, {1}, {1}),
                                        tensor(kStorage, -1, {2}, {1}),
                                        tensor(kStorage, 0, {2}, {-1}),
                                        tensor(kStorage, 5, {2}, {-1}),
                                        tensor(kStorage, 0, {2, 2}, {large, large}),
                                        tensor(kStorage, large, {2}, {large}),
                                        tensor(kStorage, 0, {large}, {0}),
                                        tensor(kStorage, 0, {large, 4}, {0, 0}),
                                        tensor(kStorage, 0, {-2}, {1}),
                                        tensor(kStorage, 0, {2, 3}, {1}),
                                        tensor(kStorage, INT64_MAX, {1}, {1}),
                                        tensor(kStorage, 0, {std::int64_t{1} << 40}, {0})};
  for (const std::string& body : bad)
    expect_refused(archive(dict({{"w", body}}), {kSix}), {"x.pth", "\"w\""});
}

TEST(Torch, RefusesStoragesThatDoNotFit) {
  expect_refused(
      archive(dict({{"w", tensor(storage("FloatStorage", "0", 7), 0, {2}, {1})}}), {kSix}),
      {"\"a/data/0\" has 24 bytes, expected 28"});
  expect_refused(
      archive(dict({{"w", tensor(storage("FloatStorage", "0", -1), 0, {2}, {1})}}), {kSix}),
      {"impossible size"});
  expect_refused(
      archive(dict({{"w", tensor(storage("FloatStorage", "0", INT64_MAX), 0, {2}, {1})}}), {kSix}),
      {"impossible size"});
  expect_refused(
      archive(dict({{"w", tensor(storage("FloatStorage", "1", 6), 0, {2}, {1})}}), {kSix}),
      {"\"a/data/1\" is missing"});
  for (const char* key : {"../../../etc/passwd", "/etc/passwd", ""}) {
    expect_refused(
        archive(dict({{"w", tensor(storage("FloatStorage", key, 6), 0, {2}, {1})}}), {kSix}),
        {"is missing"});
  }
  expect_refused(
      archive(
          dict({{"w", tensor(storage("FloatStorage", std::string(5000, 'k'), 6), 0, {2}, {1})}}),
          {kSix}),
      {"persistent id"});
  expect_refused(
      archive(dict({{"w", tensor(storage("UntypedStorage", "0", 24), 0, {2}, {1})}}), {kSix}),
      {"\"w\"", "element type"});
}

TEST(Torch, UntypedStoragesTakeTheTensorsType) {
  const std::string body = global("torch._utils", "_rebuild_tensor_v3") + "(" +
                           storage("UntypedStorage", "0", 24) + integer(1) + integers({2}) +
                           integers({1}) + "\x89" + "}" + global("torch", "float32") + "}tR";
  EXPECT_EQ(values(body), (Floats{1, 2}));
}

TEST(Torch, FindsTheStateDict) {
  const std::string one = dict({{"a", tensor(kStorage, 1, {1}, {1})}}),
                    two = dict({{"b", tensor(kStorage, 2, {1}, {1})}});
  const auto names = [](const std::string& body) {
    const Bytes bytes = archive(body, {kSix});
    std::string result;
    const auto file = parse_torch(bytes, "x");
    for (const TensorView& view : file->tensors()) result += view.name;
    return result;
  };
  EXPECT_EQ(names(one), "a");
  for (const char* key : {"ema", "params", "weights", "net"})
    EXPECT_EQ(names(dict({{"epoch", integer(3)}, {key, two}})), "b") << key;
  EXPECT_EQ(names(dict({{"state_dict", two}, {"epoch", integer(3)}})), "b");
  EXPECT_EQ(names(dict({{"outer", dict({{"inner", one}})}, {"note", text("x")}})), "a");
  EXPECT_EQ(names(dict({{"model", one}, {"optimizer", two}})), "a");
  const std::string matrix = dict({{"m", tensor(kStorage, 0, {2, 2}, {2, 1})}});
  EXPECT_EQ(names(dict({{"model", matrix}, {"rng", one}})), "m");
  const auto refuse = [](const std::string& body, std::initializer_list<std::string> parts) {
    expect_refused(archive(body, {kSix}), parts);
  };
  refuse(dict({{"model", one}, {"ema", two}}),
         {"tensors lie in 2 places: [\"model\"] (1 tensor), [\"ema\"] (1 tensor); save the one you "
          "want alone"});
  refuse(dict({{"model", matrix}, {"state_dict", matrix}}),
         {"2 places", "[\"model\"]", "[\"state_dict\"]"});
  refuse(dict({{"model", one}, {"w", tensor(kStorage, 0, {1}, {1})}}),
         {"2 places", "the root (1 tensor)"});
  EXPECT_EQ(names(dict({{"model", tensor(kStorage, 0, {1}, {1})}})), "model");
  EXPECT_EQ(names(dict({{"c", tensor(kStorage, 0, {1}, {1})}, {"note", text("x")}})), "c");
}

TEST(Torch, SaysWhatItFoundInstead) {
  expect_refused(archive(dict({{"epoch", integer(3)}, {"note", "N"}})),
                 {"no tensors", "\"epoch\", \"note\""});
  expect_refused(archive("}"), {"no tensors", "no names"});
  expect_refused(archive("]"), {"no dict at its root"});
  expect_refused(archive(kTensor, {kSix}), {"no dict at its root"});
  expect_refused(archive(dict({{"w", kTensor}, {"w", kTensor}}), {kSix}), {"\"w\" appears twice"});
  expect_refused(to_bytes(zip({{.name = "a/other", .content = "x"}})),
                 {"a/data.pkl", "torch.save"});
  expect_refused(
      archive(dict({{"w", kTensor}}), {kSix}, {{.name = "a/constants.pkl", .content = "x"}}),
      {"TorchScript"});
  expect_refused(
      archive(dict({{"w", kTensor}}), {kSix}, {{.name = "a/byteorder", .content = "big"}}),
      {"byte order", "\"big\""});
  expect_refused(to_bytes("hello"), {"no torch archive"});
  expect_refused(to_bytes("version https://git-lfs.github.com/spec/v1\noid"), {"Git LFS pointer"});
}

TEST(Torch, PlainValuesBecomeMetadata) {
  const std::string config =
      dict({{"image_size", integer(384)}, {"vit", text("base")}, {"list", "]"}});
  const Bytes bytes = archive(dict({{"model", dict({{"w", kTensor}})},
                                    {"config", config},
                                    {"epoch", integer(-3)},
                                    {"best", "\x88"}}),
                              {kSix});
  const auto file = parse_torch(bytes, "x");
  const std::map<std::string, MetadataValue> expected = {{"config.image_size", std::int64_t{384}},
                                                         {"config.vit", std::string("base")},
                                                         {"epoch", std::int64_t{-3}},
                                                         {"best", true}};
  EXPECT_EQ(file->metadata(), expected);
}

TEST(Torch, RefusesEveryPrefix) {
  expect_no_prefix_reads(parse_torch, archive(dict({{"w", kTensor}}), {kSix}));
}

TEST(Torch, FlippedBytesAreSafe) {
  expect_flips_are_safe(parse_torch, archive(dict({{"w", kTensor}}), {kSix}));
  const Entry pickle{.name = "a/data.pkl",
                     .content = kProto + dict({{"w", kTensor}}) + ".",
                     .deflate = true,
                     .zip64 = true};
  expect_flips_are_safe(
      parse_torch,
      to_bytes(zip({pickle, {.name = "a/data/0", .content = kSix, .deflate = true}}, true)));
}

TEST(Torch, FilesOfTorchItselfCutAnywhere) {
  for (const char* name : {"module.pth", "random0000.pth"}) {
    expect_no_prefix_reads(parse_torch, file_bytes(std::string(BLIP_TEST_DATA "/io/") + name));
    expect_flips_are_safe(parse_torch, file_bytes(std::string(BLIP_TEST_DATA "/io/") + name));
  }
}

// Zip: what the directory says is checked against the file.
class TorchZip : public testing::Test {
 protected:
  static Bytes with(Entry storage_entry, bool zip64_end = false) {
    storage_entry.name = "a/data/0";
    if (storage_entry.content.empty()) storage_entry.content = kSix;
    return to_bytes(zip(
        {{.name = "a/data.pkl", .content = kProto + dict({{"w", kTensor}}) + "."}, storage_entry},
        zip64_end));
  }
};

TEST_F(TorchZip, ReadsEveryVariant) {
  for (const bool deflate : {false, true}) {
    for (const bool zip64 : {false, true}) {
      for (const bool end : {false, true}) {
        const Bytes bytes = with({.deflate = deflate, .zip64 = zip64}, end);
        EXPECT_EQ(to_floats(*parse_torch(bytes, "x")->find("w")), (Floats{0, 1, 2, 3, 4, 5}));
      }
    }
  }
}

TEST_F(TorchZip, RefusesWrongSizesAndPlaces) {
  expect_refused(with({.size = 100}), {"\"a/data/0\"", "two different sizes"});
  expect_refused(with({.size = 10'000, .stored_size = 10'000}), {"\"a/data/0\"", "past the end"});
  expect_refused(with({.zip64 = true, .size = UINT64_MAX, .stored_size = UINT64_MAX}),
                 {"\"a/data/0\"", "past the end"});
  expect_refused(with({.offset = 3}), {"\"a/data/0\"", "no header at byte 3"});
  expect_refused(with({.zip64 = true, .offset = UINT64_MAX}), {"\"a/data/0\"", "no header"});
  expect_refused(with({.offset = 0}), {"\"a/data/0\"", "differently"});
  expect_refused(with({.local_name = "../../evil"}), {"differently"});
  expect_refused(with({.flags = std::uint16_t{1}}), {"encrypted"});
  expect_refused(with({.method = std::uint16_t{12}}), {"compression method 12"});
  expect_refused(with({.content = std::string(24, 'x'), .deflate = true, .size = 23}), {"damaged"});
  expect_refused(with({.content = std::string(24, 'x'), .deflate = true, .size = 25}), {"damaged"});
  expect_refused(with({.deflate = true, .crc = 1}), {"checksum"});
  expect_refused(with({.deflate = true, .size = std::uint64_t{3} << 30}),
                 {"unpacking it would take 3221225472 bytes"});
  expect_refused(with({.deflate = true, .zip64 = true, .size = UINT64_MAX}),
                 {"unpacking it would take"});
}

TEST_F(TorchZip, RefusesDuplicateEntries) {
  expect_refused(archive(dict({{"w", kTensor}}), {kSix}, {{.name = "a/data/0", .content = kSix}}),
                 {"\"a/data/0\" appears twice"});
}

TEST_F(TorchZip, RefusesDamagedDirectories) {
  const std::string good = zip({{.name = "a/data.pkl", .content = "x"}});
  const std::string body = good.substr(0, good.size() - 22);
  expect_refused(to_bytes(body + end_record(2, 56, 41)), {"entry 1 of 2"});
  expect_refused(to_bytes(body + end_record(1, 0xfffffff0, 41)), {"reaches past its end"});
  expect_refused(to_bytes(body + end_record(1, 56, 0xfffffff0)), {"reaches past its end"});
  expect_refused(to_bytes(body + number(0x07064b50u) + number<std::uint32_t>(0) +
                          number(UINT64_MAX) + number(1u) + end_record(1, 56, 41)),
                 {"zip64 end record"});
}

// A view may repeat an element, and a deflated entry may be tiny: what they grow to is bounded by
// the file's size.
TEST(Torch, RefusesBombs) {
  expect_refused(archive(dict({{"w", tensor(kStorage, 0, {1 << 20, 1 << 10}, {0, 0})}}), {kSix}),
                 {"\"w\"", "far more than the file has"});
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 100; ++i)
    many.emplace_back(std::string("w") + std::to_string(i), tensor(kStorage, 0, {1 << 20}, {0}));
  expect_refused(archive(dict(many), {kSix}), {"far more than the file has"});
}

}  // namespace
}  // namespace blip::io
