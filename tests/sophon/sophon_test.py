"""The program on an emulated SOPHON chip with models in the exact form of the vendor's samples:
python3 sophon_test.py CHIP.

Expected: what the official code says of the same weights and pictures (expected.json). A graph
gives the first ids of a text.
"""

import json
import shutil
import sys
import unittest
from pathlib import Path

import fixtures
from program import ProgramTest

CHIPS = ("bm1684", "bm1684x", "bm1688")
FASTEST = "bm1688"  # where what does not depend on the chip is tested
CHIP = sys.argv[1]
DATA, EMULATOR = fixtures.prepare(CHIP)
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
CAPTION_IDS, ANSWER_IDS = 8, 5  # compiled into these graphs
PROBABILITY_TOLERANCE = 1e-2
IMAGES = sorted({case["image"] for case in EXPECTED["caption"]})
if CHIP == "bm1684":
    IMAGES = IMAGES[:1]  # its emulator is the slowest by far


def bmodel(stage, chip=CHIP):
    return str(DATA / "bmodels" / f"blip_{stage}_{chip}_f32_1b.bmodel")


def image(name):
    return str(DATA / "images" / name)


VQA = (
    "--venc-bmodel-path",
    bmodel("vqa_venc"),
    "--tenc-bmodel-path",
    bmodel("vqa_tenc"),
    "--tdec-bmodel-path",
    bmodel("vqa_tdec"),
)


class SophonTest(ProgramTest):
    RUNTIME = EMULATOR


class Answers(SophonTest):
    def test_captions_token_for_token(self):
        paths = [image(name) for name in IMAGES]
        results = self.objects("caption", "--bmodel-path", bmodel("cap"), *paths)
        self.assertEqual([r["image"] for r in results], paths)
        expected = {
            case["image"]: case["ids"][:CAPTION_IDS]
            for case in EXPECTED["caption"]
            if case["beams"] == 1
        }
        self.assertEqual([r["token_ids"] for r in results], [expected[name] for name in IMAGES])
        for result in results:
            self.assertIsNone(result["score"])
            self.assertTrue(result["caption"])
            self.assertFalse(result["caption"].startswith("a picture of"), result["caption"])

    def test_match_probabilities(self):
        texts = sorted({case["text"] for case in EXPECTED["itm"]})
        expected = {
            (image(case["image"]), case["text"]): case["probability"]
            for case in EXPECTED["itm"]
            if case["image"] in IMAGES
        }
        options = [word for text in texts for word in ("--text", text)]
        results = self.objects(
            "match", "--bmodel-path", bmodel("itm"), *map(image, IMAGES), *options
        )
        self.assertEqual({(r["image"], r["text"]) for r in results}, set(expected))
        for result in results:
            self.assertAlmostEqual(
                result["match_probability"],
                expected[result["image"], result["text"]],
                delta=PROBABILITY_TOLERANCE,
            )
            self.assertIsNone(result["cosine"])

    def test_answers_token_for_token(self):
        cases = [case for case in EXPECTED["vqa_seed_form"] if case["image"] in IMAGES]
        questions = sorted({case["question"] for case in cases})
        options = [word for question in questions for word in ("--question", question)]
        results = self.objects("ask", *VQA, *map(image, IMAGES), *options)
        got = {(r["image"], r["question"]): r["token_ids"] for r in results}
        self.assertEqual(
            got,
            {
                (image(case["image"]), case["question"]): case["ids_enc"][:ANSWER_IDS]
                for case in cases
            },
        )

    @unittest.skipUnless(CHIP == FASTEST, f"the same on every chip: tested on {FASTEST}")
    def test_sophon_demo_arguments(self):
        case = EXPECTED["itm"][0]
        done = self.ok(
            "itm",
            "--image_path",
            image(case["image"]),
            f"--bmodel_path={bmodel('itm')}",
            "--text",
            case["text"],
            "--dev_id",
            "0",
            "--tokenizer_path",
            str(fixtures.SOURCE / "data" / "bert-base-uncased"),
        )
        probability, cosine, text = done.stdout.rstrip("\n").split("\t")
        self.assertAlmostEqual(float(probability), case["probability"], delta=PROBABILITY_TOLERANCE)
        self.assertEqual((cosine, text), ("-", case["text"]))
        self.assertIn("preprocess", done.stderr)
        cases = [c for c in EXPECTED["vqa_seed_form"] if c["image"] == IMAGES[0]]
        done = self.ok(
            "vqa",
            "--image_path",
            image(IMAGES[0]),
            "--venc_bmodel_path",
            bmodel("vqa_venc"),
            "--tenc_bmodel_path",
            bmodel("vqa_tenc"),
            "--tdec_bmodel_path",
            bmodel("vqa_tdec"),
            stdin="".join(c["question"] + "\n" for c in cases) + "exit\nnever asked\n",
        )
        self.assertEqual(len(done.stdout.splitlines()), len(cases), done.stdout)
        self.assertIn("predict", done.stderr)
        caption = self.ok(
            "cap", "--image_path", image(IMAGES[0]), "--bmodel_path", bmodel("cap"), "--dev_id=0"
        ).stdout
        self.assertEqual(len(caption.splitlines()), 1)

    @unittest.skipUnless(CHIP == FASTEST, f"the same on every chip: tested on {FASTEST}")
    def test_a_bmodel_is_a_model(self):
        done = self.ok(
            "match", "--model", bmodel("itm"), image(IMAGES[0]), "--text", "a dog", "--quiet"
        )
        self.assertEqual(len(done.stdout.splitlines()), 1)

    @unittest.skipUnless(CHIP == FASTEST, f"the same on every chip: tested on {FASTEST}")
    def test_a_text_too_long_is_truncated_with_a_warning(self):
        done = self.ok(
            "match", "--bmodel-path", bmodel("itm"), image(IMAGES[0]), "--text", "dog " * 50
        )
        self.assertIn("truncated to 35 tokens", done.stderr)

    def test_devices(self):
        listed = self.objects("devices")
        self.assertEqual([d["id"] for d in listed], ["cpu", "sophon:0"])
        self.assertIn(CHIP.upper(), listed[1]["description"])


@unittest.skipUnless(CHIP == FASTEST, f"the same on every chip: tested on {FASTEST}")
class Limits(SophonTest):
    def test_fixed_decoding(self):
        for option in (
            ("--beams", "3"),
            ("--max-length", "30"),
            ("--num-captions", "2"),
            ("--sample",),
            ("--repetition-penalty", "1.5"),
        ):
            with self.subTest(option=option):
                self.fails(
                    3,
                    option[0],
                    "caption",
                    "--bmodel-path",
                    bmodel("cap"),
                    image(IMAGES[0]),
                    *option,
                )
        self.fails(
            3,
            "prompt",
            "caption",
            "--bmodel-path",
            bmodel("cap"),
            image(IMAGES[0]),
            "--prompt",
            "a photo of ",
        )

    def test_no_ranking(self):
        self.fails(
            3,
            "cannot ask with a list",
            "ask",
            *VQA,
            image(IMAGES[0]),
            "--question",
            "what?",
            "--answers",
            __file__,
        )


class Errors(SophonTest):
    def test_runtime(self):
        caption = ("caption", "--bmodel-path", bmodel("cap"), image(IMAGES[0]))
        self.fails(3, "install-emulator", *caption, runtime="/nonexistent")
        folder = fixtures.WORK / f"broken-{CHIP}"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
        folder.mkdir()
        self.fails(3, "no libbmlib.so in", *caption, runtime=folder)
        for name in ("libbmlib.so", "libbmrt.so"):
            (folder / name).symlink_to(EMULATOR / "libbmlib.so")
        self.fails(3, "libbmrt lacks the function bmrt_create", *caption, runtime=folder)
        (folder / "libbmlib.so").unlink()
        (folder / "libbmlib.so").write_bytes(b"no library")
        self.fails(3, "cannot load libbmlib.so", *caption, runtime=folder)

    def test_device(self):
        for device, code, message in (
            ("sophon:1", 3, "no device sophon:1"),
            ("sophon:x", 2, "sophon:N"),
            ("sophon:-1", 2, "sophon:N"),
            ("sophon:0,1", 3, "no device sophon:1"),
            ("cpu", 2, "must be sophon"),
        ):
            with self.subTest(device=device):
                self.fails(
                    code,
                    message,
                    "caption",
                    "--device",
                    device,
                    "--bmodel-path",
                    bmodel("cap"),
                    image(IMAGES[0]),
                )
        self.fails(
            3,
            "runs compiled models",
            "caption",
            "--device",
            "sophon",
            "--model",
            str(DATA),
            image(IMAGES[0]),
        )

    def test_files(self):
        other = next(chip for chip in CHIPS if chip != CHIP)
        whole = Path(bmodel("itm")).read_bytes()
        folder = fixtures.WORK / f"damaged-{CHIP}"
        folder.mkdir(exist_ok=True)
        for name, data, message in (
            ("truncated", whole[:-1], "truncated bmodel: expected"),
            ("half", whole[: len(whole) // 2], "truncated bmodel"),
            ("header", whole[:40], "damaged bmodel"),
            ("empty", b"", "is not a bmodel"),
            ("text", b"hello" * 50, "is not a bmodel"),
            ("folder", None, "it is a folder"),
        ):
            with self.subTest(name=name):
                path = folder / f"{name}.bmodel"
                if data is None:
                    path.mkdir(exist_ok=True)
                else:
                    path.write_bytes(data)
                self.fails(
                    3,
                    message,
                    "match",
                    "--bmodel-path",
                    str(path),
                    image(IMAGES[0]),
                    "--text",
                    "a dog",
                )
        self.fails(
            3,
            f"compiled for {other.upper()}",
            "match",
            "--bmodel-path",
            bmodel("itm", other),
            image(IMAGES[0]),
            "--text",
            "a dog",
        )
        self.fails(
            3,
            "No such file",
            "match",
            "--bmodel-path",
            "/nonexistent.bmodel",
            image(IMAGES[0]),
            "--text",
            "a dog",
        )

    @unittest.skipUnless(CHIP == FASTEST, f"the same on every chip: tested on {FASTEST}")
    def test_roles(self):
        self.fails(
            3,
            "cannot caption; it can: match (ITM)",
            "caption",
            "--bmodel-path",
            bmodel("itm"),
            image(IMAGES[0]),
        )
        self.fails(
            3, "is missing", "caption", "--bmodel-path", bmodel("vqa_venc"), image(IMAGES[0])
        )
        self.fails(
            3,
            "is a vision encoder, twice: it is named twice, or holds two",
            "ask",
            "--venc-bmodel-path",
            bmodel("vqa_venc"),
            "--tenc-bmodel-path",
            bmodel("vqa_venc"),
            "--tdec-bmodel-path",
            bmodel("vqa_tdec"),
            image(IMAGES[0]),
            "--question",
            "what?",
        )
        self.fails(
            3,
            "not one model",
            "ask",
            "--venc-bmodel-path",
            bmodel("cap"),
            "--tenc-bmodel-path",
            bmodel("vqa_tenc"),
            "--tdec-bmodel-path",
            bmodel("vqa_tdec"),
            image(IMAGES[0]),
            "--question",
            "what?",
        )
        self.fails(
            2,
            "--tenc-bmodel-path",
            "ask",
            "--venc-bmodel-path",
            bmodel("vqa_venc"),
            image(IMAGES[0]),
            "--question",
            "what?",
        )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
