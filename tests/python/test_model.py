"""The tasks, their options, results and errors."""

import gc
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import warnings

import numpy as np

import blipcpp

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])
SCENES = SOURCE / "demo/scenes"
CLOCK, BUS = str(SCENES / "clock.png"), str(SCENES / "cat-bus.png")


class Tasks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = blipcpp.Model.load()

    def test_caption(self):
        caption = self.model.caption(CLOCK)
        self.assertEqual(caption.text, "a clock on a gray background")
        self.assertEqual(
            caption.token_ids.tolist(), [362, 37, 277, 260, 37, 168, 261, 37, 211, 122, 3]
        )
        self.assertAlmostEqual(caption.score, -0.00047, places=4)
        self.assertTrue(all(ms > 0 for ms in caption.timings))
        self.assertEqual(
            repr(caption), "<Generation 'a clock on a gray background', score -0.0005>"
        )
        three = self.model.caption(CLOCK, num_captions=3)
        scores = [text.score for text in three.all]
        self.assertEqual((len(three), scores), (3, sorted(scores, reverse=True)))
        short = self.model.caption(CLOCK, prompt="a picture of a clock on", max_length=8)
        self.assertEqual((str(short), len(short.token_ids)), ("a", 8))
        drawn = [
            str(self.model.caption(CLOCK, sample=True, seed=seed, temperature=3.0))
            for seed in (1, 1, 2)
        ]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])

    def test_words(self):
        words = dict(forbid_words=["clock|gray", "background"], force_words=["red|green"])
        caption = self.model.caption(CLOCK, no_repeat_ngram=1, **words)
        self.assertFalse({"clock", "gray", "background"} & set(str(caption).split()))
        self.assertTrue({"red", "green"} & set(str(caption).split()))
        ids = caption.token_ids.tolist()
        self.assertEqual(len(ids), len(set(ids)))
        one = self.model.caption(CLOCK, forbid_words="clock")
        self.assertEqual(str(one), str(self.model.caption(CLOCK, forbid_words=("CLOCK",))))
        self.assertNotIn("clock", str(one))
        self.assertEqual(
            str(self.model.caption(CLOCK, forbid_words=None, force_words=[])),
            "a clock on a gray background",
        )
        with self.assertRaisesRegex(blipcpp.UsageError, "force_words needs beam search"):
            self.model.caption(CLOCK, beams=1, force_words=["red"])
        with self.assertRaisesRegex(blipcpp.UsageError, "forbid_words must be texts, not 3"):
            self.model.caption(CLOCK, forbid_words=[3])
        with self.assertWarnsRegex(blipcpp.BlipWarning, "vocabulary cannot spell"):
            self.model.caption(CLOCK, forbid_words=["\N{SNOWMAN}"])

    def test_token_ids_outlive_their_result(self):
        ids = self.model.caption(CLOCK).token_ids
        gc.collect()
        [self.model.caption(BUS) for _ in range(3)]
        self.assertEqual(ids.tolist()[:3], [362, 37, 277])
        self.assertFalse(ids.flags.writeable or ids.flags.owndata)

    def test_encoded_pictures(self):
        one, two = self.model.encode([CLOCK, BUS], batch_size=1)
        self.assertTrue(one.encode_ms > 0 and one.preprocess_ms > 0)
        captions = self.model.caption([one, BUS, two])
        self.assertEqual([str(c)[:7] for c in captions], ["a clock", "a cat t", "a cat t"])
        self.assertTrue(math.isnan(captions[0].timings.encode) and captions[1].timings.encode > 0)
        other = blipcpp.Model.load(threads=1)
        with self.assertRaisesRegex(blipcpp.UsageError, "another engine"):
            other.caption(one)
        self.assertEqual(
            (self.model.caption([]), self.model.encode([]), self.model.match([], ["a"])),
            ([], [], []),
        )

    def test_match(self):
        texts = ["a cat to the left of a bus", "a cat to the right of a bus"]
        left, right = self.model.match(BUS, texts)
        self.assertAlmostEqual(left.match_probability, 0.9995, places=3)
        self.assertAlmostEqual(left.cosine, 0.6236, places=3)
        self.assertLess(right.match_probability, 0.01)
        self.assertEqual(self.model.match(BUS, texts[0], head="itm").cosine, None)
        self.assertEqual(self.model.match(BUS, texts[0], head="itc").match_probability, None)
        enc = self.model.match(BUS, texts[0], itm_token="enc")
        self.assertNotEqual(enc.match_probability, left.match_probability)
        self.assertAlmostEqual(enc.cosine, left.cosine, places=6)
        with self.assertRaisesRegex(blipcpp.UsageError, "unknown ITM token 'sep'; use cls, enc"):
            self.model.match(BUS, texts[0], itm_token="sep")
        both = self.model.match([CLOCK, BUS], texts[:1])
        self.assertLess(both[0][0].match_probability, both[1][0].match_probability)

    def test_questions(self):
        answers = self.model.ask(
            BUS, ["what is to the right of the cat?", "what color is the background?"]
        )
        self.assertEqual([str(a) for a in answers], ["bus", "pink"])
        ranked = self.model.rank(BUS, "what is to the right of the cat?", ["a dog", "bus", "cat"])
        self.assertEqual((str(ranked), len(ranked.all)), ("bus", 3))
        self.assertEqual(
            len(self.model.rank(BUS, "what?", ["a dog", "bus", "cat"], candidates=2).all), 2
        )

    def test_features(self):
        vector, text = self.model.embed(BUS), self.model.embed_text("a cat")
        tokens = self.model.features("image-projected", BUS)
        self.assertEqual(tokens.shape, (65, 128))
        self.assertLess(abs(tokens[0] - vector).max(), 1e-5)
        words = self.model.features("text-projected", text="a cat")
        self.assertEqual(words.shape, (4, 128))
        self.assertLess(abs(words[0] - text).max(), 1e-5)
        self.assertLess(abs((words**2).sum(1) - 1).max(), 1e-5)
        alone = self.model.features("text", text="a cat")
        over = self.model.features("multimodal", BUS, "a cat")
        self.assertEqual((alone.shape, over.shape), ((4, 192), (4, 192)))
        self.assertGreater(abs(alone - over).max(), 0.1)
        self.assertEqual(self.model.features("text", text="cat " * 50).shape, (52, 192))
        for arguments, message in (
            (("image",), "features of kind image need a picture"),
            (("image", BUS, "a cat"), "features of kind image take no text"),
            (("text", BUS, "a cat"), "features of kind text take no picture"),
            (("multimodal", BUS), "features of kind multimodal need a text"),
            (("words", BUS), "unknown kind 'words'"),
        ):
            with self.assertRaisesRegex(blipcpp.UsageError, message):
                self.model.features(*arguments)

    def test_vectors(self):
        vectors, text = (
            self.model.embed([CLOCK, BUS]),
            self.model.embed_text("a cat to the left of a bus"),
        )
        self.assertEqual((vectors.shape, vectors.dtype, text.shape), ((2, 128), np.float32, (128,)))
        self.assertAlmostEqual(float(vectors[1] @ text), 0.6236, places=3)
        np.testing.assert_allclose((vectors**2).sum(axis=1), 1, rtol=1e-5)
        self.assertEqual(self.model.dump("vision", CLOCK).shape, (1, 65, 192))

    def test_attention(self):
        caption = self.model.caption(BUS)
        look = self.model.attention(BUS, caption)
        self.assertEqual(look.words, str(caption).split())
        np.testing.assert_allclose(look.weights.sum(axis=(1, 2)), 1, rtol=1e-4)
        columns = look.weights.sum(axis=1) @ np.arange(8)
        self.assertLess(columns[look.words.index("cat")], 3.5)
        self.assertGreater(columns[look.words.index("bus")], 3.5)
        answer = self.model.attention(
            BUS, self.model.ask(BUS, "what color is the bus?"), "what color is the bus?"
        )
        self.assertEqual((len(answer.words), answer.question_words[1]), (1, "color"))
        with self.assertRaisesRegex(blipcpp.UsageError, "prompt"):
            self.model.attention(BUS, caption, prompt="two dogs")

    def test_streams(self):
        tokens = list(self.model.stream(CLOCK))
        self.assertEqual(tokens[-1].text, "a clock on a gray background")
        self.assertEqual([t.text for t in tokens][:2], ["a", "a clock"])
        self.assertEqual(
            list(self.model.stream(BUS, "what color is the background?"))[-1].text, "pink"
        )
        for token in self.model.stream(CLOCK):  # left early: its work ends
            break
        with self.assertRaisesRegex(blipcpp.IoError, "/nowhere"):
            list(self.model.stream("/nowhere.png"))
        # What a callback raises comes out.
        with self.assertRaisesRegex(ZeroDivisionError, "by zero"):
            self.model.caption(CLOCK, beams=1, on_token=lambda token: 1 // 0)

    def test_many(self):
        files = sorted(SCENES.glob("*.png"))
        expected = [str(c) for c in self.model.caption(files)]
        told = []
        got = list(
            self.model.captions(
                files, batch_size=3, progress=lambda done, total: told.append((done, total))
            )
        )
        self.assertEqual([str(c) for c in got], expected)
        self.assertEqual(told, [(i + 1, len(files)) for i in range(len(files))])
        self.assertEqual([str(c) for c in self.model.captions(iter(files), workers=1)], expected)
        bad = [files[0], "/nowhere.png", files[1]]
        results = list(self.model.captions(bad, errors="yield"))
        self.assertEqual([str(results[0]), str(results[2])], expected[:2])
        self.assertIsInstance(results[1], blipcpp.IoError)
        given = []
        with self.assertRaisesRegex(blipcpp.IoError, "/nowhere"):
            for caption in self.model.captions(bad):
                given.append(str(caption))
        self.assertEqual(given, expected[:1])  # those before it
        pulled = []
        first = next(self.model.captions((pulled.append(f) or f for f in files * 50), batch_size=2))
        self.assertEqual(str(first), expected[0])
        self.assertLess(len(pulled), 10)  # it reads ahead, but not everything

    def test_warnings(self):
        with self.assertWarnsRegex(blipcpp.BlipWarning, "text truncated to 35 tokens"):
            self.model.match(CLOCK, "clock " * 60)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with self.assertRaisesRegex(blipcpp.BlipWarning, "truncated"):
                self.model.match(CLOCK, "clock " * 60)
            self.assertEqual(str(self.model.caption(CLOCK)), "a clock on a gray background")

    def test_errors(self):
        for call, kind, message in (
            (lambda: self.model.match(CLOCK, " "), blipcpp.UsageError, "empty text"),
            (
                lambda: self.model.match(CLOCK, ["a", 3]),
                blipcpp.UsageError,
                "text must be a text.*3",
            ),
            (lambda: self.model.match(CLOCK, "a\0b"), blipcpp.UsageError, "zero character"),
            (
                lambda: self.model.match(CLOCK, "a", head="both"),
                blipcpp.UsageError,
                "unknown head 'both'; use all, itm, itc",
            ),
            (lambda: self.model.caption(CLOCK, beams=0), ValueError, "beams"),
            (
                lambda: self.model.caption(CLOCK, beams="many"),
                blipcpp.UsageError,
                "beams must be a number, not 'many'",
            ),
            (
                lambda: self.model.caption(CLOCK, num_captions=2, beams=1),
                blipcpp.UsageError,
                "num_return",
            ),
            (
                lambda: self.model.dump("middle", CLOCK),
                blipcpp.UsageError,
                "unknown stage 'middle'",
            ),
            (lambda: self.model.encode([CLOCK], batch_size=0), blipcpp.UsageError, "batch_size"),
            (lambda: blipcpp.Model.load("/nowhere.gguf"), OSError, "/nowhere.gguf"),
            (lambda: blipcpp.Model.load(SOURCE / "README.md"), blipcpp.ModelError, "README.md"),
            (lambda: blipcpp.Model.load(dtype="f31"), blipcpp.UsageError, "f31"),
            (lambda: blipcpp.Model.load(device="gpu"), blipcpp.DeviceError, "gpu"),
            (lambda: blipcpp.Model.load("no-org/no-model"), blipcpp.IoError, "no-org/no-model"),
            (
                lambda: blipcpp.Model.load(SOURCE / "tests/data/parity/vqa").caption(CLOCK),
                NotImplementedError,
                "cannot caption",
            ),
        ):
            with self.subTest(message=message), self.assertRaisesRegex(kind, message):
                call()

    def test_information(self):
        info = self.model.info
        self.assertEqual((info.name, info.image_size, info.embed_dim), ("blip-demo", 128, 128))
        self.assertEqual(info.tasks, ("caption", "match", "embed", "ask", "rank", "attention"))
        self.assertEqual([p.name for p in info.parts][:2], ["vision", "text_encoder"])
        self.assertEqual(blipcpp.inspect(info.path), info)
        self.assertEqual(
            (self.model.device, self.model.dtype, self.model.networks()), ("cpu", "f32", [])
        )
        self.assertRegex(blipcpp.version(), r"^\d+\.\d+\.\d+$")
        self.assertIn("blip-demo on cpu, f32", repr(self.model))

    def test_nlvr(self):
        data = SOURCE / "tests/data"
        cases = json.loads((data / "nlvr/expected.json").read_text(encoding="utf-8"))
        model = blipcpp.Model.load(data / "nlvr/model.pth")
        self.assertEqual((model.info.tasks, model.info.can_nlvr), (("nlvr",), True))
        self.assertFalse(self.model.info.can_nlvr)
        pair = [data / "parity/images" / name for name in cases[0]["images"]]
        texts = [case["text"] for case in cases if case["images"] == cases[0]["images"]]
        wanted = [case["probability"] for case in cases[: len(texts)]]
        got = model.nlvr(*pair, texts)
        self.assertEqual((got.dtype, got.shape), (np.float32, (len(texts),)))
        np.testing.assert_allclose(got, wanted, atol=1e-4)
        left, right = model.encode(pair)
        one = model.nlvr(left, right, texts[0])
        self.assertIsInstance(one, float)
        self.assertEqual(one, float(got[0]))
        self.assertNotEqual(model.nlvr(right, left, texts[0]), one)
        with self.assertRaisesRegex(blipcpp.UnsupportedError, "cannot judge statements"):
            self.model.nlvr(CLOCK, BUS, "x")
        with self.assertRaisesRegex(blipcpp.UsageError, "3 to 64 tokens"):
            model.nlvr(left, right, "x", max_text_length=65)
        with self.assertRaisesRegex(blipcpp.UsageError, "text must be a text or a list of texts"):
            model.nlvr(left, right, [1])

    def test_adapters(self):
        data = SOURCE / "tests/data/parity"
        base, adapter = data / "caption", data / "adapter-attention"
        several = data / "adapter-several"

        def score(*arguments: object, **more: object) -> float:
            return blipcpp.Model.load(*arguments, **more).caption(CLOCK, prompt="two people").score

        plain, merged = score(base), score(base, adapter=str(adapter))
        self.assertNotEqual(plain, merged)
        self.assertEqual(score(base, adapter=[adapter]), merged)
        both = blipcpp.Model.load(base, adapter=(several, several / "second"))
        self.assertEqual(both.info.adapters, ("adapter-several", "second"))
        self.assertEqual(self.model.info.adapters, ())
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "merged.gguf")
            blipcpp.convert(base, file, "f32", adapter=adapter)
            self.assertEqual(score(file), merged)
            self.assertEqual(blipcpp.inspect(file).adapters, ("adapter-attention",))
        with self.assertRaisesRegex(blipcpp.IoError, "holds no adapter"):
            blipcpp.Model.load(base, adapter=base)
            alone = os.path.join(folder, "my-lora")
            shutil.copytree(adapter, alone)
            stated = os.path.join(alone, "adapter_config.json")
            with open(stated) as text:
                config = json.load(text)
            config["base_model_name_or_path"] = str(base)
            with open(stated, "w") as text:
                json.dump(config, text)
            self.assertEqual(score(alone), merged)
            self.assertEqual(blipcpp.inspect(alone).adapters, ("my-lora",))
            with unittest.mock.patch.dict(os.environ, {"BLIP_MODEL": ""}):
                self.assertEqual(score(adapter=alone), merged)
        with unittest.mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}):
            with self.assertRaisesRegex(blipcpp.IoError, "example/base"):
                blipcpp.Model.load(adapter)
        with self.assertRaisesRegex(blipcpp.ModelError, "is this adapter for another model"):
            blipcpp.Model.load(adapter=adapter, name_or_path=data / "match")

    def test_numbers_and_texts_that_c_has_no_room_for(self):
        for options in (
            {"beams": 2**32 + 1},
            {"beams": 2**31},
            {"max_length": 2**40},
            {"sample": True, "seed": 2**64 + 5},
            {"sample": True, "seed": -1},
        ):
            with self.assertRaisesRegex(blipcpp.UsageError, "out of range"):
                self.model.caption(CLOCK, **options)
        with self.assertRaisesRegex(blipcpp.UsageError, "not Unicode"):
            self.model.match(CLOCK, ["a clock \ud800"])

    def test_conversion(self):
        with tempfile.TemporaryDirectory() as folder:
            file, told = os.path.join(folder, "small.gguf"), []
            blipcpp.convert(
                self.model.info.path, file, "bf16", progress=lambda *step: told.append(step)
            )
            self.assertEqual(told[-1][0], "convert")
            self.assertEqual(blipcpp.inspect(file).parts[0].type, "bf16")
            self.assertEqual(
                str(blipcpp.Model.load(file).caption(CLOCK)), "a clock on a gray background"
            )
            with self.assertRaises(KeyError):
                blipcpp.convert(self.model.info.path, file, progress=lambda *step: {}["stop"])
            with self.assertRaises(KeyError):
                blipcpp.Model.load(progress=lambda *step: {}["stop"])


class Speed(unittest.TestCase):
    def test_a_call_costs_little(self):
        """Over what the library measures of its own work, at a tiny model on one thread: the best
        of many calls, for others use this machine, too."""
        model = blipcpp.Model.load(SOURCE / "tests/data/parity/caption", threads=1)
        picture = model.encode(CLOCK)
        over = []
        for _ in range(300):
            started = time.perf_counter()
            caption = model.caption(picture, beams=1)
            over.append((time.perf_counter() - started) * 1e3 - caption.timings.decode)
        print("a call costs %.3f ms over the library's" % min(over))
        self.assertLess(min(over), 0.2)

    def test_import_is_quick(self):
        """In time of this processor, with compiled bytecode as an installed package has it."""
        code = (
            "import numpy, time; t = time.process_time(); import blipcpp; "
            "print(time.process_time() - t)"
        )
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            run = [sys.executable, "-c", code]
            times = [float(subprocess.check_output(run, env=environment)) for _ in range(6)]
        print("import: %.1f ms" % (min(times) * 1e3))
        self.assertLess(min(times), 0.06)


if __name__ == "__main__":
    unittest.main()
