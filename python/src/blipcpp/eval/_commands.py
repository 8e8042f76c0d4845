"""What each command does with its options."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .._errors import UsageError
from . import _captions, _retrieval, _scorers, _vqa
from ._errors import DataError
from ._json import Row, fingerprint, read_json, shown, write_json
from ._predictions import Journal, results_list
from ._sources import read_pictures, read_questions

if TYPE_CHECKING:
    from .._model import Model

_GENERATION = ("beams", "min_length", "max_length", "length_penalty", "repetition_penalty")
_ENOUGH_ANSWERS = 4


def note(message: str) -> None:
    print("blip eval: " + message, file=sys.stderr)


def _load(options: Any) -> "Model":
    from .._model import Model

    return Model.load(
        options.model,
        adapter=options.adapter,
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
    )


def _journal(options: Any, model: "Model", more: Dict[str, Any]) -> Journal:
    """Rows of another model or of other options are no use: the journal refuses them."""
    if options.predictions is None:
        note("without --predictions nothing is kept of a run that is ended")
    settings = {
        "task": options.task,
        "model": os.path.abspath(model.info.path),
        "adapter": options.adapter,
        "dtype": model.dtype,
        **more,
    }
    return Journal(options.predictions, json.loads(json.dumps(settings)))


def _generation(options: Any) -> Dict[str, Any]:
    given = {name: getattr(options, name) for name in _GENERATION}
    return {name: value for name, value in given.items() if value is not None}


def _require_predictions(options: Any) -> str:
    if options.predictions is None:
        raise UsageError(
            "give --images FOLDER, and a model makes the predictions, or --predictions FILE with "
            "them"
        )
    return str(options.predictions)


def _write_results(options: Any, texts: Dict[str, str], key: str, field: str) -> None:
    if options.results is not None:
        write_json(options.results, results_list(texts, key, field))


def _print(options: Any, told: Dict[str, Any], lines: List[str]) -> None:
    print(json.dumps(told, ensure_ascii=False) if options.json else "\n".join(lines))


# ---- caption


def caption(options: Any) -> None:
    metrics = _metrics(options.metrics)
    pictures = read_pictures(options.annotations, options.split, options.references)
    scored = any(picture.captions for picture in pictures)
    if scored:
        _scorers.require()  # before the work, not after it
    if options.images is None:
        path = _require_predictions(options)
        texts = _captions.given_captions(pictures, path, options.annotations)
    else:
        texts = _made_captions(options, pictures)
    _write_results(options, texts, "image_id", "caption")
    if not scored:
        note("%s has no captions to compare with: there are no figures" % options.annotations)
        return
    found = _captions.caption_figures(pictures, texts, metrics)
    told = {"task": "caption", "images": found.images, **found.figures}
    lines = ["%s: %0.3f" % figure for figure in found.figures.items()]
    if found.domains:
        told["domains"] = found.domains
        for domain, figures in found.domains.items():
            lines += ["%s %s: %0.3f" % (domain, *figure) for figure in figures.items()]
    _print(options, told, lines)


def _metrics(given: Optional[str]) -> List[str]:
    metrics = [name.strip().lower() for name in given.split(",")] if given else []
    for name in metrics:
        if name == "spice":
            raise UsageError("SPICE is left out; see `blip eval caption --help`")
        if name not in _scorers.FIGURES:
            raise UsageError("no metric %r; there are %s" % (name, ", ".join(_scorers.FIGURES)))
    return metrics


def _made_captions(options: Any, pictures: Any) -> Dict[str, str]:
    model = _load(options)
    how = _generation(options)
    if options.prompt is not None:
        how["prompt"] = options.prompt
    with _journal(options, model, how) as journal:
        return _captions.made_captions(
            model, pictures, options.images, journal, options.annotations, options.batch, how
        )


# ---- retrieval


def retrieval(options: Any) -> None:
    if options.images is None:
        raise UsageError("retrieval needs the pictures: give --images FOLDER")
    pictures = read_pictures(options.annotations, options.split, by_name=True)
    pairs = _retrieval.pairs_of(pictures)
    model = _load(options)
    settings = {
        "data": fingerprint([[picture.names for picture in pictures], pairs.texts]),
        "itm_token": options.itm_token,
    }
    with _journal(options, model, settings) as journal:
        run = _retrieval.Retrieval(
            model, pictures, options.images, journal, options.batch, options.itm_token
        )
        figures = run.run(options.top_k)
    told = {
        "task": "retrieval",
        "images": len(pictures),
        "texts": len(pairs.texts),
        "top_k": options.top_k,
        "itm_token": options.itm_token,
        **figures,
    }
    _print(options, told, ["%s: %.2f" % figure for figure in figures.items()])


# ---- vqa


def vqa(options: Any) -> None:
    questions = read_questions(options.questions, options.annotations)
    if options.images is None:
        path = _require_predictions(options)
        answers = _vqa.given_answers(questions, path, options.questions)
    else:
        answers = _made_answers(options, questions)
    _write_results(options, answers, "question_id", "answer")
    if not any(question.answers for question in questions):
        note("%s has no answers to compare with: there are no figures" % options.questions)
        return
    few = sum(len(question.answers) < _ENOUGH_ANSWERS for question in questions)
    if few:
        note(
            "%d of %d questions have fewer than %d answers: by the official formula, which asks "
            "for three others that agree, nothing can be wholly right there"
            % (few, len(questions), _ENOUGH_ANSWERS)
        )
    found = _vqa.vqa_figures(questions, answers)
    told = {
        "task": "vqa",
        "questions": found.questions,
        "overall": found.overall,
        "perQuestionType": found.per_question_type,
        "perAnswerType": found.per_answer_type,
    }
    lines = ["overall: %.2f" % found.overall]
    lines += ["%s: %.2f" % item for item in found.per_answer_type.items()]
    lines += ["%s: %.2f" % item for item in found.per_question_type.items()]
    _print(options, told, lines)


def _made_answers(options: Any, questions: Any) -> Dict[str, str]:
    answers = None if options.answers is None else _answer_list(options.answers)
    model = _load(options)
    how = _generation(options)
    settings = dict(how)
    if answers is not None:
        if how:
            raise UsageError(
                "--%s has no effect with --answers" % next(iter(how)).replace("_", "-")
            )
        settings = {"answers": fingerprint(answers), "candidates": options.candidates}
    with _journal(options, model, settings) as journal:
        return _vqa.made_answers(
            model,
            questions,
            options.images,
            journal,
            options.questions,
            options.batch,
            how,
            answers,
            options.candidates,
        )


def _answer_list(path: str) -> List[str]:
    value = read_json(path)
    if not isinstance(value, list) or not value:
        raise DataError("%s is %s, not a list of answers" % (path, shown(value)))
    return [Row({"answer": one}, "%s row %d" % (path, i)).filled("answer")
            for i, one in enumerate(value, 1)]  # fmt: skip
