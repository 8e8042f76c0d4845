"""The same picture and text give the same JSON whatever --batch, --threads, the texts beside them
and the order.
"""

import json
import unittest

from harness import EMULATED, CliTest, run, scene_path, scenes

TYPES = ("f32", "bf16", "int8")
TEXTS = [
    "a cat",
    "a bus above a cat",
    "a clock",
    "a train to the left of a snail",
    "two dogs on a blue background",
    "a fox",
    "x",
    "a crown beside a fox on a very long red carpet in a palace by the sea where nobody lives any "
    "more",
]


def texts(of):
    return [argument for text in of for argument in ("--text", text)]


def told(result):
    """Line by line, without times."""
    objects = result.objects
    for o in objects:
        o.pop("timings_ms", None)
    return [json.dumps(o) for o in objects]


class OneAnswer(CliTest):
    def types(self):
        paths = [scene_path(scenes()[0])]
        return [t for t in TYPES if run("caption", *paths, "--dtype", t, "-q").code == 0]

    def test_captions(self):
        paths = list(map(scene_path, scenes()))
        ways = (
            [("--batch", 1, "--threads", 1), ("--batch", 3, "--threads", 2)]
            if EMULATED
            else [
                ("--batch", b, "--threads", t)
                for b, t in ((1, 1), (1, 2), (2, 3), (3, 2), (64, 1), (64, 5))
            ]
        )
        for dtype in self.types():
            for options in ((), ("--beams", 1)):
                first = None
                for way in ways:
                    for order in (paths, paths[::-1]):
                        lines = sorted(
                            told(
                                self.ok(
                                    "caption",
                                    *order,
                                    "--dtype",
                                    dtype,
                                    "--json",
                                    "-q",
                                    *way,
                                    *options
                                )
                            )
                        )
                        first = first or lines
                        self.assertEqual(lines, first, (dtype, way, options))

    def matches(self, of, dtype, threads):
        options = ("--dtype", dtype, "--json", "-q", "--threads", threads)
        return told(self.ok("match", scene_path(scenes()[0]), *texts(of), *options))

    def test_matches(self):
        for dtype in self.types():
            everything = self.matches(TEXTS, dtype, 2)
            self.assertEqual(len(everything), len(TEXTS))
            backwards = self.matches(TEXTS[::-1], dtype, 5)
            self.assertEqual(sorted(backwards), sorted(everything), dtype)
            alone = [self.matches([text], dtype, 1)[0] for text in TEXTS]
            self.assertEqual(sorted(alone), sorted(everything), dtype)


if __name__ == "__main__":
    unittest.main()
