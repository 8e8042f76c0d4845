"""The same goldens through the `blip` program: its JSON and the tensors it dumps."""

import json
import os
import subprocess
import tempfile

import numpy as np


class Program:
    def __init__(self, blip, model, images):
        self.blip, self.model, self.images = blip, str(model), images

    def __call__(self, command, *args):
        run = subprocess.run(
            [
                self.blip,
                command,
                *map(str, args),
                "--model",
                self.model,
                "--dtype",
                "f32",
                "--threads",
                "1",
                "--quiet",
            ],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise SystemExit(f"blip {command} {args}: exit {run.returncode}\n{run.stderr}")
        return [json.loads(line) for line in run.stdout.splitlines()] if "--json" in args else []

    def picture(self, name):
        return self.images / name

    def dump(self, stage, image, text=None):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.npy")
            self(
                "dump",
                "--stage",
                stage,
                "--image",
                self.picture(image),
                "--output",
                path,
                *(["--text", text] if text else []),
            )
            return np.load(path)


def decoding(options, count):
    return [
        "--beams",
        options["beams"],
        "--min-length",
        options["min_length"],
        "--max-length",
        options["max_length"],
        "--length-penalty",
        options["length_penalty"],
        "--repetition-penalty",
        options["repetition_penalty"],
        count,
        options["num_return"],
    ]


class Counts(dict):
    def add(self, key):
        self[key] = self.get(key, 0) + 1

    def worst(self, key, value):
        self[key] = max(self.get(key, 0.0), float(value))


def same_texts(found, where, got, want, key, stable):
    """got: the program's object. With several texts it lists them all under the plural key."""
    texts = got.get(key + "s") or [got]
    if not stable:
        return
    found.add("program_texts")
    if [(t["token_ids"], t[key]) for t in texts] != [(t["ids"], t["text"]) for t in want]:
        found["failures"].append(f"program: {where}: {got}, expected {want}")
    else:
        found.worst(
            "max_program_score",
            max(
                abs(t["score"] - w["score"]) / max(1, abs(w["score"])) for t, w in zip(texts, want)
            ),
        )


def compare(blip, root, out, limit=6):
    """Counts as parity_compare gives them. At most `limit` runs of each kind: each starts the
    program anew.
    """
    program, found = Program(blip, root / "model" / out["path"], root / "images"), Counts(
        failures=[]
    )
    tensors = np.fromfile(root / "model" / "golden.f32", dtype="<f4")
    value = lambda e: tensors[e["offset"] : e["offset"] + int(np.prod(e["shape"]))].reshape(
        e["shape"]
    )
    dumps = [("vision", name, None, entry) for name, entry in list(out["vision"].items())[:1]]
    dumps += [("pixels", name, None, entry) for name, entry in out["pixels"].items()][:1]
    dumps += [("text", s["image"], s["text"], s["states"]) for s in out.get("text_states", [])[:2]]
    dumps += [
        ("question", s["image"], s["text"], s["states"]) for s in out.get("question_states", [])[:2]
    ]
    for stage, image, text, entry in dumps:
        got, want = program.dump(stage, image, text), value(entry)
        error = (
            float(np.linalg.norm(got - want) / np.linalg.norm(want))
            if got.shape == want.shape
            else float("inf")
        )
        found.add("program_tensors")
        found.worst("max_program_tensor", error)
        if not error < 1e-4:
            found["failures"].append(f"program: {stage} of {image}: error {error}")
    for case in out.get("captions", [])[:limit]:
        got = program(
            "caption",
            *map(program.picture, case["images"]),
            "--json",
            "--prompt",
            case["prompt"],
            *decoding(case["options"], "--num-captions"),
        )
        for line, want in zip(got, case["results"], strict=True):
            same_texts(
                found,
                f"caption {case['images']} {case['options']}",
                line,
                want,
                "caption",
                case["stable"],
            )
    for case in out.get("answers", [])[:limit]:
        (got,) = program(
            "ask",
            program.picture(case["image"]),
            "--json",
            "--question",
            case["question"],
            *decoding(case["options"], "--num-answers"),
        )
        same_texts(
            found,
            f"ask {case['image']} {case['options']}",
            got,
            case["results"],
            "answer",
            case["stable"],
        )
    for case in out.get("ranks", [])[:limit]:
        file = root / "answers.txt"
        file.write_text("\n".join(case["answers"]) + "\n")
        (got,) = program(
            "ask",
            program.picture(case["image"]),
            "--json",
            "--question",
            case["question"],
            "--answers",
            file,
            "--rank-candidates",
            case["keep"],
        )
        found.add("program_rankings")
        if case["stable"] and [a["answer"] for a in got.get("answers", [got])] != [
            r["answer"] for r in case["ranking"]
        ]:
            found["failures"].append(f"program: rank {case}: {got}")
    for image in {case["image"] for case in out.get("matches", [])}:
        cases = [case for case in out["matches"] if case["image"] == image]
        got = program(
            "match",
            program.picture(image),
            "--json",
            *[a for case in cases for a in ("--text", case["text"])],
        )
        for line, case in zip(got, cases, strict=True):
            found.add("program_matches")
            found.worst(
                "max_program_probability", abs(line["match_probability"] - case["probability"])
            )
            found.worst("max_program_cosine", abs(line["cosine"] - case["cosine"]))
    if not (
        found.get("max_program_probability", 0) < 1e-4 and found.get("max_program_cosine", 0) < 1e-5
    ):
        found["failures"].append("program: probabilities or cosines differ")
    return found
