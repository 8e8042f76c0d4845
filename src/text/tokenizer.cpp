#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/utf8.h"
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

// In this order, each over the result of the one before it: the one list of spaces that BERT's
// decoders take out.
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

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  index_tokens();
  const std::vector<AddedToken> added = added_and_roles();
  std::vector<AddedToken> before, after;
  std::vector<std::string> raw, normal;
  for (const AddedToken& token : added) {
    if (token.content.size() > kMaxAddedTokenBytes) {
      throw Error(ErrorCode::kModel, "vocabulary: the added token \"" +
                                         token.content.substr(0, 20) + "...\" has " +
                                         std::to_string(token.content.size()) + " bytes; at most " +
                                         std::to_string(kMaxAddedTokenBytes) + " are supported");
    }
    const auto it = ids_.find(token.content);
    if (it == ids_.end() || it->second != token.id) {
      throw Error(ErrorCode::kModel, "vocabulary: the added token \"" + token.content +
                                         "\" does not have id " + std::to_string(token.id) +
                                         " among the tokens");
    }
    if (token.special) special_ids_.insert(token.id);
    (token.normalized ? after : before).push_back(token);
    if (token.normalized) {
      std::string& pattern = normal.emplace_back();
      for (char32_t c : normalize(decode_utf8(token.content), vocabulary_.normalizer))
        append_utf8(pattern, c);
    } else {
      raw.push_back(token.content);
    }
  }
  for (const AddedToken& token : vocabulary_.added) {
    if (!token.is_piece) ids_.erase(token.content);
  }
  raw_ = AddedTokenMatcher(before, std::move(raw));
  normalized_ = AddedTokenMatcher(after, std::move(normal));
}

void Tokenizer::index_tokens() {
  const std::vector<std::string>& tokens = vocabulary_.tokens;
  if (tokens.size() > kMaxTokens) {
    throw Error(ErrorCode::kModel, "vocabulary: " + std::to_string(tokens.size()) +
                                       " tokens; at most " + std::to_string(kMaxTokens));
  }
  ids_.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty()) continue;
    if (!is_valid_utf8(tokens[i])) {
      throw Error(ErrorCode::kModel, "vocabulary: token " + std::to_string(i) +
                                         " is not valid UTF-8; is this a vocab.txt?");
    }
    const auto [other, added] = ids_.emplace(tokens[i], static_cast<std::int32_t>(i));
    if (!added) {
      throw Error(ErrorCode::kModel, "vocabulary: token \"" + tokens[i] +
                                         "\" occurs twice, as id " + std::to_string(other->second) +
                                         " and as id " + std::to_string(i));
    }
  }
}

// The tokens with a role are special and found in texts, whether the files list them or not.
std::vector<AddedToken> Tokenizer::added_and_roles() {
  const auto id_of = [this](const std::string& token, bool required) {
    const auto it = ids_.find(token);
    if (it != ids_.end()) return it->second;
    if (!required) return std::int32_t{-1};
    throw Error(ErrorCode::kModel,
                "vocabulary: " + token + " is missing among its " + std::to_string(size()) +
                    " tokens; expected a BERT vocabulary with " + vocabulary_.pad + ", " +
                    vocabulary_.unk + ", " + vocabulary_.cls + " and " + vocabulary_.sep);
  };
  special_ = {.pad = id_of(vocabulary_.pad, true),
              .unk = id_of(vocabulary_.unk, true),
              .cls = id_of(vocabulary_.cls, true),
              .sep = id_of(vocabulary_.sep, true),
              .mask = id_of(vocabulary_.mask, false),
              .dec = id_of("[DEC]", false),
              .enc = id_of("[ENC]", false)};
  std::vector<AddedToken> added = vocabulary_.added;
  std::unordered_set<std::int32_t> listed;
  for (const AddedToken& token : added) listed.insert(token.id);
  for (const std::int32_t id :
       {special_.pad, special_.unk, special_.cls, special_.sep, special_.mask}) {
    if (id < 0) continue;
    special_ids_.insert(id);
    if (listed.insert(id).second) {
      added.push_back(special_token(vocabulary_.tokens[static_cast<std::size_t>(id)], id));
    }
  }
  return added;
}

void Tokenizer::append_word(std::u32string_view word, std::vector<std::int32_t>& ids) const {
  if (word.size() > kMaxWordCharacters) return ids.push_back(special_.unk);
  const std::size_t before = ids.size();
  std::string piece;
  // of the piece, in bytes, after each of its characters
  std::array<std::size_t, kMaxWordCharacters + 1> ends;
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

// The tokens of a text that is searched as a whole. Stops, with false, behind the token that
// exceeds `room`.
bool Tokenizer::append_text(std::string_view utf8, std::size_t room,
                            std::vector<std::int32_t>& ids) const {
  // no need to read a text further than it is kept
  const auto fits = [&] { return ids.size() <= room; };
  const auto append = [&](std::u32string_view word) {
    append_word(word, ids);
    return fits();
  };
  for (const Segment& part : raw_.split(utf8)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else if (const std::u32string text =
                   normalize(decode_utf8(part.text), vocabulary_.normalizer);
               normalized_.empty()) {
      for_each_word(text, append);
    } else {
      std::string normal;
      for (char32_t c : text) append_utf8(normal, c);
      for (const Segment& piece : normalized_.split(normal)) {
        if (piece.id >= 0) {
          ids.push_back(piece.id);
        } else {
          for_each_word(decode_utf8(piece.text), append);
        }
        if (!fits()) break;
      }
    }
    if (!fits()) return false;
  }
  return true;
}

Encoding Tokenizer::encode(std::string_view utf8, int max_length) const {
  Encoding out;
  out.ids.push_back(special_.cls);
  // Room for [CLS] and the text; [SEP] always fits after it.
  const std::size_t room =
      max_length <= 0 ? SIZE_MAX : static_cast<std::size_t>(std::max(max_length, 2)) - 1;
  // Unless a token looks over a space, a long text can be taken piece by piece. A piece is long
  // enough to be no loss.
  constexpr std::size_t kPiece = 256;
  const bool whole = raw_.crosses_spaces() || normalized_.crosses_spaces();
  for (bool more = true; more && !utf8.empty();) {
    const std::size_t space =
        whole || utf8.size() <= kPiece ? std::string_view::npos : utf8.find(' ', kPiece);
    const std::string_view piece =
        utf8.substr(0, space == std::string_view::npos ? space : space + 1);
    more = append_text(piece, room, out.ids);
    utf8.remove_prefix(piece.size());
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
    std::string token = vocabulary_.tokens[static_cast<std::size_t>(id)];
    if (token.empty()) continue;  // a row without a token
    if (!first) {
      if (token.starts_with(kContinuation)) {
        token.erase(0, kContinuation.size());
      } else {
        token.insert(0, 1, ' ');
      }
    }
    // The package's decoder cleans each token, transformers then the whole text; only the former
    // knows "do not".
    clean_up(token, true);
    text += token;
    first = false;
  }
  if (vocabulary_.clean_up_spaces) clean_up(text, false);
  return text;
}

std::string Tokenizer::decode_after(std::span<const std::int32_t> ids, std::size_t prompt) const {
  prompt = std::min(prompt, ids.size());
  const std::string before = decode(ids.first(prompt)), text = decode(ids);
  // Cleaning takes spaces out, also between the prompt and what follows; all other characters stay.
  // So the prompt ends behind as many of those as it has.
  std::size_t left = before.size() -
                     static_cast<std::size_t>(std::count(before.begin(), before.end(), ' ')),
              at = 0;
  for (; left > 0 && at < text.size(); ++at) left -= text[at] == ' ' ? 0 : 1;
  while (prompt > 0 && at < text.size() && text[at] == ' ') ++at;
  return text.substr(at);
}

}  // namespace blip::text
