#include "text/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/normalizer.h"

namespace blip::text {
namespace {

std::size_t skip_space(std::string_view utf8, std::size_t at) {
  while (at < utf8.size()) {
    const std::size_t length = code_point_length(utf8, at);
    if (!is_white_space(decode_utf8(utf8.substr(at, length)).front())) break;
    at += length;
  }
  return at;
}

std::size_t skip_space_back(std::string_view utf8, std::size_t at) {
  while (at > 0) {
    const std::size_t before = code_point_before(utf8, at);
    if (!is_white_space(decode_utf8(utf8.substr(before, at - before)).front())) break;
    at = before;
  }
  return at;
}

bool word_before(std::string_view utf8, std::size_t at) {
  if (at == 0) return false;
  const std::size_t before = code_point_before(utf8, at);
  return is_word_character(decode_utf8(utf8.substr(before, at - before)).front());
}

bool word_after(std::string_view utf8, std::size_t at) {
  return at < utf8.size() &&
         is_word_character(decode_utf8(utf8.substr(at, code_point_length(utf8, at))).front());
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens,
                                     std::vector<std::string> patterns) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (patterns[i].empty()) continue;
    const AddedToken& token = tokens[i];
    crosses_spaces_ = crosses_spaces_ || token.lstrip || token.rstrip ||
                      patterns[i].find(' ') != std::string::npos;
    patterns_.push_back(
        {std::move(patterns[i]), token.id, token.lstrip, token.rstrip, token.single_word});
  }
  std::stable_sort(patterns_.begin(), patterns_.end(),
                   [](const Pattern& a, const Pattern& b) { return a.text < b.text; });
}

const AddedTokenMatcher::Pattern* AddedTokenMatcher::longest_at(std::string_view utf8,
                                                                std::size_t at) const {
  auto first = patterns_.begin(), last = patterns_.end();
  const Pattern* longest = nullptr;
  // Narrows the patterns to those that begin as the text does, a byte at a time.
  for (std::size_t i = 0; at + i < utf8.size() && first != last; ++i) {
    const auto byte = static_cast<unsigned char>(utf8[at + i]);
    const auto at_byte = [i](const Pattern& p) {
      return i < p.text.size() ? static_cast<unsigned char>(p.text[i]) : -1;
    };
    first = std::partition_point(first, last, [&](const Pattern& p) { return at_byte(p) < byte; });
    last = std::partition_point(first, last, [&](const Pattern& p) { return at_byte(p) == byte; });
    if (first != last && first->text.size() == i + 1) longest = &*first;
  }
  return longest;
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view utf8) const {
  std::vector<Segment> segments;
  std::size_t done = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const Pattern* pattern = longest_at(utf8, at);
    if (pattern == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + pattern->text.size();
    at = end;  // a match that is refused hides those inside it
    if (pattern->single_word && (word_before(utf8, begin) || word_after(utf8, end))) continue;
    if (pattern->lstrip) begin = std::max(done, skip_space_back(utf8, begin));
    if (pattern->rstrip) end = skip_space(utf8, end);
    if (done < begin) segments.push_back({utf8.substr(done, begin - done), -1});
    segments.push_back({utf8.substr(begin, end - begin), pattern->id});
    done = end;
  }
  if (done < utf8.size()) segments.push_back({utf8.substr(done), -1});
  return segments;
}

}  // namespace blip::text
