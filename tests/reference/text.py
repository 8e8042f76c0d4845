#!/usr/bin/env python3
"""The tokenizer against its reference: transformers' BertTokenizer over the `tokenizers` package,
with BLIP's two tokens.

    text.py --write                               goldens into tests/data/text/
    text.py --check N --binary PATH [--seed S]    N random strings of each kind, and every code
                                                  point, through tokenize_lines
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
from transformers import BertTokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCAB = ROOT / "data/bert-base-uncased/vocab.txt"
DATA = ROOT / "tests/data/text"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]


def reference(vocab=VOCAB, lower=True):
    """As salesforce/BLIP's init_tokenizer."""
    tokens = pathlib.Path(vocab).read_text(encoding="utf-8").split("\n")
    t = BertTokenizer(
        vocab={w: i for i, w in enumerate(tokens[:-1] if tokens[-1] == "" else tokens)},
        do_lower_case=lower,
    )
    t.add_special_tokens({"bos_token": "[DEC]"})
    t.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return t


def small_vocabulary():
    """Another order, [CLS] and [SEP] elsewhere, [DEC] and [ENC] last, some pieces that only
    decoding sees.
    """
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + [
        p + c for c in "abcdefghijklmnopqrstuvwxyz0123456789" for p in ("", "##")
    ]
    words += [
        "the",
        "do",
        "not",
        "n't",
        "'s",
        "'m",
        "##ing",
        "##ed",
        "cat",
        "dog",
        "a cat",
        "É",
        "é",
        "Cat",
        "你",
        "##é",
        "ab",
        "##ab",
    ]
    return words + ["[DEC]", "[ENC]"]


# ---- generators

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def _of(test):
    return [c for c in POINTS if test(chr(c))]


class Strings:
    """Kinds of hard strings, each a function of the generator's random state."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.words = [w for w in VOCAB.read_text(encoding="utf-8").split("\n") if w]
        self.marks = _of(lambda c: unicodedata.category(c) in ("Mn", "Mc", "Me"))
        self.cased = _of(lambda c: c.lower() != c or c.upper() != c)
        self.punct = _of(lambda c: unicodedata.category(c)[0] in "PS")
        self.space = _of(
            lambda c: c.isspace() or unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf")
        )
        self.decomposed = _of(
            lambda c: unicodedata.normalize("NFD", c) != c and not "가" <= c <= "힣"
        )
        self.classed = _of(lambda c: unicodedata.combining(c) != 0)
        self.unassigned = _of(lambda c: unicodedata.category(c) == "Cn")
        self.cjk = [
            (0x2E80, 0x3400),
            (0x3400, 0x4DC0),
            (0x4E00, 0xA000),
            (0xF900, 0xFB00),
            (0x20000, 0x33480),
        ]
        self.emoji = [(0x1F300, 0x1FB00), (0x2600, 0x27C0), (0x1F1E6, 0x1F200), (0x1F3FB, 0x1F400)]
        self.kinds = [
            self.any_plane,
            self.bmp,
            self.latin,
            self.combining,
            self.canonical_order,
            self.hangul,
            self.chinese,
            self.emojis,
            self.controls,
            self.private,
            self.not_assigned,
            self.case,
            self.punctuation,
            self.long_word,
            self.specials,
            self.pieces,
            self.english,
            self.mixed,
        ]

    def some(self, pick, low=1, high=24):
        return "".join(chr(pick()) for _ in range(self.r.randint(low, high)))

    def within(self, spans):
        return self.r.randrange(*self.r.choice(spans))

    def any_plane(self):
        return self.some(lambda: self.r.choice(POINTS))

    def bmp(self):
        return self.some(lambda: self.within([(0, 0xD800), (0xE000, 0x10000)]))

    def latin(self):
        return self.some(
            lambda: self.within([(0x20, 0x250), (0x1E00, 0x2000), (0x300, 0x370), (0x61, 0x7B)]),
            1,
            40,
        )

    def combining(self):
        return "".join(
            self.r.choice("aeinouAEÅé가你б ") + self.some(lambda: self.r.choice(self.marks), 0, 5)
            for _ in range(self.r.randint(1, 6))
        )

    def canonical_order(self):
        return self.some(
            lambda: self.r.choice(self.r.choice([self.classed, self.classed, self.decomposed])),
            2,
            12,
        )

    def hangul(self):
        return self.some(
            lambda: self.within(
                [
                    (0xAC00, 0xD7A4),
                    (0x1100, 0x1200),
                    (0xA960, 0xA980),
                    (0xD7B0, 0xD800),
                    (0x3130, 0x3190),
                    (0x20, 0x21),
                ]
            )
        )

    def chinese(self):
        return self.some(lambda: self.within(self.cjk + [(0x3040, 0x3100), (0x61, 0x7B)]))

    def emojis(self):
        joiner = ["\u200d", "\ufe0f", "\ufe0e", "", " ", "a", "\u20e3", "\U000e0067\U000e007f"]
        return "".join(
            chr(self.within(self.emoji)) + self.r.choice(joiner)
            for _ in range(self.r.randint(1, 12))
        )

    def controls(self):
        return "".join(
            self.r.choice(["a", "The", "é", "!", "你", "[SEP]"])
            + self.some(lambda: self.r.choice(self.space), 0, 4)
            for _ in range(self.r.randint(1, 8))
        ) + self.r.choice(["", "\x00", "\ufffd", "\ufeff"])

    def private(self):
        return self.some(
            lambda: self.within(
                [(0xE000, 0xF900), (0xF0000, 0x110000), (0x61, 0x7B), (0xFFF0, 0x10000)]
            )
        )

    def not_assigned(self):
        return self.some(lambda: self.r.choice(self.r.choice([self.unassigned, range(0x61, 0x7B)])))

    def case(self):
        return self.some(
            lambda: self.r.choice(self.r.choice([self.cased, self.cased, self.marks])), 1, 16
        )

    def punctuation(self):
        return self.some(lambda: self.r.choice(self.r.choice([self.punct, range(0x20, 0x7F)])))

    def long_word(self):
        """Around the limit of 100 characters, counted after normalisation."""
        n = self.r.randint(94, 106)
        kind = self.r.randrange(5)
        if kind == 0:
            word = "".join(self.r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))
        elif kind == 1:  # two bytes each, and each loses a mark
            word = "".join(self.r.choice("éàüñçÉÀ") for _ in range(n))
        elif kind == 2:  # removed characters do not count
            word = "".join(
                self.r.choice("abc") + self.r.choice(["", "\u200b", "\u0301", "\x01"])
                for _ in range(n)
            )
        elif kind == 3:  # one syllable is two or three characters
            word = "".join(
                chr(self.within([(0xAC00, 0xD7A4)])) for _ in range(n // self.r.randint(2, 3))
            )
        else:
            word = "".join(self.r.choice("абвгдж𐐀𝒜𝒷") for _ in range(n))
        return self.r.choice(["", "a ", "x."]) + word + self.r.choice(["", " b", ",y", "[SEP]"])

    def specials(self):
        parts = (
            SPECIALS
            + [s.lower() for s in SPECIALS]
            + [s.title() for s in SPECIALS]
            + [
                "[",
                "]",
                "[[",
                "]]",
                " ",
                "  ",
                "a",
                "cat",
                "##ing",
                "é",
                "[ SEP ]",
                "[SE",
                "P]",
                "[DEC",
                "[\u0301DEC]",
                "[D\u200bEC]",
                "［DEC］",
                "[DEC]\u0301",
                "你",
                "\x00",
                "\n",
            ]
        )
        return "".join(self.r.choice(parts) for _ in range(self.r.randint(1, 10)))

    def pieces(self):
        return "".join(
            self.r.choice(self.words) + self.r.choice(["", "", " "])
            for _ in range(self.r.randint(1, 10))
        )

    def english(self):
        text = self.r.choice([" ", "  ", ", "]).join(
            self.r.choice(self.words) for _ in range(self.r.randint(1, 60))
        )
        return self.r.choice([str, str.upper, str.title])(text)

    def mixed(self):
        return "".join(self.r.choice(self.kinds[:-1])() for _ in range(self.r.randint(2, 4)))

    def raw_bytes(self):
        """Bytes with errors: cut, swapped and foreign ones."""
        raw = bytearray(self.mixed().encode())
        for _ in range(self.r.randint(1, 6)):
            at = self.r.randrange(len(raw) + 1)
            if self.r.random() < 0.4 and raw:
                del raw[at : at + self.r.randint(1, 2)]
            else:
                lead = [
                    0xC0,
                    0xC1,
                    0xC3,
                    0xE0,
                    0xE4,
                    0xED,
                    0xEF,
                    0xF0,
                    0xF1,
                    0xF4,
                    0xF5,
                    0xFF,
                    0x80,
                    0x9F,
                    0xA0,
                    0xBF,
                ]
                raw[at:at] = bytes(self.r.choice(lead) for _ in range(self.r.randint(1, 4)))
        return bytes(raw)

    def ids(self, size):
        marks = [
            i
            for i, w in enumerate(self.words)
            if w in (".", "?", "!", ",", "'", "n", "t", "m", "s", "ve", "re", "do", "not", "##t")
        ]
        pick = [
            lambda: self.r.randrange(size),
            lambda: self.r.choice(marks),
            lambda: self.r.choice([0, 100, 101, 102, 103, size - 1]),
            lambda: self.r.randint(size, 2**31 - 1),
        ]
        weights = self.r.choice([[8, 0, 1, 0], [1, 8, 0, 0], [4, 4, 1, 0], [1, 1, 1, 1]])
        return [self.r.choices(pick, weights)[0]() for _ in range(self.r.randint(0, 20))]


def encode(tokenizer, texts, max_length=0):
    limit = dict(truncation=True, max_length=max_length) if max_length else {}
    return tokenizer(texts, **limit)["input_ids"] if texts else []


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)


# ---- comparison


def run(binary, lines, *options):
    # ensure_ascii: U+2028 and the like stay inside their line; surrogates never occur.
    text = "".join(json.dumps(line) + "\n" for line in lines)
    out = subprocess.run(
        [binary, *options], input=text, capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    return [json.loads(line) for line in out.split("\n")[:-1]]


class Tally:
    def __init__(self):
        self.total = self.wrong = 0

    def add(self, what, inputs, expected, got):
        assert len(inputs) == len(expected) == len(got), (
            what,
            len(inputs),
            len(expected),
            len(got),
        )
        bad = [(i, e, g) for i, e, g in zip(inputs, expected, got) if e != g]
        self.total += len(inputs)
        self.wrong += len(bad)
        print(f"{what:34} {len(inputs):8} compared {len(bad):6} different", flush=True)
        for i, e, g in bad[:3]:
            print("   input", ascii(i), "\n   expected", ascii(e), "\n   got", ascii(g))


def check(count, binary, seed, code_points):
    tally, strings, bert = Tally(), Strings(seed), reference()
    for form in ("{}", "a{}b", "é{}\u0301\u0334X", "[{}CLS]") if code_points else ():
        texts = [form.format(chr(c)) for c in POINTS]
        tally.add(
            f"every code point as {ascii(form)}", texts, encode(bert, texts), run(binary, texts)
        )
    for kind in strings.kinds:
        texts = [kind() for _ in range(count)]
        tally.add(kind.__name__, texts, encode(bert, texts), run(binary, texts))
        # Ids hide much behind [UNK]; the normalised text hides nothing.
        normalize = bert.backend_tokenizer.normalizer.normalize_str
        tally.add(
            "    normalised",
            texts,
            [normalize(t) for t in texts],
            run(binary, [{"normalize": t} for t in texts]),
        )
    raw = [strings.raw_bytes() for _ in range(count)]
    tally.add(
        "raw_bytes",
        raw,
        encode(bert, [b.decode(errors="replace") for b in raw]),
        run(binary, [{"hex": b.hex()} for b in raw]),
    )
    texts = [kind() for kind in strings.kinds for _ in range(max(1, count // 10))]
    for limit in (2, 3, 4, 5, 8, 16, 35, 512):
        tally.add(
            f"max_length {limit}",
            texts,
            encode(bert, texts, limit),
            run(binary, texts, "--max-length", str(limit)),
        )
    ids = [strings.ids(len(bert)) for _ in range(count)]
    tally.add("decode", ids, [decode(bert, i) for i in ids], run(binary, ids))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vocab.txt")
        pathlib.Path(path).write_text("\n".join(small_vocabulary()) + "\n", encoding="utf-8")
        for name, vocab, options, lower in (
            ("small vocabulary", path, ["--vocab", path], True),
            ("cased", VOCAB, ["--cased"], False),
            ("small vocabulary, cased", path, ["--vocab", path, "--cased"], False),
        ):
            other = reference(vocab, lower)
            tally.add(name, texts, encode(other, texts), run(binary, texts, *options))
            ids = [strings.ids(len(other)) for _ in range(count)]
            ids = [[i % (len(other) + 2) for i in row] for row in ids]
            tally.add(
                name + ": decode", ids, [decode(other, i) for i in ids], run(binary, ids, *options)
            )
    print(f"{tally.total} compared, {tally.wrong} different")
    return 1 if tally.wrong else 0


# ---- goldens


def fnv(data, state=0xCBF29CE484222325):
    for byte in data:
        state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return state


def code_point_hashes(bert):
    """FNV-1a of the normalised "a<c>b\\n" of each 4096 code points; surrogates are left out."""
    normalize = bert.backend_tokenizer.normalizer.normalize_str
    blocks = []
    for first in range(0, 0x110000, 0x1000):
        points = [c for c in range(first, first + 0x1000) if not 0xD800 <= c < 0xE000]
        blocks.append(
            f"{fnv(''.join(normalize('a' + chr(c) + 'b') + chr(10) for c in points).encode()):016x}"
        )
    return blocks


CHOSEN = [
    "",
    " ",
    "a picture of ",
    "Hello, World!",
    "İstanbul ΣΑΣ ΟΔΥΣΣΕΥΣ",
    "naïve café e\u0301 ẤẤ",
    "don't do not isn't 's",
    "a" * 100,
    "a" * 101,
    "é" * 100,
    "é" * 101,
    "[CLS] [SEP] [PAD] [MASK] [UNK] [DEC] [ENC]",
    "x[SEP]y[sep]z[DEC][ENC]",
    "a\u0300\u0315\u0300\u05ae b",
    "\u1100\u1161\u11a8 각",
    "中文abc中",
    "\U0002b820 \U0002b920",
    "\x00\ufffd\x01a\u200bb",
    "\u2028\u2029\u0085\u00a0\u3000x",
    "👩\u200d👩\u200d👧\u200d👦 1\ufe0f\u20e3",
    "\ue000\U000f0000\U0010fffd",
    "$^+<>|~`=",
    "unaffable unaffable.unaffable",
    "\u037e \u1fef \u2329 \u212b",
]


def write():
    DATA.mkdir(parents=True, exist_ok=True)
    strings, bert = Strings(2024), reference()

    def save(name, rows):
        lines = (json.dumps(row, separators=(",", ":")) for row in rows)
        (DATA / name).write_text("[\n" + ",\n".join(lines) + "\n]\n")

    texts = CHOSEN + [kind() for kind in strings.kinds for _ in range(80)]
    save("encode.json", zip(texts, encode(bert, texts)))
    raw = [strings.raw_bytes() for _ in range(120)]
    save(
        "bytes.json",
        zip([b.hex() for b in raw], encode(bert, [b.decode(errors="replace") for b in raw])),
    )
    short = CHOSEN + [strings.english() for _ in range(40)]
    save(
        "truncate.json",
        [(t, n, i) for n in (2, 3, 8, 35) for t, i in zip(short, encode(bert, short, n))],
    )
    ids = [strings.ids(len(bert)) for _ in range(600)]
    save("decode.json", [(i, decode(bert, i)) for i in ids])
    (DATA / "code_points.json").write_text(json.dumps(code_point_hashes(bert)) + "\n")

    (DATA / "small_vocab.txt").write_text("\n".join(small_vocabulary()) + "\n", encoding="utf-8")
    rows = []
    for lower in (True, False):
        small = reference(DATA / "small_vocab.txt", lower)
        texts = (
            CHOSEN + [strings.specials() for _ in range(60)] + [strings.latin() for _ in range(60)]
        )
        rows += [(lower, t, i) for t, i in zip(texts, encode(small, texts))]
    save("small.json", rows)
    small = reference(DATA / "small_vocab.txt")
    ids = [
        [strings.r.randrange(len(small) + 2) for _ in range(strings.r.randint(0, 14))]
        for _ in range(200)
    ]
    save("small_decode.json", [(i, decode(small, i)) for i in ids])
    # The package's own file, for parse_tokenizer_json.
    (DATA / "small_tokenizer.json").write_text(
        small.backend_tokenizer.to_str(pretty=False) + "\n", encoding="utf-8"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", type=int, metavar="N")
    parser.add_argument("--binary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--random-only", action="store_true", help="leave the 4 x 1,112,064 single code points out"
    )
    args = parser.parse_args()
    if args.write:
        write()
        return 0
    if not args.check or not args.binary:
        parser.error("--write, or --check N with --binary PATH")
    return check(args.check, args.binary, args.seed, not args.random_only)


if __name__ == "__main__":
    sys.exit(main())
