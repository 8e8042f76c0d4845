// The tokenizer over any bytes: as text, as vocab.txt and as tokenizer.json.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

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
  require(whole.ids.size() >= 2 && whole.ids.front() == tokenizer.special().cls && whole.ids.back() == tokenizer.special().sep);
  for (std::int32_t id : whole.ids) require(id >= 0 && id < tokenizer.size());
  const auto cut = tokenizer.encode(text, 6);
  require(cut.ids.size() == std::min<std::size_t>(whole.ids.size(), 6) && cut.truncated == (whole.ids.size() > 6));
  require(std::equal(cut.ids.begin(), cut.ids.end() - 1, whole.ids.begin()));
  // What the tokenizer says is UTF-8, whatever it read.
  std::string again;
  const std::string decoded = tokenizer.decode(whole.ids);
  for (char32_t c : blip::text::decode_utf8(decoded)) blip::text::append_utf8(again, c);
  require(again == decoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer uncased{Tokenizer::bundled_vocabulary()}, cased{Tokenizer::bundled_vocabulary(), false};
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0: check_text(uncased, text); break;
      case 1: check_text(cased, text); break;
      case 2: check_text(Tokenizer(Tokenizer::parse_vocab_txt(text)), text); break;
      case 3: check_text(Tokenizer(Tokenizer::parse_tokenizer_json(text)), text); break;
    }
  } catch (const blip::Error& error) {
    require(error.code() == blip::ErrorCode::kModel);
  }
  return 0;
}
