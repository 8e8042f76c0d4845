#include "text/normalizer.h"

#include <algorithm>
#include <cstdint>

#include "text/unicode_tables.h"

namespace blip::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// The entry of a sorted range table that holds c, or nullptr.
template <class Range>
const Range* find_range(std::span<const Range> table, char32_t c) {
  auto it = std::upper_bound(table.begin(), table.end(), c,
                             [](char32_t value, const Range& r) { return value < r.first; });
  if (it == table.begin()) return nullptr;
  --it;
  return c <= it->last ? &*it : nullptr;
}

bool contains(std::span<const CodePointRange> table, char32_t c) {
  return find_range(table, c) != nullptr;
}

int combining_class(char32_t c) {
  const auto* range = find_range(kCombiningClass, c);
  return range ? range->combining_class : 0;
}

char32_t lower(char32_t c) {
  const auto* run = find_range(kLower, c);
  if (!run || (c - run->first) % static_cast<char32_t>(run->step) != 0) return c;
  return static_cast<char32_t>(static_cast<std::int32_t>(c) + run->delta);
}

// Hangul syllables are laid out by rule (The Unicode Standard, section 3.12).
void append_hangul(std::u32string& out, char32_t syllable) {
  constexpr char32_t kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7, kTrails = 28,
                     kPerLead = 21 * kTrails;
  const char32_t index = syllable - 0xAC00;
  out.push_back(kLead + index / kPerLead);
  out.push_back(kVowel + index % kPerLead / kTrails);
  if (index % kTrails) out.push_back(kTrail + index % kTrails);
}

void append_decomposed(std::u32string& out, char32_t c) {
  if (c >= 0xAC00 && c <= 0xD7A3) return append_hangul(out, c);
  auto it =
      std::lower_bound(kDecomposition.begin(), kDecomposition.end(), c,
                       [](const Decomposition& d, char32_t value) { return d.code_point < value; });
  if (it == kDecomposition.end() || it->code_point != c) return out.push_back(c);
  for (char32_t part : kDecompositionPool.subspan(it->offset, it->length)) out.push_back(part);
}

// Canonical ordering: each run of characters of a class other than 0 is sorted by class, equals
// keep their order.
void reorder_marks(std::u32string& text) {
  for (std::size_t i = 0; i < text.size();) {
    if (combining_class(text[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < text.size() && combining_class(text[end]) != 0) ++end;
    std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(i),
                     text.begin() + static_cast<std::ptrdiff_t>(end), [](char32_t a, char32_t b) {
                       return combining_class(a) < combining_class(b);
                     });
    i = end;
  }
}

// What follows a lead byte: how many bytes, and which second bytes are allowed (the others
// are 80..BF).
struct Lead {
  int following = 0;
  std::uint8_t low = 0x80, high = 0xBF;
};

Lead classify(std::uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};  // no overlong forms
  if (byte == 0xED) return {2, 0x80, 0x9F};  // no surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};  // nothing over U+10FFFF
  return {};
}

}  // namespace

std::u32string decode_utf8(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  for (std::size_t i = 0; i < utf8.size();) {
    const auto byte = static_cast<std::uint8_t>(utf8[i++]);
    if (byte < 0x80) {
      out.push_back(byte);
      continue;
    }
    const Lead lead = classify(byte);
    char32_t c = byte & (0x3F >> lead.following);
    int read = 0;
    for (; read < lead.following && i < utf8.size(); ++read, ++i) {
      const auto next = static_cast<std::uint8_t>(utf8[i]);
      if (read == 0 ? next < lead.low || next > lead.high : (next & 0xC0) != 0x80) break;
      c = c << 6 | (next & 0x3F);
    }
    out.push_back(lead.following > 0 && read == lead.following ? c : kReplacement);
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

std::size_t code_point_length(std::string_view utf8, std::size_t at) {
  const std::size_t length =
      1 + static_cast<std::size_t>(classify(static_cast<std::uint8_t>(utf8[at])).following);
  return std::min(length, utf8.size() - at);
}

std::size_t code_point_before(std::string_view utf8, std::size_t at) {
  constexpr std::size_t kLongest = 4;
  const std::size_t lowest = at > kLongest ? at - kLongest : 0;
  std::size_t before = at - 1;
  while (before > lowest && (static_cast<std::uint8_t>(utf8[before]) & 0xC0) == 0x80) --before;
  return before;
}

bool is_valid_utf8(std::string_view text) {
  std::string again;
  for (char32_t c : decode_utf8(text)) append_utf8(again, c);
  return again == text;
}

std::u32string normalize(std::u32string_view text, const NormalizerOptions& options) {
  // the only character that is two in lower case
  constexpr char32_t kCapitalIWithDot = 0x130, kDotAbove = 0x307;
  std::u32string out;
  out.reserve(text.size());
  for (char32_t c : text) {
    if (contains(kRemoved, c)) continue;
    if (contains(kSpace, c)) {
      out.push_back(U' ');
      continue;
    }
    const bool chinese = options.split_chinese && contains(kChinese, c);
    if (chinese) out.push_back(U' ');
    if (options.strip_accents) {
      append_decomposed(out, c);
    } else if (options.lowercase && c == kCapitalIWithDot) {
      out.append({U'i', kDotAbove});
    } else {
      out.push_back(c);
    }
    if (chinese) out.push_back(U' ');
  }
  if (options.strip_accents) {
    reorder_marks(out);
    std::erase_if(out, [](char32_t c) { return contains(kNonspacingMark, c); });
  }
  if (options.lowercase) {
    for (char32_t& c : out) c = lower(c);
  }
  return out;
}

bool is_punctuation(char32_t c) { return contains(kPunctuation, c); }

bool is_word_character(char32_t c) { return contains(kWord, c); }

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace blip::text
