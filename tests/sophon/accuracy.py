"""How far our compiled networks are from the CPU on an emulated chip, away from the tests' own pictures and texts: accuracy.py CHIP [TYPE ...]

Compares, on the folders of fixtures.folders(), with the environment of the folder tests (tests/sophon/CMakeLists.txt): match probabilities, ITC cosines, and
captions and answers of 1 and 3 beams. BLIP_ACCURACY_PICTURES and BLIP_ACCURACY_TEXTS say of how many pictures and texts (8 and 12).
"""
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import fixtures
import program

sys.path.insert(0, str(fixtures.SOURCE / "tests" / "cli"))
from harness import png  # noqa: E402

CHECKPOINTS = fixtures.SOURCE / "tests" / "data" / "parity"


def picture(path, rng):
    """Squares of random colours, coarse or fine, with a slope of light."""
    width, height, square = rng.randrange(40, 160), rng.randrange(40, 160), rng.choice([4, 8, 16, 32])
    colours = {}

    def pixel(x, y):
        colour = colours.setdefault((x // square, y // square), [rng.randrange(256) for _ in range(3)])
        return (c * (width + x) // (2 * width) for c in colour)
    path.write_bytes(png(width, height, pixel))
    return str(path)


def objects(*arguments, runtime="/nonexistent"):
    done = program.run(*arguments, "--json", runtime=runtime)
    done.check_returncode()
    return [json.loads(line) for line in done.stdout.splitlines()]


class Comparison:
    def __init__(self, chip, folder, dtype):
        self.runtime, self.folder, self.dtype = fixtures.prepare_emulator(chip), folder, dtype

    def both(self, model, command, *arguments):
        expected = objects(command, "--model", CHECKPOINTS / model, *arguments)
        return zip(objects(command, "--device", "sophon:0", "--model", self.folder / model, *arguments, runtime=self.runtime), expected)

    def numbers(self, pictures, texts):
        words = [word for text in texts for word in ("--text", text)]
        pairs = list(self.both("match", "match", *pictures, *words))
        for key in ("match_probability", "cosine"):
            errors = sorted(abs(got[key] - expected[key]) for got, expected in pairs)
            over = sum(error > 0.01 for error in errors)
            print(f"{self.dtype} {key}: of {len(errors)} at most {errors[-1]:.4f} off, on average {sum(errors) / len(errors):.5f}, {over} by more than 0.01", flush=True)

    def texts(self, pictures):
        for model, command, more in (("caption", "caption", ()), ("vqa", "ask", ("--question", "where is the dog?"))):
            for beams in (1, 3):
                pairs = list(self.both(model, command, *pictures, *more, "--beams", beams, "--max-length", "8" if command == "caption" else "5"))
                differ = [f"{Path(e['image']).name} {e['score']:.3f} against {g['score']:.3f}" for g, e in pairs if g["token_ids"] != e["token_ids"]]
                print(f"{self.dtype} {command}, {beams} beams: {len(differ)} of {len(pairs)} differ", *differ, flush=True)


def main():
    chip, types = sys.argv[1], sys.argv[2:]
    rng = random.Random(7)
    vocabulary = [word for word in (CHECKPOINTS / "match/vocab.txt").read_text(encoding="utf-8").split() if word.isalpha()]
    with tempfile.TemporaryDirectory() as folder:
        pictures = [picture(Path(folder) / f"{i}.png", rng) for i in range(int(os.environ.get("BLIP_ACCURACY_PICTURES", "8")))]
        texts = [" ".join(rng.choices(vocabulary, k=rng.randrange(2, 16))) for _ in range(int(os.environ.get("BLIP_ACCURACY_TEXTS", "12")))]
        for dtype, where in fixtures.folders(chip).items():
            if not types or dtype in types:
                comparison = Comparison(chip, where, dtype)
                comparison.numbers(pictures, texts)
                comparison.texts(pictures)


if __name__ == "__main__":
    main()
