// The tokenizer over any bytes: as text, as vocab.txt and as tokenizer.json.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "blip/error.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace {

using blip::text::Tokenizer;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  const auto whole = tokenizer.encode(text);
  require(whole.ids.size() >= 2 && whole.ids.front() == tokenizer.special().cls &&
          whole.ids.back() == tokenizer.special().sep);
  for (std::int32_t id : whole.ids) require(id >= 0 && id < tokenizer.size());
  const auto cut = tokenizer.encode(text, 6);
  require(cut.ids.size() == std::min<std::size_t>(whole.ids.size(), 6) &&
          cut.truncated == (whole.ids.size() > 6));
  require(std::equal(cut.ids.begin(), cut.ids.end() - 1, whole.ids.begin()));
  // What the tokenizer says is UTF-8, whatever it read.
  std::string again;
  const std::string decoded = tokenizer.decode(whole.ids);
  for (char32_t c : blip::decode_utf8(decoded)) blip::append_utf8(again, c);
  require(again == decoded);
  for (const std::size_t prompt : {std::size_t{0}, whole.ids.size() / 2, whole.ids.size()}) {
    require(tokenizer.decode_after(whole.ids, prompt).size() <= decoded.size());
  }
}

// Cased, with added tokens of every kind that overlap.
blip::text::Vocabulary busy_vocabulary() {
  blip::text::Vocabulary vocabulary = blip::text::official_vocabulary(blip::text::bundled_tokens());
  vocabulary.normalizer = {false, false, false};
  const char* contents[] = {"<a>", "<a><", "b ", " c", "\u00e9x", "<<", ">", "dd"};
  for (unsigned i = 0; i < std::size(contents); ++i) {
    // One that is a word of the vocabulary already keeps its id.
    const auto word = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), contents[i]);
    const auto id = static_cast<std::int32_t>(word - vocabulary.tokens.begin());
    if (word == vocabulary.tokens.end()) vocabulary.tokens.emplace_back(contents[i]);
    vocabulary.added.push_back(
        {contents[i], id, i % 2 == 0, i % 3 != 0, i % 4 == 1, i % 4 == 2, i % 5 == 4, false});
  }
  return vocabulary;
}

// What a GGUF file keeps of a vocabulary gives the same tokenizer.
void check_vocabulary(const blip::text::Vocabulary& vocabulary, std::string_view text) {
  const Tokenizer tokenizer(vocabulary);
  check_text(tokenizer, text);
  blip::text::Vocabulary again = blip::text::official_vocabulary(vocabulary.tokens);
  const std::string settings = blip::text::settings_json(vocabulary);
  if (!settings.empty())
    blip::text::apply_settings(again = blip::text::plain_vocabulary(vocabulary.tokens), settings,
                               "settings");
  require(Tokenizer(again).encode(text).ids == tokenizer.encode(text).ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer uncased{blip::text::official_vocabulary(blip::text::bundled_tokens())},
      other{busy_vocabulary()};
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0:
        check_text(uncased, text);
        break;
      case 1:
        check_text(other, text);
        break;
      case 2:
        check_text(Tokenizer(blip::text::official_vocabulary(blip::text::parse_vocab_txt(text))),
                   text);
        break;
      case 3:
        check_vocabulary(blip::text::parse_tokenizer_json(text), text);
        break;
    }
  } catch (const blip::Error& error) {
    require(error.code() == blip::ErrorCode::kModel);
  }
  return 0;
}
