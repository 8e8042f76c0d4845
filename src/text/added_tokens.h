// Tokens that are matched whole in a text before its words are split, as the `tokenizers` package's
// added vocabulary does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace blip::text {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;      // left out of decoded texts
  bool normalized = true;    // matched in the normalised text, its own content normalised; else in
                             // the text as it is
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool single_word = false;  // only where no word character touches it
  bool is_piece = true;      // WordPiece may use it too: the model's own vocabulary holds it

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

// As a tokenizer adds its special tokens: matched in the text as it is.
inline AddedToken special_token(const std::string& content, std::int32_t id) {
  AddedToken token;
  token.content = content;
  token.id = id;
  token.special = true;
  token.normalized = false;
  return token;
}

// of one: what a search costs grows with the longest
inline constexpr std::size_t kMaxAddedTokenBytes = 1000;

// A part of a text: a token, or what lies between tokens (id -1).
struct Segment {
  std::string_view text;
  std::int32_t id = -1;
};

// Immutable and thread-safe.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // patterns: what each token looks like in the texts to be searched. Empty ones are never found.
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, std::vector<std::string> patterns);

  bool empty() const { return patterns_.empty(); }
  // Does a match ever depend on what lies beyond a space? Otherwise a text may be searched from
  // space to space.
  bool crosses_spaces() const { return crosses_spaces_; }
  // The leftmost match, the longest of those that begin there, then on behind it.
  std::vector<Segment> split(std::string_view utf8) const;

 private:
  struct Pattern {
    std::string text;
    std::int32_t id;
    bool lstrip, rstrip, single_word;
  };
  const Pattern* longest_at(std::string_view utf8, std::size_t at) const;

  std::vector<Pattern> patterns_;  // sorted by text
  bool crosses_spaces_ = false;
};

}  // namespace blip::text
