"""How far compiled networks are from the CPU on an emulated chip, away from the tests' own pictures
and texts.

    accuracy.py bm1688 f16
    accuracy.py bm1688 f16 --checkpoints DIR --compiled DIR --toolchain DIR
    accuracy.py bm1688 f16 bf16 w8f16 int8 --fresh 21 --checkpoints DIR --compiled DIR \\
        --toolchain DIR --python PYTHON

with the environment of the folder tests (tests/sophon/CMakeLists.txt). The first takes the folders
of fixtures.folders(). The second takes other checkpoints, which it compiles where that was not done
yet; a checkpoint's task is what its folder's name begins with: match, caption or vqa
(checkpoints.py makes random ones). The third has at least 21 of them made first, by a Python that
has torch and transformers: seven of each task, of sharpness from 1, that of the tests' checkpoints,
down to 1/8. It ends with a table: for each type and sharpness how many texts are others and how far
numbers are off.

Compared are match probabilities, ITC cosines, and captions and answers of 1 and 3 beams. Of a text
that is another one it tells how near a tie that was in F32, by what onnxruntime makes of the
graphs, where it can be imported: by the logits where greedy texts part, or by what the search keeps
and leaves out.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import fixtures
import program

sys.path[:0] = [str(fixtures.SOURCE / "tests" / "cli"), str(fixtures.SOURCE / "tools" / "sophon")]
from harness import png  # noqa: E402

program.TIMEOUT_BM1688 = 200  # many pairs in one run
CORES = {"bm1688": 2}
KINDS = ("match", "caption", "vqa")
QUESTION = "where is the dog?"
# Shortest (the program's own) and longest text, prompt included.
LENGTHS = {"caption": (5, 12), "ask": (1, 5)}


def picture(path, rng):
    """Squares of random colours, coarse or fine, with a slope of light."""
    width, height, square = (
        rng.randrange(40, 160),
        rng.randrange(40, 160),
        rng.choice([4, 8, 16, 32]),
    )
    colours = {}

    def pixel(x, y):
        colour = colours.setdefault(
            (x // square, y // square), [rng.randrange(256) for _ in range(3)]
        )
        return (c * (width + x) // (2 * width) for c in colour)

    path.write_bytes(png(width, height, pixel))
    return str(path)


def objects(*arguments, runtime="/nonexistent"):
    done = program.run(*arguments, "--json", runtime=runtime)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def build(toolchain, checkpoint, chip, dtype, folder, pictures):
    """pictures: what int8 takes its ranges from."""
    command = [
        sys.executable,
        fixtures.SOURCE / "tools/sophon/build-bmodels",
        "--toolchain",
        toolchain,
        "--model",
        checkpoint,
        "--chip",
        chip,
        "--dtype",
        dtype,
        "--cores",
        CORES.get(chip, 1),
        "--slots",
        24,
        "--match-rows",
        8,
        "--out",
        folder,
    ]
    if dtype == "int8":
        command += ["--calibration", *pictures]
    subprocess.run(list(map(str, command)), check=True, stderr=subprocess.DEVNULL)


class Gaps:
    """Differences of logits in F32, by the exported graphs."""

    def __init__(self, checkpoint):
        import numpy  # pylint: disable=import-outside-toplevel
        import onnxruntime  # pylint: disable=import-outside-toplevel
        from blip_sophon.calibration import load_pixels  # pylint: disable=import-outside-toplevel
        from blip_sophon.checkpoint import (  # pylint: disable=import-outside-toplevel
            open_checkpoint,
        )
        from blip_sophon.networks import Builder, Options  # pylint: disable=import-outside-toplevel
        from blip_sophon.texts import Tokenizer  # pylint: disable=import-outside-toplevel

        self.np, self.pixels, self.c, options = (
            numpy,
            load_pixels,
            open_checkpoint(checkpoint),
            Options(slots=24, step_rows=[1]),
        )
        self.sessions = {}
        for make in Builder(self.c, options).networks():
            network = make()
            self.sessions[network.role] = onnxruntime.InferenceSession(
                network.graph.model().SerializeToString(), providers=["CPUExecutionProvider"]
            )
        self.shape = Builder(self.c, options).cache_shape
        self.tokenizer = Tokenizer(self.c.vocabulary)

    def run(self, role, *values):
        session = self.sessions[role]
        return session.run(
            None, {port.name: value for port, value in zip(session.get_inputs(), values)}
        )

    def start(self, image):
        """Makes a function that feeds a token: step(token, position, cache) gives the logits and
        the cache behind it.
        """
        np, part = self.np, "caption" if "caption" in self.c.text else "answer"
        tokens = self.run("vision", self.pixels(image, self.c))[0]
        if part == "caption":
            cross, extra = self.run("caption_cross", tokens)[0], ()
        else:
            ids, mask = np.zeros((1, self.c.max_text), np.int32), np.full(
                (1, 1, 1, self.c.max_text), -10000, np.float32
            )
            question = self.tokenizer(QUESTION, "[ENC]")
            ids[0, : len(question)], mask[..., : len(question)] = question, 0
            cross, extra = self.run("question", ids, mask, self.run("question_cross", tokens)[0])[
                1
            ], (mask,)
        empty = np.zeros(self.shape(part, 1), np.float32)

        def step(token, position, cache=None):
            logits, cache = self.run(
                f"{part}_step",
                np.array([[token]], np.int32),
                np.full((1, 1), position, np.float32),
                empty if cache is None else cache,
                cross,
                *extra,
            )
            return logits[0].astype(np.float64), cache

        return step

    def feed(self, step, fed):
        cache = None
        for position, token in enumerate(fed):
            logits, cache = step(token, position, cache)
        return logits, cache

    def greedy(self, image, fed, one, other):
        """logit(one) - logit(other) behind the tokens `fed`, and how far the deviation of all
        logits is.
        """
        logits, _ = self.feed(self.start(image), fed)
        return logits[one] - logits[other], logits.std()

    def beams(self, image, prompt, other, beams, lengths):
        """Beam search as src/decode/beam_search.cpp does it. Texts as (sum of log-probabilities,
        tokens), best first: those that are finished, and for each choice of running beams the
        candidates. One that continues `other` is among these however bad it is."""
        np, step, end = self.np, self.start(image), self.tokenizer.id("[SEP]")
        running, finished, choices = [(0.0, prompt, *self.feed(step, prompt))], [], []
        score = lambda text: text[0] / (len(text[1]) - len(prompt))
        while running:
            length, found = len(running[0][1]) + 1, []
            for total, ids, logits, cache in running:
                logs = logits - logits.max()
                logs -= np.log(np.exp(logs).sum())
                if length <= lengths[0]:
                    logs[end] = -np.inf
                best = set(np.argsort(-logs)[: 2 * beams].tolist()) | set(
                    other[length - 1 : length] if ids == other[: length - 1] else ()
                )
                found += [(float(total + logs[token]), ids + [token], cache) for token in best]
            found.sort(key=lambda text: -text[0])
            ended = [text[1][-1] == end or length == lengths[1] for text in found]
            finished = sorted(
                finished + [text[:2] for text, last in zip(found[:beams], ended) if last],
                key=score,
                reverse=True,
            )[:beams]
            going = [text for text, last in zip(found, ended) if not last]
            choices.append([text[:2] for text in going])
            if not going or (len(finished) == beams and score(going[0]) <= score(finished[-1])):
                break
            running = [
                (total, ids, *step(ids[-1], length - 1, cache))
                for total, ids, cache in going[:beams]
            ]
        return finished, [choice for choice in choices if choice]


class Comparison:
    def __init__(self, runtime, checkpoint, folder, label):
        self.runtime, self.checkpoint, self.folder, self.label, self.gaps = (
            runtime,
            checkpoint,
            folder,
            label,
            None,
        )

    def both(self, command, *arguments):
        expected = objects(command, "--model", self.checkpoint, *arguments)
        return list(
            zip(
                objects(
                    command,
                    "--device",
                    "sophon:0",
                    "--model",
                    self.folder,
                    *arguments,
                    runtime=self.runtime,
                ),
                expected,
            )
        )

    def numbers(self, pictures, texts):
        """{"match_probability": errors, "cosine": errors}"""
        found = {}
        pairs = self.both(
            "match", *pictures, *(word for text in texts for word in ("--text", text))
        )
        for key in ("match_probability", "cosine"):
            errors = sorted(abs(got[key] - expected[key]) for got, expected in pairs)
            found[key] = errors
            over, worse = (sum(error > limit for error in errors) for limit in (0.01, 0.005))
            mean = (sum(error * error for error in errors) / len(errors)) ** 0.5
            print(
                f"{self.label} {key}: of {len(errors)} at most {errors[-1]:.4f} off, root mean "
                f"square {mean:.5f}, "
                f"{worse} by more than 0.005, {over} by more than 0.01",
                flush=True,
            )
        return found

    def texts(self, command, pictures):
        """{"caption": whether each greedy text is another one, ...}"""
        found = {}
        more = ("--question", QUESTION) if command == "ask" else ()
        for beams in (1, 3):
            pairs = self.both(
                command, *pictures, *more, "--beams", beams, "--max-length", LENGTHS[command][1]
            )
            differ = [(g, e) for g, e in pairs if g["token_ids"] != e["token_ids"]]
            found[f"{command}, {beams} beams"] = [
                g["token_ids"] != e["token_ids"] for g, e in pairs
            ]
            print(
                f"{self.label} {command}, {beams} beams: {len(differ)} of {len(pairs)} differ",
                flush=True,
            )
            for got, expected in differ:
                print(
                    f"    {Path(expected['image']).name}: score {got['score']:.3f} instead of "
                    f"{expected['score']:.3f}"
                    f"{self.tie(command, beams, got, expected)}",
                    flush=True,
                )
        return found

    def tie(self, command, beams, got, expected):
        try:
            self.gaps = self.gaps or Gaps(self.checkpoint)
        except ImportError:
            return ""
        image, ids, others = expected["image"], expected["token_ids"], got["token_ids"]
        if beams > 1:
            return self.beams_tie(image, ids, others, beams, command)
        at = next(i for i, pair in enumerate(zip(ids, others)) if pair[0] != pair[1])
        gap, deviation = self.gaps.greedy(image, ids[:at], ids[at], others[at])
        return (
            f"; at token {at + 1} the CPU's logit is {gap:.4f} above the chip's choice "
            f"(deviation of all logits {deviation:.2f})"
        )

    def beams_tie(self, image, ids, others, beams, command):
        prompt = ids[: 4 if command == "caption" else 1]
        finished, choices = self.gaps.beams(image, prompt, others, beams, LENGTHS[command])
        if finished[0][1] != ids:
            return "; the graphs in F32 give another text"
        # (margin, token) of the CPU's text above the best that is left out, and of the chip's below
        # the worst that is kept.
        kept, left_out = [], []
        for at, choice in enumerate(choices, len(prompt) + 1):
            sums = {tuple(text): total for total, text in choice}
            if tuple(ids[:at]) in sums and len(choice) > beams:
                kept.append((sums[tuple(ids[:at])] - choice[beams][0], at))
            if tuple(others[:at]) in sums and sums[tuple(others[:at])] < choice[beams - 1][0]:
                left_out.append((choice[beams - 1][0] - sums[tuple(others[:at])], at))
        scores = [
            total / (len(text) - len(prompt)) for total, text in finished if text in (ids, others)
        ]
        told = "; in F32, in sums of log-probabilities, the chip's text is "
        told += "left out by {:.4f} at token {}".format(*left_out[0]) if left_out else "kept"
        told += ", the CPU's kept by {:.4f} at token {}".format(*min(kept)) if kept else ""
        return told + (
            f"; the CPU's scores {scores[0]:.4f} there, the chip's {scores[1]:.4f}"
            if len(scores) == 2
            else ""
        )


def make_fresh(args):
    """At least that many checkpoints, as many of each task; those that are there already stay."""
    each = -(-args.fresh // len(KINDS))
    if len(list(args.checkpoints.glob(f"*-{args.fresh_seed}.*/shape.json"))) >= each * len(KINDS):
        return
    script = Path(__file__).with_name("checkpoints.py")
    command = [args.python, "-B", script, args.checkpoints, "--seed", args.fresh_seed]
    command += ["--models", each, "--spread"]
    subprocess.run(list(map(str, command)), check=True)


class Summary:
    """What was found of all checkpoints, by type and sharpness: errors, and which texts differ."""

    def __init__(self):
        self.found = {}

    def add(self, dtype, sharpness, found):
        for what, values in found.items():
            self.found.setdefault((dtype, sharpness, what), []).extend(values)

    @staticmethod
    def cell(what, values):
        if what in ("match_probability", "cosine"):
            mean = (sum(error * error for error in values) / len(values)) ** 0.5
            return f"{max(values):.4f} ({mean:.4f})"
        return f"{sum(values)} of {len(values)}"

    def table(self):
        """Markdown: of texts how many are others, of numbers the largest error and the root mean
        square."""
        columns = list(dict.fromkeys(what for *_, what in self.found))
        lines = [" | ".join(["| type", "sharpness", *columns]) + " |"]
        lines.append("|" + "---|" * (2 + len(columns)))
        for dtype, sharpness in dict.fromkeys(key[:2] for key in self.found):
            cells = [self.found.get((dtype, sharpness, what)) for what in columns]
            cells = [self.cell(what, v) if v else "" for what, v in zip(columns, cells)]
            lines.append(" | ".join([f"| {dtype}", str(sharpness), *cells]) + " |")
        return "\n".join(lines)


def sharpness_of(checkpoint):
    """1 for the tests' own checkpoints, which are all as sharp."""
    try:
        shape = json.loads((checkpoint / "shape.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 1
    return shape["sharpness"]


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chip")
    parser.add_argument("types", nargs="*", metavar="TYPE")
    parser.add_argument(
        "--checkpoints", type=Path, default=fixtures.SOURCE / "tests" / "data" / "parity"
    )
    parser.add_argument("--compiled", type=Path, help="folder with CHIP-TYPE/CHECKPOINT")
    parser.add_argument("--toolchain", type=Path, help="compiles what is not in --compiled")
    parser.add_argument("--only", nargs="+", help="checkpoints by name")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7, help="of pictures and texts")
    parser.add_argument("--fresh", type=int, metavar="N", help="make N checkpoints first")
    parser.add_argument("--fresh-seed", type=int, default=501, help="of those")
    parser.add_argument("--python", default=sys.executable, help="with torch and transformers")
    args = parser.parse_args()
    if args.fresh and not (args.compiled and args.toolchain):
        parser.error("--fresh goes with --checkpoints, --compiled and --toolchain")
    return args


def main():
    args = parse()
    if args.fresh:
        make_fresh(args)
    summary = Summary()
    runtime, folders = fixtures.prepare_emulator(args.chip), (
        {} if args.compiled else fixtures.folders(args.chip)
    )
    names = args.only or sorted(
        path.name for path in args.checkpoints.iterdir() if path.name.split("-")[0] in KINDS
    )
    with tempfile.TemporaryDirectory() as temporary:
        rng = random.Random(args.seed)
        pictures = [picture(Path(temporary) / f"{i}.png", rng) for i in range(args.pictures)]
        for dtype in args.types or folders:
            root = folders.get(dtype) or args.compiled / f"{args.chip}-{dtype}"
            for name in names:
                if args.toolchain and not (root / name).is_dir():
                    rng = random.Random(f"calibration {args.seed}")  # others than are compared
                    others = [picture(Path(temporary) / f"c{i}.png", rng) for i in range(8)]
                    build(
                        args.toolchain,
                        args.checkpoints / name,
                        args.chip,
                        dtype,
                        root / name,
                        others,
                    )
                if not (root / name).is_dir():
                    continue
                comparison, kind = (
                    Comparison(
                        runtime, args.checkpoints / name, root / name, f"{args.chip} {dtype} {name}"
                    ),
                    name.split("-")[0],
                )
                if kind == "match":
                    words = [
                        word
                        for word in (args.checkpoints / name / "vocab.txt")
                        .read_text(encoding="utf-8")
                        .split()
                        if word.isalpha()
                    ]
                    words_rng = random.Random(f"texts {args.seed}")
                    found = comparison.numbers(
                        pictures,
                        [
                            " ".join(words_rng.choices(words, k=words_rng.randrange(2, 16)))
                            for _ in range(args.texts)
                        ],
                    )
                else:
                    found = comparison.texts("ask" if kind == "vqa" else "caption", pictures)
                summary.add(dtype, sharpness_of(args.checkpoints / name), found)
    print("\n" + summary.table())


if __name__ == "__main__":
    main()
