"""Our own compiled networks (tools/sophon/NETWORKS.md) on an emulated chip against the same
checkpoints on the CPU: python3 folders_test.py CHIP.

The checkpoints are those of tests/data/parity; the folders are compiled from them, one set for each
chip and type.
"""

import json
import math
import shutil
import struct
import sys
import unittest
from dataclasses import dataclass
from pathlib import Path

import fixtures
from program import ProgramTest

CHIPS = ("bm1684", "bm1684x", "bm1688")
FASTEST = "bm1688"
CHIP = sys.argv[1]
SETS = fixtures.folders(CHIP)  # {"f16": folder with caption/, match/ and vqa/}
EMULATOR = fixtures.prepare_emulator(CHIP)
CHECKPOINTS = fixtures.SOURCE / "tests" / "data" / "parity"
PICTURES = sorted((CHECKPOINTS / "images").iterdir())
THOROUGH = CHIP == FASTEST
SLOW = CHIP == "bm1684"  # seconds a launch
TEXTS = ["a dog on the street", "two people", "road"]
QUESTION = "where is the dog?"
# Number types whose texts must be those of the CPU token for token; 8 bits may choose otherwise.
EXACT = ("f32", "f16")


@dataclass
class Limits:
    number: float  # error of a probability or a cosine
    score: float  # error of a text's score, as a part of it
    cosine: float  # of embeddings and states, at least


LIMITS = {
    "f32": Limits(0.01, 0.02, 0.999),
    "f16": Limits(0.01, 0.02, 0.999),
    "w8f16": Limits(0.01, 0.02, 0.999),
    "bf16": Limits(0.01, 0.05, 0.999),
    "int8": Limits(0.02, 0.05, 0.99),
}


def cosine(a, b):
    dot, aa, bb = (sum(x * y for x, y in zip(p, q)) for p, q in ((a, b), (a, a), (b, b)))
    return dot / math.sqrt(aa * bb)


def npy(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    return struct.unpack(f"<{(len(data) - 10 - length) // 4}f", data[10 + length :])


class FolderTest(ProgramTest):
    RUNTIME = EMULATOR

    def both(self, model, check, *arguments, sets=None):
        """check(type, what the chip says, what the CPU says) for each type."""
        expected = self.objects(arguments[0], "--model", CHECKPOINTS / model, *arguments[1:])
        self.assertTrue(expected)
        for dtype, folder in (SETS if sets is None else sets).items():
            with self.subTest(dtype=dtype):
                got = self.objects(
                    arguments[0], "--device", "sophon:0", "--model", folder / model, *arguments[1:]
                )
                self.assertEqual(len(got), len(expected))
                for g, e in zip(got, expected):
                    check(dtype, g, e)

    def check_texts(self, model, *arguments, types=EXACT):
        def same(_, got, expected):
            self.assertEqual(got["token_ids"], expected["token_ids"])
            self.assertAlmostEqual(
                got["score"], expected["score"], delta=0.02 * max(1, abs(expected["score"]))
            )
            key = next(
                key for key in ("captions", "answers", "caption", "answer") if key in expected
            )
            texts = [
                [text["token_ids"] for text in r[key]] if isinstance(r[key], list) else r[key]
                for r in (got, expected)
            ]
            self.assertEqual(*texts)

        self.both(
            model,
            same,
            *arguments,
            sets={dtype: folder for dtype, folder in SETS.items() if dtype in types},
        )


class Texts(FolderTest):
    def test_captions_greedy(self):
        self.check_texts(
            "caption", "caption", PICTURES[1], "--beams", "1", "--max-length", "6" if SLOW else "9"
        )

    def test_captions_of_3_beams(self):
        self.check_texts("caption", "caption", PICTURES[1], "--max-length", "7" if SLOW else "8")

    def test_answers(self):
        if not SLOW:
            self.check_texts(
                "vqa",
                "ask",
                PICTURES[1],
                "--question",
                QUESTION,
                "--beams",
                "1",
                "--max-length",
                "5",
            )
        self.check_texts(
            "vqa", "ask", PICTURES[1], "--question", QUESTION, "--max-length", "4" if SLOW else "5"
        )

    @unittest.skipUnless(THOROUGH, f"the same on every chip: tested on {FASTEST}")
    def test_the_rest_of_decoding(self):
        # F32 where rounding decides: a draw, and the third picture, whose two best captions of 5
        # beams lie 0.004 apart.
        self.check_texts(
            "caption",
            "caption",
            PICTURES[2],
            "--beams",
            "5",
            "--num-captions",
            "2",
            "--max-length",
            "10",
            types=("f32",),
        )
        self.check_texts(
            "caption",
            "caption",
            PICTURES[0],
            "--sample",
            "--seed",
            "3",
            "--num-captions",
            "2",
            "--max-length",
            "7",
            types=("f32",),
        )
        self.check_texts(
            "caption",
            "caption",
            PICTURES[0],
            PICTURES[2],
            "--prompt",
            "",
            "--beams",
            "1",
            "--max-length",
            "6",
        )
        self.check_texts(
            "caption",
            "caption",
            PICTURES[0],
            "--prompt",
            "a street with two people and the dog on it ",
            "--beams",
            "1",
            "--max-length",
            "15",
        )
        self.check_texts(
            "vqa",
            "ask",
            *PICTURES[:2],
            "--question",
            QUESTION,
            "--question",
            "how many people?",
            "--num-answers",
            "2",
            "--max-length",
            "3",
            types=("f32",),
        )

    @unittest.skipUnless(THOROUGH, f"the same on every chip: tested on {FASTEST}")
    def test_ranking(self):
        answers = fixtures.WORK / f"answers-{CHIP}.txt"
        answers.write_text(
            "the dog\non the street\nroad\na dog on the road\n2\nno\n", encoding="utf-8"
        )

        def same(dtype, got, expected):
            self.assertEqual(got["answer"], expected["answer"])
            self.assertAlmostEqual(
                got["score"], expected["score"], delta=LIMITS[dtype].score * abs(expected["score"])
            )

        self.both("vqa", same, "ask", PICTURES[1], "--question", QUESTION, "--answers", answers)

    @unittest.skipIf(set(SETS) <= set(EXACT), "no types of 8 bits")
    def test_scores_of_8_bits(self):
        def close(dtype, got, expected):
            self.assertEqual(got["token_ids"][0], expected["token_ids"][0])
            self.assertAlmostEqual(
                got["score"], expected["score"], delta=LIMITS[dtype].score * abs(expected["score"])
            )

        sets = {dtype: folder for dtype, folder in SETS.items() if dtype not in EXACT}
        self.both("caption", close, "caption", PICTURES[1], "--max-length", "8", sets=sets)
        self.both(
            "vqa", close, "ask", PICTURES[1], "--question", QUESTION, "--max-length", "4", sets=sets
        )


class Numbers(FolderTest):
    def test_match(self):
        words = [word for text in (TEXTS * 4 if THOROUGH else TEXTS) for word in ("--text", text)]

        def close(dtype, got, expected):
            self.assertEqual(got["text"], expected["text"])
            delta = LIMITS[dtype].number
            self.assertAlmostEqual(
                got["match_probability"], expected["match_probability"], delta=delta
            )
            self.assertAlmostEqual(got["cosine"], expected["cosine"], delta=delta)

        self.both("match", close, "match", PICTURES[1], *words)

    def test_embeddings(self):
        def close(dtype, got, expected):
            self.assertGreaterEqual(
                cosine(got["embedding"], expected["embedding"]), LIMITS[dtype].cosine
            )

        self.both("match", close, "embed", PICTURES[1], "--text", TEXTS[0])

    def test_stages(self):
        stages = (
            [("vqa", "vision"), ("match", "text"), ("vqa", "question")]
            if THOROUGH
            else [] if SLOW else [("vqa", "question")]
        )
        for model, stage in stages:
            text = () if stage == "vision" else ("--text", QUESTION)
            for dtype, folder in SETS.items():
                with self.subTest(stage=stage, dtype=dtype):
                    files = [fixtures.WORK / f"{CHIP}-{name}.npy" for name in ("chip", "cpu")]
                    self.ok(
                        "dump",
                        "--device",
                        "sophon:0",
                        "--model",
                        folder / model,
                        "--stage",
                        stage,
                        "--image",
                        PICTURES[0],
                        "--output",
                        files[0],
                        *text,
                    )
                    self.ok(
                        "dump",
                        "--model",
                        CHECKPOINTS / model,
                        "--stage",
                        stage,
                        "--image",
                        PICTURES[0],
                        "--output",
                        files[1],
                        *text,
                    )
                    got, expected = map(npy, files)
                    self.assertEqual(len(got), len(expected))
                    self.assertGreaterEqual(cosine(got, expected), LIMITS[dtype].cosine)


class Refused(FolderTest):
    """What of a folder is looked at before or while its networks are loaded."""

    def setUp(self):
        self.folder = fixtures.WORK / f"folder-{CHIP}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.source = next(iter(SETS.values()))
        shutil.copytree(self.source / "caption", self.folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    def refuses(self, message, *arguments, device="sophon:0", code=3, **keywords):
        self.fails(
            code,
            message,
            "caption",
            "--device",
            device,
            "--model",
            self.folder,
            PICTURES[1],
            *arguments,
            **keywords,
        )

    def write(self, **changes):
        (self.folder / "manifest.json").write_text(
            json.dumps({**self.manifest, **changes}), encoding="utf-8"
        )

    def test_manifest(self):
        other = next(chip for chip in CHIPS if chip != CHIP)
        self.write(chip=other)
        self.refuses(f"is compiled for {other}, but sophon:0 ({CHIP}) is another chip")
        self.write(checkpoint={"name": "other", "sha256": "0" * 64})
        self.refuses("this network is of another model")
        self.write(decoder={**self.manifest["decoder"], "slots": 25})
        self.refuses("by the manifest it must be")
        self.write(version=2)
        self.refuses("version 2 of these folders is newer than this blip")
        (self.folder / "manifest.json").write_text("{", encoding="utf-8")
        self.refuses("not valid JSON")
        (self.folder / "manifest.json").unlink()
        self.refuses("runs compiled models (.bmodel, or a folder with manifest.json)")

    def test_files(self):
        file = self.folder / self.manifest["networks"][0]["file"]
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        self.refuses("the manifest says")
        other = (
            self.source
            / "vqa"
            / json.loads((self.source / "vqa" / "manifest.json").read_text(encoding="utf-8"))[
                "networks"
            ][0]["file"]
        )
        shutil.copy(other, file)
        networks = [
            {**n, "bytes": file.stat().st_size} if n["file"] == file.name else n
            for n in self.manifest["networks"]
        ]
        self.write(networks=networks)
        self.refuses("does not belong to this folder")
        file.unlink()
        self.refuses("cannot open bmodel")

    def test_vocabulary_and_options(self):
        self.refuses("writes texts of up to 24 tokens, prompt included", "--max-length", "30")
        self.refuses(
            "is another vocabulary",
            "--tokenizer-path",
            fixtures.SOURCE / "data" / "bert-base-uncased",
        )
        dtype = "bf16" if self.manifest["dtype"] != "bf16" else "int8"
        self.refuses(
            f"is compiled in {self.manifest['dtype']}, not {dtype}", "--dtype", dtype, code=2
        )
        self.refuses("runs on sophon alone: choose one of its devices", device="cpu", code=2)
        with open(self.folder / "vocab.txt", "a", encoding="utf-8") as vocabulary:
            vocabulary.write("more\n")
        self.refuses("is not the vocabulary that these networks were compiled for")

    def test_runtime(self):
        self.refuses("install-emulator", runtime="/nonexistent")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
