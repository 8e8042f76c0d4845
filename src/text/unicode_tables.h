// What the normaliser must know of each character, as compact sorted tables.
//
// Generated, not taken from libicu or libutf8proc: the `tokenizers` package mixes three generations
// of Unicode (old general categories without unassigned and most private-use characters,
// decompositions of another age, the newest lower case) and each distribution ships another version
// of those libraries. Ids must not depend on the machine.
#pragma once

#include <cstdint>
#include <span>

namespace blip::text {

struct CodePointRange {
  char32_t first, last;
};

struct CombiningClassRange {
  char32_t first, last;
  std::uint8_t combining_class;
};

// The lower case of first, first + step, ..., last is the character + delta.
struct LowerRun {
  char32_t first, last;
  std::int32_t step, delta;
};

// Full canonical decomposition: kDecompositionPool[offset, offset + length). Hangul syllables are
// computed instead.
struct Decomposition {
  char32_t code_point;
  std::uint16_t offset, length;
};

extern const std::span<const CodePointRange> kRemoved;         // clean_text drops it
extern const std::span<const CodePointRange> kSpace;           // clean_text makes it ' '
extern const std::span<const CodePointRange> kChinese;         // a word of its own
extern const std::span<const CodePointRange> kNonspacingMark;  // dropped after decomposition
extern const std::span<const CodePointRange> kPunctuation;     // a word of its own
extern const std::span<const CodePointRange>
    kWord;  // touching it, an added token is no single word
extern const std::span<const CombiningClassRange> kCombiningClass;  // 0 where not listed
extern const std::span<const LowerRun> kLower;
extern const std::span<const Decomposition> kDecomposition;
extern const std::span<const char32_t> kDecompositionPool;

}  // namespace blip::text
