#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "blip/error.h"
#include "text/normalizer.h"

namespace blip::text {
namespace {

constexpr std::string_view kContinuation = "##";
constexpr std::size_t kMaxWordCharacters = 100;  // a longer word is [UNK], as in BERT

// The words of normalised text: runs without space and punctuation, and each punctuation character.
template <class Visit>  // bool visit(std::u32string_view word): false stops
bool for_each_word(std::u32string_view text, const Visit& visit) {
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text[i] != U' ') {
      if (!is_punctuation(text[i])) {
        while (end < text.size() && text[end] != U' ' && !is_punctuation(text[end])) ++end;
      }
      if (!visit(text.substr(i, end - i))) return false;
    }
    i = end;
  }
  return true;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t hit; (hit = text.find(from, at)) != std::string::npos; at = hit + from.size()) {
    out.append(text, at, hit - at).append(to);
  }
  if (at > 0) text = out.append(text, at);
}

using Replacement = std::pair<std::string_view, std::string_view>;

// In this order, each over the result of the one before it: the one list of spaces that BERT's decoders take out.
void clean_up(std::string& text, bool contract_do_not) {
  static constexpr std::array<Replacement, 11> kReplacements = {{{" .", "."},
                                                                 {" ?", "?"},
                                                                 {" !", "!"},
                                                                 {" ,", ","},
                                                                 {" ' ", "'"},
                                                                 {" n't", "n't"},
                                                                 {" 'm", "'m"},
                                                                 {" do not", " don't"},
                                                                 {" 's", "'s"},
                                                                 {" 've", "'ve"},
                                                                 {" 're", "'re"}}};
  for (const auto& [from, to] : kReplacements) {
    if (from != " do not" || contract_do_not) replace_all(text, from, to);
  }
}

}  // namespace

Tokenizer::Tokenizer(std::vector<std::string> vocabulary, bool lowercase)
    : vocabulary_(std::move(vocabulary)), lowercase_(lowercase) {
  for (const char* token : {"[DEC]", "[ENC]"}) {
    if (std::find(vocabulary_.begin(), vocabulary_.end(), token) == vocabulary_.end()) vocabulary_.emplace_back(token);
  }
  ids_.reserve(vocabulary_.size());
  for (std::size_t i = 0; i < vocabulary_.size(); ++i) {
    if (!is_valid_utf8(vocabulary_[i])) {
      throw Error(ErrorCode::kModel, "vocabulary: token " + std::to_string(i) + " is not valid UTF-8; is this a vocab.txt?");
    }
    const auto [other, added] = ids_.emplace(vocabulary_[i], static_cast<std::int32_t>(i));
    if (!added) {
      throw Error(ErrorCode::kModel, "vocabulary: token \"" + vocabulary_[i] + "\" occurs twice, as id " +
                                         std::to_string(other->second) + " and as id " + std::to_string(i));
    }
  }
  const auto id_of = [this](const std::string& token, bool required) {
    const auto it = ids_.find(token);
    if (it != ids_.end()) return it->second;
    if (!required) return std::int32_t{-1};
    throw Error(ErrorCode::kModel, "vocabulary: " + token + " is missing among its " + std::to_string(vocabulary_.size()) +
                                       " tokens; expected a BERT vocabulary with [PAD], [UNK], [CLS] and [SEP]");
  };
  special_ = {.pad = id_of("[PAD]", true),
              .unk = id_of("[UNK]", true),
              .cls = id_of("[CLS]", true),
              .sep = id_of("[SEP]", true),
              .mask = id_of("[MASK]", false),
              .dec = id_of("[DEC]", true),
              .enc = id_of("[ENC]", true)};
}

bool Tokenizer::is_special(std::int32_t id) const {
  const SpecialTokens& s = special_;
  return id == s.pad || id == s.unk || id == s.cls || id == s.sep || id == s.mask || id == s.dec || id == s.enc;
}

std::pair<std::size_t, std::int32_t> Tokenizer::find_special(std::string_view utf8) const {
  // They match before any normalisation: upper case only, anywhere, even inside a word. All have 5 or 6 ("[MASK]") bytes.
  for (std::size_t at = utf8.find('['); at != std::string_view::npos; at = utf8.find('[', at + 1)) {
    for (std::size_t length : {5, 6}) {
      const auto it = ids_.find(std::string(utf8.substr(at, length)));
      if (it != ids_.end() && is_special(it->second)) return {at, it->second};
    }
  }
  return {utf8.size(), -1};
}

void Tokenizer::append_word(std::u32string_view word, std::vector<std::int32_t>& ids) const {
  if (word.size() > kMaxWordCharacters) return ids.push_back(special_.unk);
  const std::size_t before = ids.size();
  std::string piece;
  std::array<std::size_t, kMaxWordCharacters + 1> ends;  // of the piece, in bytes, after each of its characters
  for (std::size_t start = 0; start < word.size();) {
    piece = start > 0 ? kContinuation : "";
    const std::size_t characters = word.size() - start;
    for (std::size_t i = 0; i < characters; ++i) {
      append_utf8(piece, word[start + i]);
      ends[i + 1] = piece.size();
    }
    std::size_t taken = characters;
    auto it = ids_.find(piece);
    while (it == ids_.end() && --taken > 0) {  // the longest piece that is in the vocabulary
      piece.resize(ends[taken]);
      it = ids_.find(piece);
    }
    if (taken == 0) {  // one unknown piece makes the whole word unknown
      ids.resize(before);
      return ids.push_back(special_.unk);
    }
    ids.push_back(it->second);
    start += taken;
  }
}

Encoding Tokenizer::encode(std::string_view utf8, int max_length) const {
  Encoding out;
  out.ids.push_back(special_.cls);
  // Room for [CLS] and the text; [SEP] always fits after it.
  const std::size_t room = max_length <= 0 ? SIZE_MAX : static_cast<std::size_t>(std::max(max_length, 2)) - 1;
  const auto append = [&](std::u32string_view word) {
    append_word(word, out.ids);
    return out.ids.size() <= room;  // no need to read a text further than it is kept
  };
  while (!utf8.empty() && out.ids.size() <= room) {
    // No step looks over a space, so that a long text can be taken piece by piece.
    const std::size_t space = utf8.find(' ');
    std::string_view chunk = utf8.substr(0, space == std::string_view::npos ? space : space + 1);
    utf8.remove_prefix(chunk.size());
    while (!chunk.empty() && out.ids.size() <= room) {
      const auto [at, special] = find_special(chunk);
      const bool more = for_each_word(normalize(decode_utf8(chunk.substr(0, at)), lowercase_), append);
      chunk.remove_prefix(at);
      if (special < 0 || !more) break;
      out.ids.push_back(special);
      chunk.remove_prefix(vocabulary_[static_cast<std::size_t>(special)].size());
    }
  }
  if (out.ids.size() > room) {
    out.ids.resize(room);
    out.truncated = true;
  }
  out.ids.push_back(special_.sep);
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  bool first = true;
  for (std::int32_t id : ids) {
    if (id < 0 || id >= size() || is_special(id)) continue;
    std::string token = vocabulary_[static_cast<std::size_t>(id)];
    if (!first) {
      if (token.starts_with(kContinuation)) {
        token.erase(0, kContinuation.size());
      } else {
        token.insert(0, 1, ' ');
      }
    }
    // The package's decoder cleans each token, transformers then the whole text; only the former knows "do not".
    clean_up(token, true);
    text += token;
    first = false;
  }
  clean_up(text, false);
  return text;
}

}  // namespace blip::text
