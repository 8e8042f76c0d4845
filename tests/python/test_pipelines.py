"""Pipelines against what transformers' own returned for the same calls
(tests/reference/pipelines.py).
"""

import json
import os
import pathlib
import unittest

import blipcpp

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])
GOLDENS = json.loads((SOURCE / "tests/data/python/pipelines.json").read_text())
CHECKPOINTS = {
    "image-text-to-text": "caption",
    "image-to-text": "caption",
    "visual-question-answering": "vqa",
    "zero-shot-image-classification": "match",
}


def absolute(value):
    if isinstance(value, str):
        return str(SOURCE / value) if value.startswith("tests/data/") else value
    if isinstance(value, list):
        return [absolute(v) for v in value]
    if isinstance(value, dict):
        return {name: absolute(v) for name, v in value.items()}
    return value


class Pipelines(unittest.TestCase):
    maxDiff = None

    def check(self, task):
        pipe = blipcpp.pipeline(task, SOURCE / "tests/data/parity" / CHECKPOINTS[task])
        calls = GOLDENS[task]["calls"]
        self.assertGreater(len(calls), 5)
        for call in calls:
            arguments = absolute(call)
            expected = arguments.pop("result")
            with self.subTest(**{name: str(v) for name, v in call.items() if name != "result"}):
                got = pipe(**arguments)
                self.assertSame(got, expected)

    def assertSame(self, got, expected):
        if isinstance(expected, float):
            self.assertAlmostEqual(got, expected, places=4)
        elif isinstance(expected, list):
            self.assertEqual(len(got), len(expected))
            for g, e in zip(got, expected):
                self.assertSame(g, e)
        elif isinstance(expected, dict):
            self.assertEqual(list(got), list(expected))
            for name in expected:
                self.assertSame(got[name], expected[name])
        else:
            self.assertEqual(got, expected)

    def test_image_text_to_text(self):
        self.check("image-text-to-text")

    def test_image_to_text(self):
        self.check("image-to-text")

    def test_visual_question_answering(self):
        self.check("visual-question-answering")

    def test_zero_shot_image_classification(self):
        self.check("zero-shot-image-classification")

    def test_what_is_refused(self):
        pipe = blipcpp.pipeline("image-to-text")
        clock = str(SOURCE / "demo/scenes/clock.png")
        with self.assertRaisesRegex(blipcpp.UnsupportedError, "bad_words_ids.*num_beams"):
            pipe(clock, generate_kwargs={"bad_words_ids": [[5]]})
        (once,) = pipe(clock, generate_kwargs={"no_repeat_ngram_size": 1, "max_new_tokens": 16})
        words = once["generated_text"].split()
        self.assertEqual(len(words), len(set(words)))
        with self.assertRaisesRegex(
            blipcpp.UsageError, "unknown task 'translation'; use image-to-text"
        ):
            blipcpp.pipeline("translation")
        with self.assertRaisesRegex(blipcpp.UsageError, "2 pictures, but 1 texts"):
            blipcpp.pipeline("image-text-to-text")(
                [str(SOURCE / "demo/scenes/clock.png")] * 2, text=["a"]
            )
        self.assertEqual(pipe([]), [])


if __name__ == "__main__":
    unittest.main()
