"""Answers: made by a model or given, and VQA's accuracy by its official formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

from ._errors import DataError
from ._json import Name
from ._predictions import Journal, read_predictions, read_rows, require_all
from ._progress import Progress
from ._run import Failures, File, encoder, find, over, require_folder
from ._sources import Question
from ._words import normalised_answer, prepared_question, trimmed_answer

if TYPE_CHECKING:
    from .._model import Model

_AGREEING = 3  # so many annotators who say the same make an answer right
_DIGITS = 2


class VqaFigures(NamedTuple):
    """Percent, rounded to two digits as the official code rounds them."""

    questions: int
    overall: float
    per_question_type: Dict[str, float]
    per_answer_type: Dict[str, float]
    each: Dict[str, float]  #: of each question, by its id


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """How right an answer is, 0 to 1: for each annotator, whether three of the others said so.

    >>> vqa_accuracy("2", ["two"] * 2 + ["2", "three"] * 4)
    1.0
    >>> round(vqa_accuracy("the bus", ["bus", "bus", "car", "car"]), 3)
    0.5
    """
    said, answers = trimmed_answer(answer), [trimmed_answer(one) for one in given]
    if len(set(answers)) > 1:
        said, answers = normalised_answer(said), [normalised_answer(one) for one in answers]
    same = answers.count(said)
    of_each = [min(1.0, (same - (one == said)) / _AGREEING) for one in answers]
    return sum(of_each) / len(of_each)


def vqa_figures(questions: Sequence[Question], answers: Dict[str, str]) -> VqaFigures:
    accuracies: List[float] = []
    by_question: Dict[str, List[float]] = {}
    by_answer: Dict[str, List[float]] = {}
    each: Dict[str, float] = {}
    for question in questions:
        if not question.answers:
            raise DataError("%s: question %s has no answers" % (question.where, question.id))
        accuracy = vqa_accuracy(answers[question.id], question.answers)
        accuracies.append(accuracy)
        each[question.id] = round(100 * accuracy, _DIGITS)
        for kind, groups in (
            (question.question_type, by_question),
            (question.answer_type, by_answer),
        ):
            if kind is not None:
                groups.setdefault(kind, []).append(accuracy)
    return VqaFigures(
        len(questions),
        _percent(accuracies),
        {kind: _percent(values) for kind, values in sorted(by_question.items())},
        {kind: _percent(values) for kind, values in sorted(by_answer.items())},
        each,
    )


def _percent(values: Sequence[float]) -> float:
    return round(100 * float(sum(values)) / len(values), _DIGITS)


def given_answers(questions: Sequence[Question], path: Name, source: Name) -> Dict[str, str]:
    """Answers out of a file that has them all."""
    answers = _read(read_rows(path), questions, source)
    require_all(answers, _ids(questions), "question", str(path))
    return answers


def _ids(questions: Sequence[Question]) -> Dict[str, str]:
    return {question.id: question.where for question in questions}


def _read(found: Sequence[Any], questions: Sequence[Question], source: Name) -> Dict[str, str]:
    key = lambda row: row.id("question_id")  # noqa: E731
    return read_predictions(found, key, "answer", _ids(questions), "question", source)


def made_answers(
    model: "Model",
    questions: Sequence[Question],
    images: Name,
    journal: Journal,
    source: Name,
    batch_size: int,
    options: Dict[str, Any],
    answers: Optional[Sequence[str]] = None,
    candidates: int = 128,
) -> Dict[str, str]:
    """Answers by a model, but for those that the journal has; generated, or the best of a list."""
    require_folder(images)
    said = _read(journal.found, questions, source)
    groups: Dict[str, List[Question]] = {}
    for question in questions:
        if question.text is None:
            raise DataError(
                "%s: no question is told: give the questions first, and this file with "
                "--annotations" % question.where
            )
        if question.id not in said:
            path = find(images, question.names, question.where)
            groups.setdefault(path, []).append(question)
    files = [File(path, group[0].where) for path, group in groups.items()]
    encode = encoder(model, batch_size)
    failures = Failures()
    with Progress("answers", len(questions), len(said)) as progress:
        for i, encoded in over(model, files, encode, batch_size, failures):
            group = groups[files[i].path]
            texts = [prepared_question(one.text or "") for one in group]
            if answers is None:
                results = [str(one) for one in model.ask(encoded, texts, **options)]
            else:
                results = [
                    str(model.rank(encoded, text, answers, candidates=candidates)) for text in texts
                ]
            for question, result in zip(group, results):
                said[question.id] = result
                journal.add({"question_id": question.id, "answer": result})
                progress.step()
    failures.require_none(len(files))
    return said
