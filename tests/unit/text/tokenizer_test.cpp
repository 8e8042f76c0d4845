#include "text/tokenizer.h"

#include <functional>
#include <memory>

#include "blip/error.h"
#include "goldens.h"

namespace blip::text {
namespace {

using Ids = std::vector<std::int32_t>;

const Tokenizer& bert() {
  static const Tokenizer tokenizer{official_vocabulary(bundled_tokens())};
  return tokenizer;
}

Tokenizer plain(std::vector<std::string> tokens) {
  return Tokenizer(official_vocabulary(std::move(tokens)));
}

Tokenizer small(bool lowercase = true) {
  Vocabulary vocabulary = official_vocabulary(parse_vocab_txt(read_golden("small_vocab.txt")));
  vocabulary.normalizer.lowercase = vocabulary.normalizer.strip_accents = lowercase;
  return Tokenizer(std::move(vocabulary));
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
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
    EXPECT_EQ(encoding.truncated, bert().encode(text).ids.size() > row[1].get<std::size_t>())
        << row[0];
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
  for (const auto& row : rows)
    EXPECT_EQ(bert().decode(row[0].get<Ids>()), row[1].get<std::string>()) << row[0];
}

TEST(Tokenizer, DecodeLeavesOutSpecialAndForeignIds) {
  EXPECT_EQ(
      bert().decode(Ids{101, 30522, 1037, -1, 3861, 100, 30524, 2147483647, 30523, 102, 0, 103}),
      "a picture");
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
  const Tokenizer own = plain({"x", "[SEP]", "[ENC]", "[UNK]", "[CLS]", "[PAD]"});
  EXPECT_EQ(own.special().sep, 1);
  EXPECT_EQ(own.special().enc, 2);
  EXPECT_EQ(own.special().dec, 6);
  EXPECT_EQ(own.special().mask, -1);
  EXPECT_EQ(own.size(), 7);
  EXPECT_EQ(own.encode("x[DEC]y [MASK]").ids, (Ids{4, 0, 6, 3, 3, 3, 3, 1}));
}

TEST(Tokenizer, CopiesAreIndependent) {
  auto first = std::make_unique<Tokenizer>(official_vocabulary(bundled_tokens()));
  const Tokenizer copy = *first;
  first.reset();
  EXPECT_EQ(copy.encode("a cat").ids, (Ids{101, 1037, 4937, 102}));
}

TEST(Tokenizer, RefusesVocabulariesItCannotUse) {
  expect_error([] { plain({"[PAD]", "[CLS]", "[SEP]"}); }, "[UNK] is missing");
  expect_error([] { plain({}); }, "[PAD] is missing");
  expect_error(
      [] {
        plain({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"});
      },
      "\"a\" occurs twice, as id 4 and as id 5");
  expect_error(
      [] {
        plain({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xFF"});
      },
      "token 4 is not valid UTF-8");
}

TEST(VocabTxt, ReadsLines) {
  using List = std::vector<std::string>;
  EXPECT_EQ(parse_vocab_txt(""), List{});
  EXPECT_EQ(parse_vocab_txt("a\nb\n"), (List{"a", "b"}));
  EXPECT_EQ(parse_vocab_txt("a\r\nb\r\n\r\nc"), (List{"a", "b", "", "c"}));
  EXPECT_EQ(parse_vocab_txt("\xEF\xBB\xBF[PAD]\n\xC2\xA0\n"), (List{"[PAD]", "\xC2\xA0"}));
}

TEST(VocabTxt, BundledIsTheFileInTheRepository) {
  std::ifstream file(BLIP_SOURCE_DIR "/data/bert-base-uncased/vocab.txt");
  const std::vector<std::string>& bundled = bundled_tokens();
  std::size_t i = 0;
  for (std::string line; std::getline(file, line); ++i) ASSERT_EQ(bundled.at(i), line) << i;
  EXPECT_EQ(i, 30522u);
  EXPECT_EQ(bundled.size(), 30522u);
}

TEST(TokenizerJson, EqualsVocabTxt) {
  const Vocabulary vocabulary = parse_tokenizer_json(read_golden("small_tokenizer.json"));
  EXPECT_EQ(vocabulary.tokens, small().vocabulary().tokens);
  EXPECT_EQ(vocabulary.normalizer, NormalizerOptions());
  EXPECT_EQ(vocabulary.added.size(), 7u);  // the five with a role, [DEC] and [ENC]
}

nlohmann::json minimal() {
  return {{"model", {{"type", "WordPiece"}, {"vocab", {{"b", 1}, {"a", 0}}}}},
          {"added_tokens", {{{"id", 2}, {"content", "[X]"}}, {{"id", 0}, {"content", "a"}}}}};
}

TEST(TokenizerJson, OrdersByIdAndAppendsAddedTokens) {
  EXPECT_EQ(parse_tokenizer_json(minimal().dump()).tokens,
            (std::vector<std::string>{"a", "b", "[X]"}));
}

TEST(TokenizerJson, TellsTheNormalizer) {
  nlohmann::json file = minimal();
  file["normalizer"] = {{"type", "BertNormalizer"},
                        {"lowercase", false},
                        {"strip_accents", nullptr},
                        {"handle_chinese_chars", false}};
  EXPECT_EQ(parse_tokenizer_json(file.dump()).normalizer, (NormalizerOptions{false, false, false}));
  file["normalizer"]["strip_accents"] = true;
  EXPECT_EQ(parse_tokenizer_json(file.dump()).normalizer, (NormalizerOptions{false, true, false}));
}

TEST(TokenizerJson, TellsAddedTokensAndFrame) {
  nlohmann::json file = minimal();
  file["added_tokens"][0].update({{"special", true}, {"rstrip", true}});
  file["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"b", 1}}, {"sep", {"a", 0}}};
  const Vocabulary vocabulary = parse_tokenizer_json(file.dump());
  AddedToken x = special_token("[X]", 2);
  x.rstrip = true;
  x.is_piece = false;
  ASSERT_EQ(vocabulary.added.size(), 2u);
  EXPECT_EQ(vocabulary.added[0], x);
  EXPECT_TRUE(vocabulary.added[1].is_piece);
  EXPECT_EQ(vocabulary.cls, "b");
  EXPECT_EQ(vocabulary.sep, "a");
}

// The parts that a GGUF file keeps beside the tokens.
TEST(VocabularySettings, ComeBack) {
  EXPECT_EQ(settings_json(official_vocabulary(bundled_tokens())), "");
  Vocabulary vocabulary = official_vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "<s>"});
  vocabulary.normalizer = {false, true, false};
  vocabulary.clean_up_spaces = false;
  vocabulary.sep = "a";
  vocabulary.added.push_back({"<s>", 5, false, true, true, false, true, false});
  const std::string settings = settings_json(vocabulary);
  Vocabulary back = plain_vocabulary(vocabulary.tokens);
  apply_settings(back, settings, "m.gguf");
  EXPECT_EQ(back, vocabulary);
  expect_error([&] { apply_settings(back, "[]", "m.gguf: blip.tokenizer"); },
               "m.gguf: blip.tokenizer: expected an object, got []");
  expect_error(
      [&] { apply_settings(back, R"({"added_tokens": [{"id": -1, "content": "x"}]})", "m.gguf"); },
      "expected a number from 0, got -1");
}

TEST(AddedTokens, MustBeAmongTheTokensAndShort) {
  Vocabulary vocabulary = official_vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"});
  vocabulary.added.push_back(special_token("b", 4));
  expect_error([&] { Tokenizer{vocabulary}; }, "the added token \"b\" does not have id 4");
  vocabulary.added.back() = special_token(std::string(1001, 'x'), 7);
  vocabulary.tokens.push_back(vocabulary.added.back().content);
  expect_error([&] { Tokenizer{vocabulary}; }, "has 1001 bytes; at most 1000");
}

// A text with a prompt is decoded as a whole, as the reference does, then the prompt goes.
TEST(Tokenizer, DecodesWhatFollowsAPrompt) {
  const auto after = [](const std::vector<std::int32_t>& prompt, Ids ids) {
    ids.insert(ids.begin(), prompt.begin(), prompt.end());
    return bert().decode_after(ids, prompt.size());
  };
  const Ids picture{30522, 1037, 3861, 1997};  // [DEC] a picture of
  EXPECT_EQ(after(picture, {4937, 102}), "cat");
  // ##bial: inside the word
  EXPECT_EQ(after(picture, {21077, 4937}), bert().decode(Ids{1037, 21077, 4937}).substr(1));
  EXPECT_TRUE(bert().vocabulary().tokens[21077].starts_with("##"));
  EXPECT_EQ(after(picture, {1010, 4937}), ", cat");
  EXPECT_EQ(after({30522, 2009}, {1005, 1055, 1037}), "'s a");  // it | ' s a: cleaning joins them
  EXPECT_EQ(after({30522, 2009, 1005}, {1055, 1037}), "s a");   // it ' | s a
  EXPECT_EQ(after(picture, {102}), "");
  EXPECT_EQ(after(picture, {}), "");
  EXPECT_EQ(after({30522}, {4937}), "cat");
  EXPECT_EQ(bert().decode_after(Ids{4937, 3899}, 0), "cat dog");
}

TEST(Tokenizer, TellsTextsWithoutAToken) {
  for (const char* text : {"", " \t\n", "\u200b", "\x01\x02", "\u0301", "\u00a0\u3000", "\ufeff",
                           "\ufffd", "\u200d \u200b"}) {
    EXPECT_TRUE(bert().encode(text).empty()) << testing::PrintToString(text);
  }
  for (const char* text : {"a", ".", "[SEP]", "\u4f60", "\U0001f600"})
    EXPECT_FALSE(bert().encode(text).empty()) << text;
  EXPECT_FALSE(bert().encode("a b", 2).empty());  // cut off, not empty
}

TEST(TokenizerJson, RefusesOtherTokenizers) {
  const auto refuse = [](const std::string& path, const nlohmann::json& value,
                         const std::string& part) {
    nlohmann::json file = minimal();
    file[nlohmann::json::json_pointer(path)] = value;
    expect_error([&] { parse_tokenizer_json(file.dump()); }, part);
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
  refuse("/normalizer/strip_accents", 3, "normalizer.strip_accents");
  refuse("/normalizer/clean_text", false, "normalizer.clean_text: expected true, got false");
  refuse("/decoder", {{"type", "WordPiece"}, {"cleanup", false}}, "decoder.cleanup");
  refuse("/decoder", {{"type", "BPEDecoder"}}, "decoder.type");
  refuse("/post_processor", {{"type", "RobertaProcessing"}}, "post_processor");
  refuse("/added_tokens/0/lstrip", "yes", "added_tokens.lstrip");
  refuse("/pre_tokenizer/type", "Whitespace", "pre_tokenizer.type");
}

TEST(TokenizerJson, RefusesWhatIsNotJson) {
  expect_error([] { parse_tokenizer_json(""); }, "tokenizer.json: not valid JSON: ");
  expect_error([] { parse_tokenizer_json("{\"model\": "); },
               "not valid JSON: parse error at line 1, column 11");
  expect_error([] { parse_tokenizer_json("[1e999]"); }, "not valid JSON");
  expect_error([] { parse_tokenizer_json("[]"); }, "expected an object, got []");
  expect_error([] { parse_tokenizer_json("{}"); }, "no \"model\" object");
  expect_error([] { parse_tokenizer_json(std::string(200000, '[') + std::string(200000, ']')); },
               "nested deeper than 64 levels");
  expect_error([] { parse_tokenizer_json(R"({"model": {"vocab": {"a": 0, "a": 1}}})"); },
               "the key \"a\" appears twice");
}

}  // namespace
}  // namespace blip::text
