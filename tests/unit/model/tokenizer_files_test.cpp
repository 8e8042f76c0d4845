// The vocabulary of a model folder: what transformers reads, and what is refused because its
// versions differ.
#include "model/tokenizer_files.h"

#include "model/gguf_config.h"
#include "model_fixture.h"
#include "text/tokenizer.h"

namespace blip::model {
namespace {

using Ids = std::vector<std::int32_t>;

FolderVocabulary read(const Json& files, const TemporaryFolder& folder) {
  for (const auto& [name, content] : files.items())
    folder.write(name, content.is_string() ? content.get<std::string>() : content.dump());
  const auto vocabulary = load_vocabulary(folder.path());
  EXPECT_TRUE(vocabulary.has_value());
  return *vocabulary;
}

Json cases() { return load_json(data_path("tokenizers.json")); }

Json files_of(const std::string& name) {
  for (const Json& one : cases()) {
    if (one["name"] == name) return one["files"];
  }
  ADD_FAILURE() << name;
  return {};
}

std::string refusal(const std::string& name, const std::function<void(Json&)>& change) {
  Json files = files_of(name);
  change(files);
  const TemporaryFolder folder;
  return error_of(ErrorCode::kModel, [&] { read(files, folder); });
}

TEST(FolderVocabulary, EqualsTransformers) {
  const Json all = cases();
  ASSERT_GE(all.size(), 29u);
  for (const Json& one : all) {
    const TemporaryFolder folder;
    const FolderVocabulary found = read(one["files"], folder);
    const text::Tokenizer tokenizer(found.vocabulary);
    for (const Json& row : one["texts"])
      EXPECT_EQ(tokenizer.encode(row[0].get<std::string>()).ids, row[1].get<Ids>())
          << one["name"] << row[0];
    for (const Json& row : one["ids"])
      EXPECT_EQ(tokenizer.decode(row[0].get<Ids>()), row[1].get<std::string>())
          << one["name"] << row[0];
    EXPECT_EQ(found.warnings, std::vector<std::string>{}) << one["name"];
  }
}

// A converted file answers as its folder did.
TEST(FolderVocabulary, ComesBackFromGgufMetadata) {
  for (const Json& one : cases()) {
    const TemporaryFolder folder;
    const text::Vocabulary vocabulary = read(one["files"], folder).vocabulary;
    Metadata metadata;
    write_vocabulary(vocabulary, {.bos = 2, .eos = 3, .pad = 0, .question = 2},
                     static_cast<int>(vocabulary.tokens.size()) + 3, metadata);
    TokenIds ids;
    const auto back = read_vocabulary(metadata, "m.gguf", ids);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(ids.bos, 2);
    EXPECT_EQ(ids.question, 2);
    const text::Tokenizer tokenizer(*back);
    for (const Json& row : one["texts"])
      EXPECT_EQ(tokenizer.encode(row[0].get<std::string>()).ids, row[1].get<Ids>())
          << one["name"] << row[0];
    for (const Json& row : one["ids"])
      EXPECT_EQ(tokenizer.decode(row[0].get<Ids>()), row[1].get<std::string>())
          << one["name"] << row[0];
  }
}

TEST(FolderVocabulary, IsNoneInAFolderWithoutOne) {
  const TemporaryFolder folder;
  EXPECT_FALSE(load_vocabulary(folder.path()).has_value());
}

TEST(FolderVocabulary, RefusesFilesThatContradictEachOther) {
  const auto in_config = [](const char* key, const Json& value) {
    return refusal("tokenizer.json",
                   [&](Json& files) { files["tokenizer_config.json"][key] = value; });
  };
  expect_contains(in_config("do_lower_case", false),
                  "tokenizer_config.json: do_lower_case is false, but normalizer.lowercase of ");
  expect_contains(in_config("strip_accents", false),
                  "tokenizer_config.json: strip_accents is false");
  expect_contains(in_config("tokenize_chinese_chars", false),
                  "tokenizer_config.json: tokenize_chinese_chars is false");
  expect_contains(in_config("sep_token", "."),
                  "tokenizer_config.json: sep_token is \".\", but \"[SEP]\" in ");
  expect_contains(in_config("unk_token", "a"),
                  "tokenizer_config.json: unk_token is \"a\", but \"[UNK]\" in ");
  expect_contains(in_config("cls_token", {{"content", 3}}),
                  "tokenizer_config.json: cls_token.content is 3; expected a string");
  expect_contains(refusal("tokenizer.json and vocab.txt",
                          [](Json& files) { files["vocab.txt"] = "[PAD]\n[UNK]\n"; }),
                  "vocab.txt has 2 tokens, ");
  expect_contains(refusal("tokenizer.json and vocab.txt",
                          [](Json& files) {
                            auto text = files["vocab.txt"].get<std::string>();
                            files["vocab.txt"] = text.replace(text.find("cat"), 3, "dog");
                          }),
                  "vocab.txt: token 6 is \"dog\", but \"cat\" in ");
}

// transformers gives such tokens other ids than their file.
TEST(FolderVocabulary, RefusesIdsThatAreMissingOrTaken) {
  const auto added = [](const Json& tokens) {
    return refusal("added_tokens.json", [&](Json& files) { files["added_tokens.json"] = tokens; });
  };
  expect_contains(added({{"<sks>", 42}}),
                  "added_tokens.json: \"<sks>\" has id 42, but there are only 40 tokens before it: "
                  "ids are missing");
  expect_contains(added({{"<sks>", 7}}), "\"<sks>\" has id 7, which is that of \"Cat\"");
  expect_contains(added({{"cat", 40}}), "\"cat\" has id 40, but 6 in ");
  expect_contains(added({{"<sks>", "x"}}), "<sks> is \"x\"; expected an integer");
  expect_contains(added({{"<a>", 40}, {"<b>", 40}}), "expected one of its own");
  const auto decoder = [](const char* id, const Json& token) {
    return refusal("added_tokens_decoder", [&](Json& files) {
      files["tokenizer_config.json"]["added_tokens_decoder"] = {{id, token}};
    });
  };
  expect_contains(decoder("x", {{"content", "<a>"}}),
                  "added_tokens_decoder: the key \"x\" is not a token's id");
  expect_contains(decoder("99999999999", {{"content", "<a>"}}), "is not a token's id");
  expect_contains(decoder("40", {{"content", "<a>"}, {"lstrip", 1}}),
                  "added_tokens_decoder.40.lstrip is 1; expected true or false");
  expect_contains(decoder("40", 3), "added_tokens_decoder.40 is 3; expected an object");
}

TEST(FolderVocabulary, RefusesOtherTokenizersByName) {
  const auto in_config = [](const char* key, const Json& value) {
    return refusal("vocab.txt alone",
                   [&](Json& files) { files["tokenizer_config.json"][key] = value; });
  };
  expect_contains(
      in_config("tokenizer_class", "GPT2Tokenizer"),
      "tokenizer_config.json: tokenizer_class is \"GPT2Tokenizer\"; expected \"BertTokenizer\"");
  expect_contains(in_config("truncation_side", "left"),
                  "tokenizer_config.json: truncation_side is \"left\"; expected \"right\"");
  expect_contains(in_config("do_lower_case", "no"),
                  "do_lower_case is \"no\"; expected true or false");
}

TEST(FolderVocabulary, WarnsOfKeysItDoesNotKnow) {
  Json files = files_of("vocab.txt alone");
  files["tokenizer_config.json"]["wordpieces_prefix"] = "@@";
  const TemporaryFolder folder;
  EXPECT_EQ(read(files, folder).warnings,
            (std::vector<std::string>{folder.file("tokenizer_config.json") +
                                      ": wordpieces_prefix is not known: not followed"}));
}

Metadata gguf_vocabulary() {
  Metadata metadata;
  write_vocabulary(text::official_vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"}),
                   {.bos = 6, .eos = 3, .pad = 0, .question = 7}, 8, metadata);
  return metadata;
}

std::string gguf_error(const Metadata& metadata) {
  return error_of(ErrorCode::kModel, [&] {
    TokenIds ids;
    read_vocabulary(metadata, "m.gguf", ids);
  });
}

TEST(GgufVocabulary, IdsAreCheckedAndFollowed) {
  for (const char* name : {"padding", "unknown", "cls", "seperator", "bos", "eos"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{8}, std::int64_t{1} << 40}) {
      Metadata metadata = gguf_vocabulary();
      metadata[key] = wrong;
      expect_contains(gguf_error(metadata), "m.gguf: " + key + " is " + std::to_string(wrong) +
                                                "; expected an id of the 8 tokens");
    }
    Metadata metadata = gguf_vocabulary();
    metadata[key] = std::string("x");
    expect_contains(gguf_error(metadata), "m.gguf: " + key + " is no integer");
  }
  Metadata metadata = gguf_vocabulary();
  metadata["tokenizer.ggml.bos_token_id"] = std::int64_t{4};
  metadata["tokenizer.ggml.seperator_token_id"] = std::int64_t{5};
  TokenIds ids;
  const auto vocabulary = read_vocabulary(metadata, "m.gguf", ids);
  EXPECT_EQ(ids.bos, 4);
  EXPECT_EQ(ids.eos, 3);
  EXPECT_EQ(text::Tokenizer(*vocabulary).encode("a").ids, (Ids{2, 4, 5}));
}

TEST(GgufVocabulary, SettingsAreChecked) {
  Metadata metadata = gguf_vocabulary();
  metadata["blip.tokenizer"] = std::string("[[[");
  expect_contains(gguf_error(metadata), "m.gguf: blip.tokenizer: not valid JSON");
  metadata["blip.tokenizer"] = std::int64_t{1};
  expect_contains(gguf_error(metadata), "m.gguf: blip.tokenizer is not a string");
}

}  // namespace
}  // namespace blip::model
