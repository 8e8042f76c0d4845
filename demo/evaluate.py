"""The model card's figures: captions, true/false texts and questions on scenes that no training run
has seen.

    python evaluate.py --engine torch --checkpoint run/last.pt
    python evaluate.py --engine blip --blip build/blip --model models/blip-demo.gguf

The first asks demo/model.py (greedy decoding), the second the C++ program (beams 3). Both see the
same pictures.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import subprocess
import tempfile
from dataclasses import dataclass

import scenes
import texts

SIDE = (
    256  # held-out scenes are drawn at this size and squashed to the model's by whoever reads them
)
QUESTIONS_EACH = 3
VALIDATION = 2  # a third seed stream, looked at while training


@dataclass
class Case:
    index: int
    scene: scenes.Scene
    statement: tuple  # (what differs, true text, false text)
    questions: list  # (type, question, answer)

    def picture(self):
        return scenes.render(self.scene, SIDE, SIDE)


def case(index, stream=scenes.HELD_OUT):
    rng = scenes.rng_for(stream, index)
    scene = scenes.draw_scene(rng)
    return Case(
        index, scene, texts.statements(rng, scene), texts.questions(rng, scene, QUESTIONS_EACH)
    )


# --- engines: each answers for a list of cases, in order


class TorchEngine:
    """demo/model.py, in batches."""

    def __init__(self, model, size=50):
        self.model, self.size = model.eval(), size

    def _batches(self, cases):
        import torch

        import batches
        import numpy as np

        for i in range(0, len(cases), self.size):
            part = cases[i : i + self.size]
            yield part, torch.from_numpy(
                np.stack([batches.model_pixels(c.picture()) for c in part])
            )

    def run(self, cases):
        """Per case: (caption, (p true, p false), (cosine true, cosine false), answers)."""
        results = []
        for part, pixels in self._batches(cases):
            captions = self.model.captions(pixels)
            matches = [self.model.matches(pixels, [c.statement[i] for c in part]) for i in (1, 2)]
            answers = [
                self.model.answers(pixels, [c.questions[i][1] for c in part])
                for i in range(QUESTIONS_EACH)
            ]
            results += zip(
                captions,
                zip(matches[0][0], matches[1][0]),
                zip(matches[0][1], matches[1][1]),
                zip(*answers),
            )
        return results


class BlipEngine:
    """The C++ program. Its JSON lines are the only thing read from it."""

    def __init__(self, program, model, jobs=2, beams=3, dtype="auto"):
        self.program, self.model, self.jobs, self.beams, self.dtype = (
            str(program),
            str(model),
            jobs,
            str(beams),
            dtype,
        )

    def _call(self, *arguments):
        done = subprocess.run(
            [
                self.program,
                *map(str, arguments),
                "--model",
                self.model,
                "--dtype",
                self.dtype,
                "--json",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(
                f"{self.program} {arguments[0]} failed ({done.returncode}): {done.stderr.strip()}"
            )
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def _one(self, path, c):
        texts_ = [x for t in c.statement[1:] for x in ("--text", t)]
        asked = [x for _, q, _ in c.questions for x in ("--question", q)]
        matches = {m["text"]: m for m in self._call("match", path, *texts_)}
        answers = {a["question"]: a["answer"] for a in self._call("ask", path, *asked)}
        true, false = (matches[t] for t in c.statement[1:])
        return (
            (true["match_probability"], false["match_probability"]),
            (true["cosine"], false["cosine"]),
            [answers[q] for _, q, _ in c.questions],
        )

    def run(self, cases):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for c in cases:
                paths.append(pathlib.Path(folder, f"{c.index:05d}.png"))
                c.picture().save(paths[-1], compress_level=1)
            captions = []
            for i in range(0, len(paths), 100):
                captions += [
                    r["caption"]
                    for r in self._call("caption", *paths[i : i + 100], "--beams", self.beams)
                ]
            with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
                rest = list(pool.map(self._one, paths, cases))
        return [(caption, *r) for caption, r in zip(captions, rest, strict=True)]


# --- scoring


class Tally(dict):
    """name -> [right, asked], in order of first use."""

    def add(self, name, right):
        entry = self.setdefault(name, [0, 0])
        entry[0] += bool(right)
        entry[1] += 1

    def share(self, name):
        right, asked = self.get(name, (0, 0))
        return right / asked if asked else float("nan")


def score(cases, results):
    tally = Tally()
    for c, (caption, probabilities, cosines, answers) in zip(cases, results):
        n = len(c.scene.things)
        named, ground = texts.parse_caption(caption)
        right = named == texts.named_counts(c.scene)
        for group in (
            f"kinds, {n} thing{'s' * (n > 1)}",
            "kinds, up to 3 things" if n <= 3 else None,
            "kinds, all",
        ):
            if group:
                tally.add(group, right)
        tally.add("background in caption", ground == c.scene.background)
        tally.add("whole caption", " ".join(caption.split()) == texts.caption(c.scene))
        for p, truth in zip(probabilities, (True, False)):
            tally.add(f"match, {c.statement[0]}", (p > 0.5) == truth)
            tally.add("match, all", (p > 0.5) == truth)
        tally.add("cosine ranks true above false", cosines[0] > cosines[1])
        for (kind, _, expected), answer in zip(c.questions, answers):
            tally.add(f"question, {kind}", answer == expected)
            tally.add("question, all", answer == expected)
    return tally


def quick(model, n=100):
    """Three figures on the validation stream, for the training log."""
    cases = [case(i, VALIDATION) for i in range(n)]
    tally = score(cases, TorchEngine(model).run(cases))
    return {
        "kinds<=3": tally.share("kinds, up to 3 things"),
        "kinds 4": tally.share("kinds, 4 things"),
        "whole": tally.share("whole caption"),
        "match": tally.share("match, all"),
        "questions": tally.share("question, all"),
    }


def table(tally):
    lines = ["| on held-out scenes | right | of | share |", "|---|---:|---:|---:|"]
    for name in sorted(tally):
        right, asked = tally[name]
        lines.append(f"| {name} | {right} | {asked} | {100 * right / asked:.1f} % |")
    return "\n".join(lines)


def mistakes(cases, results, limit):
    for c, (caption, probabilities, _, answers) in zip(cases, results):
        if limit and texts.parse_caption(caption)[0] != texts.named_counts(c.scene):
            print(f"scene {c.index}: '{caption}' for '{texts.caption(c.scene)}'")
            limit -= 1
    wrong = collections.Counter()
    for c, (*_, answers) in zip(cases, results):
        wrong.update((k, q, e, a) for (k, q, e), a in zip(c.questions, answers) if a != e)
    for item, n in list(wrong.items())[: limit + 20]:
        print(n, *item, sep=" | ")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--engine", choices=("torch", "blip"), default="torch")
    p.add_argument(
        "--checkpoint",
        type=pathlib.Path,
        default="run/last.pt",
        help="engine torch: train.py's file",
    )
    p.add_argument("--blip", type=pathlib.Path, help="engine blip: the program")
    p.add_argument("--model", type=pathlib.Path, help="engine blip: the model file or folder")
    p.add_argument("--dtype", default="auto", help="engine blip: the program's number type")
    p.add_argument("--scenes", type=int, default=1000)
    p.add_argument("--first", type=int, default=0, help="number of the first one")
    p.add_argument("--jobs", type=int, default=2, help="engine blip: programs at a time")
    p.add_argument("--mistakes", type=int, default=0, help="show so many wrong captions")
    o = p.parse_args()
    if o.engine == "blip" and not (o.blip and o.model):
        p.error("--engine blip needs --blip and --model")
    if o.engine == "torch":
        from export import load

        engine = TorchEngine(load(o.checkpoint))
    else:
        engine = BlipEngine(o.blip, o.model, o.jobs, dtype=o.dtype)
    cases = [case(i) for i in range(o.first, o.first + o.scenes)]
    results = engine.run(cases)
    print(table(score(cases, results)))
    if o.mistakes:
        mistakes(cases, results, o.mistakes)


if __name__ == "__main__":
    main()
