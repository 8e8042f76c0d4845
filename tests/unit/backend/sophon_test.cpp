// What of the SOPHON backend needs no chip: heads of files, roles of networks, compiled-in
// decoding.
#include <gtest/gtest.h>

#include <cstring>

#include "backend/sophon/bmodel_file.h"
#include "backend/sophon/fixed_decoding.h"
#include "backend/sophon/stages.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

using abi::DataType;

template <class Function>
std::string message_of(ErrorCode code, Function function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

Port port(DataType dtype, std::initializer_list<int> dims) {
  Port p{"x", dtype, {static_cast<int>(dims.size()), {}}, 4, 4};
  std::copy(dims.begin(), dims.end(), p.shape.dims);
  for (const int dim : dims) p.bytes *= static_cast<std::size_t>(dim);
  p.capacity = p.bytes;
  return p;
}

// A head whose table's fourth field is the string `chip`.
std::vector<std::byte> head(const std::string& chip, std::uint32_t data_bytes) {
  std::vector<std::uint32_t> words(16);
  const std::uint32_t vtable = 12u | (8u << 16);  // 12 bytes of vtable, 8 of table
  //              root  vtable  fields 0..3        to vtable  to string  string
  for (const std::uint32_t word :
       {16u, vtable, 0u, 4u << 16, 12u, 4u, static_cast<std::uint32_t>(chip.size())})
    words.push_back(word);
  std::vector<std::byte> bytes(words.size() * 4 + chip.size());
  words[0] = 0xff55aaee;
  words[1] = 64;
  words[2] = static_cast<std::uint32_t>(bytes.size() - 64);
  words[3] = data_bytes;
  std::memcpy(bytes.data(), words.data(), words.size() * 4);
  std::memcpy(bytes.data() + words.size() * 4, chip.data(), chip.size());
  return bytes;
}

TEST(BmodelHead, SaysTheChip) {
  const auto bytes = head("BM1684X", 100);
  EXPECT_EQ(parse_bmodel_head(bytes, bytes.size() + 100, "f").chip, "BM1684X");
  EXPECT_EQ(parse_bmodel_head(bytes, bytes.size() + 101, "f").chip, "BM1684X")
      << "more than announced is the runtime's business";
}

TEST(BmodelHead, TruncatedFile) {
  const auto bytes = head("BM1688", 100);
  const std::string message = message_of(
      ErrorCode::kModel, [&] { parse_bmodel_head(bytes, bytes.size() + 99, "f.bmodel"); });
  EXPECT_NE(
      message.find("f.bmodel: truncated bmodel: expected " + std::to_string(bytes.size() + 100)),
      std::string::npos)
      << message;
  for (std::size_t size = 0; size < bytes.size(); ++size)
    message_of(ErrorCode::kModel,
               [&] { parse_bmodel_head(std::span(bytes).first(size), size, "f"); });
}

TEST(BmodelHead, DamagedTableHasNoChip) {
  const auto whole = head("BM1688", 0);
  for (std::size_t at = 64; at < whole.size() - 6; ++at) {
    auto bytes = whole;
    bytes[at] = std::byte{0xff};
    const std::string chip = parse_bmodel_head(bytes, bytes.size(), "f").chip;
    EXPECT_TRUE(chip.empty() || chip == "BM1688") << at << ": " << chip;
  }
}

TEST(Roles, ByTypeAndShape) {
  const Port picture = port(DataType::kF32, {1, 3, 384, 384}),
             tokens = port(DataType::kF32, {1, 577, 768});
  const Port ids = port(DataType::kI32, {1, 35}), float_ids = port(DataType::kF32, {1, 35}),
             one = port(DataType::kF32, {1});
  const auto role = [](std::vector<Port> in, std::vector<Port> out) {
    return find_role("f", "s", in, out);
  };
  EXPECT_EQ(role({picture}, {ids}), Role::kCaption);
  EXPECT_EQ(role({picture}, {float_ids}), Role::kCaption);
  EXPECT_EQ(role({picture}, {tokens}), Role::kVision);
  EXPECT_EQ(role({picture, ids, float_ids}, {one}), Role::kMatch);
  EXPECT_EQ(role({tokens, float_ids, ids}, {tokens}), Role::kQuestion);
  EXPECT_EQ(role({tokens}, {ids}), Role::kAnswer);
  message_of(ErrorCode::kModel, [&] { role({picture}, {one}); });
  message_of(ErrorCode::kModel, [&] { role({picture, ids}, {one}); });
  message_of(ErrorCode::kModel, [&] {
    role({picture, ids, port(DataType::kF32, {1, 34})}, {one});
  });
  message_of(ErrorCode::kModel, [&] { role({port(DataType::kF32, {1, 3, 384, 256})}, {ids}); });
  message_of(ErrorCode::kModel, [&] { role({port(DataType::kF16, {1, 3, 384, 384})}, {ids}); });
  message_of(ErrorCode::kModel, [&] { role({picture}, {ids, ids}); });
  message_of(ErrorCode::kModel, [&] { role({}, {ids}); });
}

TEST(FixedDecoding, DefaultsAndGreedyAreNoRequest) {
  const GenerateOptions defaults;
  EXPECT_NO_THROW(check_fixed_options(defaults, defaults, 8, "caption"));
  EXPECT_NO_THROW(check_fixed_options({.beams = 1, .max_length = 8}, defaults, 8, "caption"));
  for (const GenerateOptions& asked :
       {GenerateOptions{.beams = 2}, GenerateOptions{.min_length = 6},
        GenerateOptions{.max_length = 9}, GenerateOptions{.repetition_penalty = 1.5f},
        GenerateOptions{.sample = true}, GenerateOptions{.num_return = 2}})
    message_of(ErrorCode::kUnsupported,
               [&] { check_fixed_options(asked, defaults, 8, "caption"); });
  GenerateOptions forbid, force;
  forbid.forbid_words = {"dog"};
  force.force_words = {"cat|dog"};
  for (const auto& [asked, name] : {std::pair{forbid, "forbid_words"},
                                    {force, "force_words"},
                                    {GenerateOptions{.length_penalty = 2}, "length_penalty"},
                                    {GenerateOptions{.no_repeat_ngram = 2}, "no_repeat_ngram"}}) {
    const std::string message = message_of(ErrorCode::kUnsupported, [&, &options = asked] {
      check_fixed_options(options, defaults, 8, "caption");
    });
    EXPECT_TRUE(message.starts_with(std::string(name) + " is not possible")) << message;
  }
}

TEST(FixedDecoding, TextEndsWithItsEndToken) {
  const TokenIds prompt{30522, 1037};
  const CompiledVocabulary words{30522, 102, 0, 30524};
  EXPECT_EQ(fixed_text(TokenIds{30522, 1037, 7, 102, 0, 9}, prompt, words, "f").ids,
            (TokenIds{30522, 1037, 7, 102}));
  EXPECT_EQ(fixed_text(TokenIds{30522, 1037, 7, 8}, prompt, words, "f").ids,
            (TokenIds{30522, 1037, 7, 8}));
  const std::string message = message_of(ErrorCode::kModel, [&] {
    fixed_text(TokenIds{30522, 5, 7}, prompt, words, "f");
  });
  EXPECT_NE(message.find("30522, 5"), std::string::npos) << message;
  message_of(ErrorCode::kModel, [&] { fixed_text(TokenIds{30522}, prompt, words, "f"); });
  for (const std::int32_t id : {30524, -1}) {
    const std::string beyond = message_of(ErrorCode::kModel, [&] {
      fixed_text(TokenIds{30522, 1037, id, 102}, prompt, words, "f");
    });
    EXPECT_NE(beyond.find("the vocabulary ends at 30523"), std::string::npos) << beyond;
  }
  // What comes after the end is no text.
  EXPECT_EQ(fixed_text(TokenIds{30522, 1037, 102, 99999}, prompt, words, "f").ids,
            (TokenIds{30522, 1037, 102}));
}

}  // namespace
}  // namespace blip::backend::sophon
