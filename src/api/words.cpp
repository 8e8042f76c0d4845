#include "api/words.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "blip/error.h"
#include "blip/limits.h"

namespace blip {
namespace {

// A forced word's: as many as all forced words may be.
constexpr std::size_t kMaxAlternatives = option_named("force_words").whole_high();

[[noreturn]] void refuse(const Option& option, std::string_view word, const std::string& why) {
  throw Error(ErrorCode::kUsage,
              std::string(option.name) + ": \"" + std::string(word) + "\" " + why);
}

std::vector<std::string> split(const std::string& words) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= words.size();) {
    const std::size_t end = std::min(words.find('|', at), words.size());
    parts.push_back(words.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// Empty: the vocabulary cannot spell it.
std::vector<std::int32_t> tokens_of(const Option& option, const std::string& word,
                                    const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = tokenizer.encode(word).ids;
  ids.erase(ids.begin());  // [CLS] and [SEP]
  ids.pop_back();
  if (ids.empty()) refuse(option, word, "is empty: give at least one word");
  const std::int32_t unknown = tokenizer.special().unk;
  for (const std::int32_t id : ids)
    if (id != unknown && tokenizer.decode(std::span(&id, 1)).empty())
      refuse(option, word, "has a special token of the model, which is no word of a text");
  if (std::find(ids.begin(), ids.end(), unknown) != ids.end()) ids.clear();
  return ids;
}

}  // namespace

decode::Options with_words(const GenerateOptions& options, const text::Tokenizer& tokenizer,
                           const WarningCallback& warning) {
  decode::Options result(options);
  const Option &forbid = option_named("forbid_words"), &force = option_named("force_words");
  std::size_t forbidden = 0;
  for (const std::string& entry : options.forbid_words) {
    for (const std::string& word : split(entry)) {
      if (++forbidden > forbid.whole_high())
        refuse(forbid, word, "is one more than " + std::to_string(forbid.whole_high()) + " words");
      std::vector<std::int32_t> ids = tokens_of(forbid, word, tokenizer);
      if (!ids.empty()) {
        result.words.forbidden.push_back(std::move(ids));
      } else if (warning) {
        warning("forbid_words: \"" + word +
                "\" is left out: the vocabulary cannot spell it, so it is never written");
      }
    }
  }
  for (const std::string& entry : options.force_words) {
    auto& alternatives = result.words.forced.emplace_back();
    for (const std::string& word : split(entry)) {
      if (alternatives.size() == kMaxAlternatives)
        refuse(force, word,
               "is one more than " + std::to_string(kMaxAlternatives) + " alternatives");
      alternatives.push_back(tokens_of(force, word, tokenizer));
      if (alternatives.back().empty())
        refuse(force, word, "cannot be written: the vocabulary cannot spell it");
    }
  }
  return result;
}

}  // namespace blip
