#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cpp: the character tables of the `tokenizers` package, found by
asking it.

The package mixes three generations of Unicode (categories, decompositions, lower case), so no
single library equals it. Each table is read off the package itself, over all code points.

    python3 tests/reference/text_tables.py > src/text/unicode_tables.cpp
"""

import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)


def stage(**on):
    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**flags, **on}).normalize_str


def ranges(points):
    """[first, last] of each run of consecutive numbers."""
    out = []
    for c in points:
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def word_characters():
    """What the package takes for part of a word where an added token asks for a single word (Rust's
    \\w).
    """
    t = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    t.add_tokens([tokenizers.AddedToken("q", single_word=True, normalized=False)])
    found = t.token_to_id("q")
    return [c for c in CODE_POINTS if found not in t.encode(chr(c) + "q").ids]


def combining_classes(nfd, decomposed):
    """Canonical combining class of every character that is not 0, from the order NFD gives to
    pairs.
    """

    def moves(s):
        return (
            nfd("a" + "\u0345" + s) != "a" + "\u0345" + s
            or nfd("a" + s + "\u0334") != "a" + s + "\u0334"
        )

    # One character of each class (U+0334: the lowest, 1; U+0345: the highest, 240), taken from
    # Python's table. Python's may be newer, hence only characters that the package moves; the order
    # of the classes is all that NFD can show.
    ladder = {}
    for c in CODE_POINTS:
        k = unicodedata.combining(chr(c))
        if k and c not in decomposed and k not in ladder and moves(chr(c)):
            ladder[k] = chr(c)
    out = {}
    for c in CODE_POINTS:
        s = chr(c)
        if c in decomposed or c in HANGUL or not moves(s):
            continue
        below = [k for k, x in ladder.items() if nfd("a" + s + x) != "a" + s + x]
        above = [k for k, x in ladder.items() if nfd("a" + x + s) != "a" + x + s]
        (out[c],) = set(ladder) - set(below) - set(above)
    return out


def lower_runs(lower):
    """(first, last, step, delta): lower case of first, first + step, ..., last is itself +
    delta.
    """
    runs = []
    for c, v in sorted(lower.items()):
        delta = v - c
        if runs and runs[-1][3] == delta:
            first, last, step, _ = runs[-1]
            if (first == last and c - last <= 2) or (first != last and c - last == step):
                runs[-1] = (first, c, c - last, delta)
                continue
        runs.append((c, c, 1, delta))
    return runs


def probe():
    clean, chinese, strip, lower = (
        stage(clean_text=True),
        stage(handle_chinese_chars=True),
        stage(strip_accents=True),
        stage(lowercase=True),
    )
    nfd = normalizers.NFD().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    t = {
        "removed": [],
        "space": [],
        "chinese": [],
        "mark": [],
        "punctuation": [],
        "decomposed": {},
        "lower": {},
    }
    t["word"] = word_characters()
    for c in CODE_POINTS:
        s = chr(c)
        cleaned = clean(s)
        if cleaned != s or s == " ":
            t["space" if cleaned == " " else "removed"].append(c)
            assert cleaned in ("", " ")
        if chinese(s) != s:
            assert chinese(s) == " " + s + " "
            t["chinese"].append(c)
        d = nfd(s)
        if d != s and c not in HANGUL:
            t["decomposed"][c] = d
        if d == s and strip(s) == "":
            t["mark"].append(c)
        if lower(s) != s:
            t["lower"][c] = lower(s)
        pieces = split("a" + s + "a")
        if len(pieces) == 3:
            t["punctuation"].append(c)
        # What the code relies on: after cleaning, ' ' is the only character that separates words.
        assert len(pieces) != 2 or cleaned in ("", " "), hex(c)
    for c in HANGUL:
        i = c - 0xAC00
        jamo = (
            chr(0x1100 + i // 588)
            + chr(0x1161 + i % 588 // 28)
            + (chr(0x11A7 + i % 28) if i % 28 else "")
        )
        assert nfd(chr(c)) == jamo
    # U+0130 is the only character with two in lower case: normalize() knows it.
    assert [c for c, v in t["lower"].items() if len(v) != 1] == [0x130] and 0x130 in t["decomposed"]
    t["lower"] = {c: ord(v) for c, v in t["lower"].items() if len(v) == 1}
    t["class"] = combining_classes(nfd, t["decomposed"])
    return t


def rows(items, width=98):
    out, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            out.append(line)
            line = "   "
        line += " " + item + ","
    return "\n".join(out + [line])


def main():
    t = probe()
    points, pool, seen = [], "", {}
    for c, d in t["decomposed"].items():
        if d not in seen:  # equal tails share their characters
            at = pool.find(d)
            if at < 0:
                at, pool = len(pool), pool + d
            seen[d] = at
        points.append((c, seen[d], len(d)))
    classes = []
    for c, k in t["class"].items():
        if classes and classes[-1][1] == c - 1 and classes[-1][2] == k:
            classes[-1][1] = c
        else:
            classes.append([c, c, k])

    def array(name, kind, items):
        print(
            f"\nconst {kind} {name}Data[] = {{\n{rows(items)}\n}};\nconst std::span<const {kind}> "
            f"{name} = {name}Data;"
        )

    print(f"""// Generated by tests/reference/text_tables.py from tokenizers \
{tokenizers.__version__}; do not edit.
// clang-format off
#include "text/unicode_tables.h"

namespace blip::text {{""")
    for name, key in (
        ("kRemoved", "removed"),
        ("kSpace", "space"),
        ("kChinese", "chinese"),
        ("kNonspacingMark", "mark"),
        ("kPunctuation", "punctuation"),
        ("kWord", "word"),
    ):
        array(name, "CodePointRange", [f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(t[key])])
    array(
        "kCombiningClass",
        "CombiningClassRange",
        [f"{{0x{a:X}, 0x{b:X}, {k}}}" for a, b, k in classes],
    )
    array(
        "kLower",
        "LowerRun",
        [f"{{0x{a:X}, 0x{b:X}, {s}, {d}}}" for a, b, s, d in lower_runs(t["lower"])],
    )
    array("kDecomposition", "Decomposition", [f"{{0x{c:X}, {at}, {n}}}" for c, at, n in points])
    array("kDecompositionPool", "char32_t", [f"0x{ord(c):X}" for c in pool])
    print("\n}  // namespace blip::text")
    print({k: len(v) for k, v in t.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
