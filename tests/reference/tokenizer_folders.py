#!/usr/bin/env python3
"""Tokenizers of model folders as transformers' AutoTokenizer reads them, into
tests/data/model/tokenizers.json.

    python tests/reference/tokenizer_folders.py tests/data/model/tokenizers.json
    python tests/reference/tokenizer_folders.py --check tests/data/model/tokenizers.json

The first writes the file, the second compares it with what another version reads.
Each case has the files of its folder, and for texts their ids, for ids their text. Written with
transformers 5 and compared with transformers 4.40; where the two differ (the spaces that decoding
cleans up unless a folder says, and files that contradict each other) there is no case here: such
folders are refused, which tests/unit/model tests. Needs transformers and tokenizers; no torch.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import AutoTokenizer  # noqa: E402

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "cat",
    "Cat",
    "é",
    "e",
    "##s",
    "中",
    "文",
    "中文",
    "<",
    "sk",
    "##sk",
    ">",
    "s",
    "##k",
    "do",
    "not",
    "'",
    "t",
    "n't",
    ".",
    "[",
    "dec",
    "]",
    "É",
    "##É",
    "i",
    "##i",
    "x",
    "##x",
    "new",
    "york",
    "1",
    "##1",
    "-",
]
COUNT = len(VOCABULARY)
TEXTS = [
    "Cat é É 中文 İ",
    "<sks> cat",
    "a<sks>s <SKS>",
    "x <sks>  x<sks>x 1<sks>-<sks>.",
    "[MASK]a  [MASK]  a [mask]",
    "new york new  york New York",
    "catnew york",
    "[SEP]a[DEC] [dec]",
    "\u200b",
    "a\u00a0<sks>\u3000a",
    "é<sks>e <sks>é _<sks> <sks>中",
    "<sks><sks> cats",
    "",
]


def tokenizer_json(added=(), **normalizer):
    special = [entry(VOCABULARY[i], i, special=True, normalized=False) for i in range(5)]
    frame = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    settings = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special + list(added),
        "normalizer": settings | normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": frame + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("[CLS]", 2), ("[SEP]", 3))
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {t: i for i, t in enumerate(VOCABULARY)},
        },
    }


def entry(content, number, **flags):
    return {
        "id": number,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "special": False,
    } | flags


def described(*entries):
    return {
        "added_tokens_decoder": {
            str(e["id"]): {k: v for k, v in e.items() if k != "id"} for e in entries
        }
    }


def cases():
    lines = {"vocab.txt": "\n".join(VOCABULARY) + "\n"}

    # What transformers 4 assumes and 5 does not.
    def config(**keys):
        return {
            "tokenizer_config.json": {
                "tokenizer_class": "BertTokenizer",
                "clean_up_tokenization_spaces": True,
            }
            | keys
        }

    sks = entry("<sks>", COUNT)
    yield "vocab.txt alone", lines | config()
    for name, keys in (
        ("cased", {"do_lower_case": False}),
        ("accents stay", {"strip_accents": False}),
        ("Chinese together", {"tokenize_chinese_chars": False}),
        ("cased without accents", {"do_lower_case": False, "strip_accents": True}),
        ("no cleaning", {"clean_up_tokenization_spaces": False}),
        ("no basic tokenizer", {"do_basic_tokenize": False, "never_split": ["cat"]}),
        ("short model", {"model_max_length": 5}),
    ):
        yield name, lines | config(**keys)
    yield "tokenizer.json cased", {"tokenizer.json": tokenizer_json(lowercase=False)} | config(
        do_lower_case=False
    )
    yield "tokenizer.json", {"tokenizer.json": tokenizer_json([sks])} | config(do_lower_case=True)
    yield "tokenizer.json of no class", {
        "tokenizer.json": tokenizer_json([sks], lowercase=False)
    } | config(tokenizer_class="PreTrainedTokenizerFast")
    yield "tokenizer.json and vocab.txt", lines | {
        "tokenizer.json": tokenizer_json([sks])
    } | config()
    for flags in (
        {"special": True, "normalized": False},
        {"normalized": False},
        {"lstrip": True},
        {"rstrip": True},
        {"lstrip": True, "rstrip": True},
        {"single_word": True},
        {"single_word": True, "normalized": False, "rstrip": True},
    ):
        name = "<sks> with " + ", ".join(f"{k} {v}" for k, v in flags.items())
        yield name, {"tokenizer.json": tokenizer_json([sks | flags])} | config()
    many = [
        entry("<sks>", COUNT),
        entry("new york", COUNT + 1),
        entry("<sks><", COUNT + 2),
        entry("k", COUNT + 3),
        entry("NEW", COUNT + 4, normalized=False),
    ]
    yield "tokens that overlap", {"tokenizer.json": tokenizer_json(many)} | config()
    yield "a word added", {"tokenizer.json": tokenizer_json([entry("cat", 6)])} | config()
    yield "a single word added", {
        "tokenizer.json": tokenizer_json([entry("catnew", COUNT, single_word=True)])
    } | config()
    yield "added_tokens.json", lines | {"added_tokens.json": {"<sks>": COUNT}} | config()
    yield "added_tokens_decoder", lines | config(
        **described(sks, entry("<Y>", COUNT + 1, special=True, normalized=False))
    )
    yield "tokens with names", lines | config(
        bos_token="[DEC]", additional_special_tokens=["[ENC]", "<sks>"]
    )
    yield "special_tokens_map.json", lines | {
        "special_tokens_map.json": {"bos_token": "[DEC]", "additional_special_tokens": ["<sks>"]}
    } | config()
    yield "other frame", lines | config(cls_token="do", sep_token=".")
    yield "other unknown", lines | config(unk_token="a")
    mask = {
        "content": "[MASK]",
        "lstrip": True,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
    }
    yield "mask takes spaces", lines | config(
        **described(entry("[MASK]", 4, special=True, normalized=False, lstrip=True))
    ) | {"special_tokens_map.json": {"mask_token": mask}}


def answers(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ({"config.json": {"model_type": "blip"}} | files).items():
            text = content if isinstance(content, str) else json.dumps(content)
            pathlib.Path(folder, name).write_text(text, encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [
        [5, COUNT, 6, 10],
        [COUNT, 10],
        [20, 21, 24, 22, 23, 25],
        [6, COUNT + 1, 3, 1, 4, 6],
        list(range(COUNT + 3)),
    ]
    return (
        [[t, tokenizer(t).input_ids] for t in TEXTS],
        [[r, tokenizer.decode(r, skip_special_tokens=True)] for r in rows],
    )


def main():
    found = [
        {"name": name, "files": files, "texts": t, "ids": i}
        for name, files in cases()
        for t, i in [answers(files)]
    ]
    path = pathlib.Path(sys.argv[-1])
    if sys.argv[1] != "--check":
        path.write_text(
            "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in found) + "\n]\n",
            encoding="utf-8",
        )
        return 0
    wrong = 0
    for got, want in zip(found, json.loads(path.read_text(encoding="utf-8")), strict=True):
        for kind in ("texts", "ids"):
            for a, b in zip(got[kind], want[kind], strict=True):
                if a != b:
                    wrong += 1
                    print(f"{got['name']}: {ascii(a[0])}: {a[1]}, expected {b[1]}")
    print(f"{len(found)} folders compared, {wrong} answers different")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
