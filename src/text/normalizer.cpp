#include "text/normalizer.h"

#include <algorithm>
#include <cstdint>

#include "text/unicode_tables.h"

namespace blip::text {
namespace {

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

}  // namespace

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
