#include "text/tokenizer.h"

#include <functional>
#include <memory>

#include "blip/error.h"
#include "goldens.h"

namespace blip::text {
namespace {

using Ids = std::vector<std::int32_t>;

const Tokenizer& bert() {
  static const Tokenizer tokenizer{Tokenizer::bundled_vocabulary()};
  return tokenizer;
}

Tokenizer small(bool lowercase = true) { return Tokenizer(Tokenizer::parse_vocab_txt(read_golden("small_vocab.txt")), lowercase); }

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

TEST(Tokenizer, EncodesAsTheReference) {
  const nlohmann::json rows = json_golden("encode.json");
  ASSERT_GT(rows.size(), 1000u);
  for (const auto& row : rows) {
    const Encoding encoding = bert().encode(row[0].get<std::string>());
    EXPECT_EQ(encoding.ids, row[1].get<Ids>()) << row[0];
    EXPECT_FALSE(encoding.truncated);
  }
}

TEST(Tokenizer, EncodesInvalidUtf8AsTheReference) {
  for (const auto& row : json_golden("bytes.json")) {
    EXPECT_EQ(bert().encode(from_hex(row[0].get<std::string>())).ids, row[1].get<Ids>()) << row[0];
  }
}

TEST(Tokenizer, TruncatesAsTheReference) {
  for (const auto& row : json_golden("truncate.json")) {
    const std::string text = row[0].get<std::string>();
    const Encoding encoding = bert().encode(text, row[1].get<int>());
    EXPECT_EQ(encoding.ids, row[2].get<Ids>()) << row[0];
    EXPECT_EQ(encoding.truncated, bert().encode(text).ids.size() > row[1].get<std::size_t>()) << row[0];
  }
}

TEST(Tokenizer, TruncationKeepsBothEnds) {
  EXPECT_EQ(bert().encode("a picture of").ids, (Ids{101, 1037, 3861, 1997, 102}));
  EXPECT_FALSE(bert().encode("a picture of", 5).truncated);
  EXPECT_EQ(bert().encode("a picture of", 4).ids, (Ids{101, 1037, 3861, 102}));
  EXPECT_TRUE(bert().encode("a picture of", 4).truncated);
  EXPECT_EQ(bert().encode("a picture of", 1).ids, (Ids{101, 102}));
  EXPECT_EQ(bert().encode("[SEP][SEP]", 3).ids, (Ids{101, 102, 102}));
  EXPECT_EQ(bert().encode("", 1).ids, (Ids{101, 102}));
  EXPECT_FALSE(bert().encode("", 1).truncated);
}

TEST(Tokenizer, DecodesAsTheReference) {
  const nlohmann::json rows = json_golden("decode.json");
  ASSERT_GT(rows.size(), 500u);
  for (const auto& row : rows) EXPECT_EQ(bert().decode(row[0].get<Ids>()), row[1].get<std::string>()) << row[0];
}

TEST(Tokenizer, DecodeLeavesOutSpecialAndForeignIds) {
  EXPECT_EQ(bert().decode(Ids{101, 30522, 1037, -1, 3861, 100, 30524, 2147483647, 30523, 102, 0, 103}), "a picture");
  EXPECT_EQ(bert().decode(Ids{}), "");
  EXPECT_EQ(bert().decode(bert().encode("Don't stop, it's a cat.").ids), "don't stop, it's a cat.");
}

TEST(Tokenizer, EqualsTheReferenceOverAnotherVocabulary) {
  const Tokenizer uncased = small(), cased = small(false);
  for (const auto& row : json_golden("small.json")) {
    const Tokenizer& tokenizer = row[0].get<bool>() ? uncased : cased;
    EXPECT_EQ(tokenizer.encode(row[1].get<std::string>()).ids, row[2].get<Ids>()) << row;
  }
  for (const auto& row : json_golden("small_decode.json")) {
    EXPECT_EQ(uncased.decode(row[0].get<Ids>()), row[1].get<std::string>()) << row;
  }
}

TEST(Tokenizer, FindsSpecialTokensInTheVocabulary) {
  EXPECT_EQ(bert().size(), 30524);
  EXPECT_EQ(bert().special().dec, 30522);
  EXPECT_EQ(bert().special().enc, 30523);
  EXPECT_EQ(bert().special().mask, 103);
  const Tokenizer own({"x", "[SEP]", "[ENC]", "[UNK]", "[CLS]", "[PAD]"});
  EXPECT_EQ(own.special().sep, 1);
  EXPECT_EQ(own.special().enc, 2);
  EXPECT_EQ(own.special().dec, 6);
  EXPECT_EQ(own.special().mask, -1);
  EXPECT_EQ(own.size(), 7);
  EXPECT_EQ(own.encode("x[DEC]y [MASK]").ids, (Ids{4, 0, 6, 3, 3, 3, 3, 1}));
}

TEST(Tokenizer, CopiesAreIndependent) {
  auto first = std::make_unique<Tokenizer>(Tokenizer::bundled_vocabulary());
  const Tokenizer copy = *first;
  first.reset();
  EXPECT_EQ(copy.encode("a cat").ids, (Ids{101, 1037, 4937, 102}));
}

void expect_error(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    FAIL() << "no error; expected one with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Tokenizer, RefusesVocabulariesItCannotUse) {
  expect_error([] { Tokenizer({"[PAD]", "[CLS]", "[SEP]"}); }, "[UNK] is missing");
  expect_error([] { Tokenizer({}); }, "[PAD] is missing");
  expect_error([] { Tokenizer({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"}); }, "\"a\" occurs twice, as id 4 and as id 5");
  expect_error([] { Tokenizer({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xFF"}); }, "token 4 is not valid UTF-8");
}

TEST(VocabTxt, ReadsLines) {
  using List = std::vector<std::string>;
  EXPECT_EQ(Tokenizer::parse_vocab_txt(""), List{});
  EXPECT_EQ(Tokenizer::parse_vocab_txt("a\nb\n"), (List{"a", "b"}));
  EXPECT_EQ(Tokenizer::parse_vocab_txt("a\r\nb\r\n\r\nc"), (List{"a", "b", "", "c"}));
  EXPECT_EQ(Tokenizer::parse_vocab_txt("\xEF\xBB\xBF[PAD]\n\xC2\xA0\n"), (List{"[PAD]", "\xC2\xA0"}));
}

TEST(VocabTxt, BundledIsTheFileInTheRepository) {
  std::ifstream file(BLIP_SOURCE_DIR "/data/bert-base-uncased/vocab.txt");
  const std::vector<std::string>& bundled = Tokenizer::bundled_vocabulary();
  std::size_t i = 0;
  for (std::string line; std::getline(file, line); ++i) ASSERT_EQ(bundled.at(i), line) << i;
  EXPECT_EQ(i, 30522u);
  EXPECT_EQ(bundled.size(), 30522u);
}

TEST(TokenizerJson, EqualsVocabTxt) {
  bool lowercase = false;
  EXPECT_EQ(Tokenizer::parse_tokenizer_json(read_golden("small_tokenizer.json"), &lowercase), small().vocabulary());
  EXPECT_TRUE(lowercase);
}

nlohmann::json minimal() {
  return {{"model", {{"type", "WordPiece"}, {"vocab", {{"b", 1}, {"a", 0}}}}},
          {"added_tokens", {{{"id", 2}, {"content", "[X]"}}, {{"id", 0}, {"content", "a"}}}}};
}

TEST(TokenizerJson, OrdersByIdAndAppendsAddedTokens) {
  EXPECT_EQ(Tokenizer::parse_tokenizer_json(minimal().dump()), (std::vector<std::string>{"a", "b", "[X]"}));
}

TEST(TokenizerJson, TellsCased) {
  nlohmann::json file = minimal();
  file["normalizer"] = {{"type", "BertNormalizer"}, {"lowercase", false}, {"strip_accents", nullptr}};
  bool lowercase = true;
  Tokenizer::parse_tokenizer_json(file.dump(), &lowercase);
  EXPECT_FALSE(lowercase);
}

TEST(TokenizerJson, RefusesOtherTokenizers) {
  const auto refuse = [](const std::string& path, const nlohmann::json& value, const std::string& part) {
    nlohmann::json file = minimal();
    file[nlohmann::json::json_pointer(path)] = value;
    expect_error([&] { Tokenizer::parse_tokenizer_json(file.dump()); }, part);
  };
  refuse("/model/type", "BPE", "model.type: expected \"WordPiece\", got \"BPE\"");
  refuse("/model/continuing_subword_prefix", "@@", "continuing_subword_prefix");
  refuse("/model/max_input_chars_per_word", 50, "expected 100, got 50");
  refuse("/model/vocab", nlohmann::json::array(), "model.vocab");
  refuse("/model/vocab/c", 1, "id 1 is given to both");
  refuse("/model/vocab/c", 4, "no token has id 3");
  refuse("/model/vocab/c", 1000000000000, "ids are missing");
  refuse("/model/vocab/c", -1, "expected a number from 0, got -1");
  refuse("/model/vocab/c", 1.5, "expected a number from 0, got 1.5");
  refuse("/added_tokens/0", 7, "added_tokens");
  refuse("/added_tokens", 7, "added_tokens");
  refuse("/normalizer", nullptr, "normalizer: expected an object, got null");
  refuse("/normalizer/type", "NFC", "normalizer.type");
  refuse("/normalizer/lowercase", "yes", "normalizer.lowercase");
  refuse("/normalizer/strip_accents", false, "normalizer.strip_accents");
  refuse("/pre_tokenizer/type", "Whitespace", "pre_tokenizer.type");
}

TEST(TokenizerJson, RefusesWhatIsNotJson) {
  expect_error([] { Tokenizer::parse_tokenizer_json(""); }, "not valid JSON at byte 1");
  expect_error([] { Tokenizer::parse_tokenizer_json("{\"model\": "); }, "not valid JSON at byte");
  expect_error([] { Tokenizer::parse_tokenizer_json("[1e999]"); }, "not valid JSON");
  expect_error([] { Tokenizer::parse_tokenizer_json("[]"); }, "expected an object, got []");
  expect_error([] { Tokenizer::parse_tokenizer_json("{}"); }, "no \"model\" object");
  expect_error([] { Tokenizer::parse_tokenizer_json(std::string(200000, '[')); }, "not valid JSON");
}

}  // namespace
}  // namespace blip::text
