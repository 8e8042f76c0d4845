"""python -m unittest test_demo (in this folder): scenes, texts and vocabulary keep their
promises.
"""

import json
import pathlib
import unittest

import numpy as np

import evaluate
import scenes
import texts
import vocab
from kinds import BACKGROUNDS, BY_NAME, BY_PLURAL

SCENES = 500


class Texts(unittest.TestCase):
    def setUp(self):
        self.cases = [evaluate.case(i) for i in range(SCENES)]

    def test_captions_read_back_as_the_scene(self):
        for c in self.cases:
            caption = texts.caption(c.scene)
            self.assertEqual(
                texts.parse_caption(caption),
                (texts.named_counts(c.scene), c.scene.background),
                caption,
            )

    def test_captions_fit_the_default_length(self):
        longest = max(len(vocab.encode(texts.PROMPT + texts.caption(c.scene))) for c in self.cases)
        self.assertLessEqual(longest + 2, 20)  # [DEC] and [SEP] count too

    def test_every_word_is_in_the_vocabulary(self):
        for c in self.cases:
            for text in (
                texts.caption(c.scene),
                *c.statement[1:],
                *(t for q in c.questions for t in q[1:]),
            ):
                ids = vocab.encode(text)
                self.assertNotIn(vocab.UNK, ids, text)
                self.assertFalse(any(vocab.TOKENS[i].startswith("##") for i in ids), text)

    def test_false_statements_differ_and_are_false(self):
        for c in self.cases:
            what, true, false = c.statement
            self.assertNotEqual(true, false)
            if what in ("kind", "count", "colour"):
                found, ground = texts.parse_caption(false)
                here = texts.named_counts(c.scene)
                self.assertTrue(
                    ground not in (None, c.scene.background)
                    or any(here[k] != n for k, n in found.items()),
                    (true, false),
                )

    def test_parse_refuses_nonsense(self):
        for text in ("", "a dog and", "dogs", "two dog", "a dogs", "the dog", "five unicorns"):
            self.assertIsNone(texts.parse_caption(text)[0], text)


class Scenes(unittest.TestCase):
    def test_a_seed_is_a_picture(self):
        for i in range(5):
            a, b = (np.asarray(scenes.render(scenes.held_out(i), 96, 128)) for _ in range(2))
            self.assertTrue((a == b).all())
            self.assertEqual(a.shape, (128, 96, 3))
            other = np.asarray(
                scenes.render(scenes.draw_scene(scenes.rng_for(scenes.TRAIN, i)), 96, 128)
            )
            self.assertFalse((a == other).all())

    def test_pictures_hardly_cover_each_other(self):
        for i in range(200):
            things = scenes.held_out(i).things
            for n, a in enumerate(things):
                for b in things[n + 1 :]:
                    apart = max(abs(a.x - b.x), abs(a.y - b.y))
                    self.assertGreaterEqual(apart + 1e-9, (a.size + b.size) / 2, f"scene {i}")

    def test_bundled_scenes_are_what_their_seeds_give(self):
        folder = pathlib.Path(__file__).parent / "scenes"
        entries = json.loads((folder / "scenes.json").read_text())
        self.assertEqual(
            sorted(e["image"] for e in entries), sorted(p.name for p in folder.glob("*.png"))
        )
        for entry in entries:
            self.assertEqual(entry["caption"], texts.caption(evaluate.case(entry["seed"]).scene))
            self.assertLess((folder / entry["image"]).stat().st_size, 60_000)


class Vocabulary(unittest.TestCase):
    def test_any_english_word_can_be_spelled(self):
        self.assertEqual(
            vocab.encode("Zebra-crossing, 42!"),
            [
                vocab.IDS[t]
                for t in (
                    "zebra",
                    "-",
                    "c",
                    "##r",
                    "##o",
                    "##s",
                    "##s",
                    "##i",
                    "##n",
                    "##g",
                    ",",
                    "4",
                    "##2",
                    "!",
                )
            ],
        )

    def test_layout(self):
        self.assertEqual(vocab.TOKENS[:5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        self.assertEqual(vocab.TOKENS[-2:], ["[DEC]", "[ENC]"])
        self.assertEqual(len(set(vocab.TOKENS)), len(vocab.TOKENS))
        for word in (*BY_NAME, *BY_PLURAL, *BACKGROUNDS):
            self.assertIn(word, vocab.IDS)


if __name__ == "__main__":
    unittest.main()
