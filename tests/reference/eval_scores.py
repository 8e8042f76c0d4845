"""Figures of the public scorers for the sample in tests/data/python/eval: those of pycocoevalcap
(all but SPICE) for captions, and of VQAEval for answers.

usage: eval_scores.py VQA    (a copy of github.com/GT-Vision-Lab/VQA)
Needs pycocoevalcap and Java. Writes tests/data/python/eval/scores.json.
"""

import contextlib
import io
import json
import pathlib
import re
import sys

from pycocoevalcap import eval as coco_eval
from pycocotools.coco import COCO

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "python" / "eval"


class NoSpice:
    """Stands where SPICE is, which fetches a parser; its figure is dropped."""

    def method(self):
        return "SPICE"

    def compute_score(self, gts, res):
        return 0.0, [0.0] * len(gts)


def caption_scores(images=None):
    coco_eval.Spice = NoSpice
    coco = COCO(str(DATA / "captions_gt.json"))
    scores = coco_eval.COCOEvalCap(coco, coco.loadRes(str(DATA / "captions.json")))
    if images is not None:
        scores.params["image_id"] = images
    scores.evaluate()
    return {name: float(value) for name, value in scores.eval.items() if name != "SPICE"}


def captions():
    domains = {}
    for image in json.loads((DATA / "captions_gt.json").read_text())["images"]:
        domains.setdefault(image["domain"], []).append(image["id"])
    return {
        **caption_scores(),
        "domains": {domain: caption_scores(ids) for domain, ids in sorted(domains.items())},
    }


def official_module(path):
    """The names of a module of the official code, which is written for Python 2."""
    source = path.read_text().expandtabs()
    source = re.sub(r"^(\s*)print (.*)$", r"\1print(\2)", source, flags=re.MULTILINE)
    names = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), names)
    return names


def answers(official):
    vqa = official_module(official / "PythonHelperTools/vqaTools/vqa.py")
    judge = official_module(official / "PythonEvaluationTools/vqaEvaluation/vqaEval.py")
    truth = vqa["VQA"](str(DATA / "vqa_annotations.json"), str(DATA / "vqa_questions.json"))
    said = truth.loadRes(str(DATA / "vqa_results.json"), str(DATA / "vqa_questions.json"))
    run = judge["VQAEval"](truth, said, n=2)
    run.evaluate()
    # What each contraction becomes; words in capitals are never looked up.
    words = {word: run.processDigitArticle(word) for word in run.contractions if word.islower()}
    return {
        "overall": run.accuracy["overall"],
        "perQuestionType": run.accuracy["perQuestionType"],
        "perAnswerType": run.accuracy["perAnswerType"],
        "each": {str(id): value for id, value in run.evalQA.items()},
        "words": dict(sorted(words.items())),
    }


def main():
    with contextlib.redirect_stdout(io.StringIO()):
        scores = {"captions": captions(), "vqa": answers(pathlib.Path(sys.argv[1]))}
    text = json.dumps(scores, indent=1, sort_keys=True)
    (DATA / "scores.json").write_text(text + "\n")


main()
