"""The data sets: annotation files in the forms that are passed around, read into records."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ._errors import DataError
from ._json import Name, Row, read_json, rows, shown, unique


class Picture(NamedTuple):
    id: str
    names: List[str]  # of its file, relative to the folder of images; the first that exists is it
    captions: List[str]
    domain: Optional[str]  # of NoCaps
    where: str


class Question(NamedTuple):
    id: str
    text: Optional[str]
    names: List[str]
    answers: List[str]
    question_type: Optional[str]
    answer_type: Optional[str]
    where: str


def id_of_name(name: str) -> str:
    """A picture's id where nothing but its file's name tells it: the number at the name's end,
    else the name without its ending.

    >>> id_of_name("val2014/COCO_val2014_000000391895.jpg"), id_of_name("a/clock.png")
    ('391895', 'clock')
    """
    stem = os.path.splitext(name.replace("\\", "/").rsplit("/", 1)[-1])[0]
    number = re.search(r"[0-9]+$", stem)
    return str(int(number.group())) if number and len(number.group()) < 20 else stem


# ---- Captions


def read_pictures(
    path: Name,
    split: Optional[str] = None,
    references: Optional[Name] = None,
    *,
    by_name: bool = False,
) -> List[Picture]:
    """Pictures with captions, out of COCO's form ("images" and "annotations": COCO, NoCaps, the
    *_gt.json of BLIP), Karpathy's ("images" with "sentences"; split chooses) or BLIP's list
    ("image" and "caption").

    references: a file of captions for the same pictures; path then says their names.
    by_name: names tell pictures apart, not the ids that are made of them.
    """
    pictures = _pictures(path, split)
    _tell_apart(pictures, by_name)
    if references is None:
        return pictures
    truth = _pictures(references, None)
    _tell_apart(truth, False)
    given = {picture.id: picture for picture in truth}
    there = {picture.id for picture in pictures}
    for picture in pictures:
        if picture.id not in given:
            raise DataError("%s: image %s is not in %s" % (picture.where, picture.id, references))
    for picture in given.values():
        if picture.id not in there:
            raise DataError("%s: image %s is not in %s" % (picture.where, picture.id, path))
    names = {picture.id: picture.names for picture in pictures}
    return [picture._replace(names=names[picture.id]) for picture in given.values()]


def _tell_apart(pictures: List[Picture], by_name: bool) -> None:
    ids = [(p.names[0] if by_name and p.names else p.id, Row({}, p.where)) for p in pictures]
    unique(ids, "image")


def _pictures(path: Name, split: Optional[str]) -> List[Picture]:
    value = read_json(path)
    if isinstance(value, list):
        _no_split(path, split)
        return _of_list(rows(value, path))
    if not isinstance(value, dict) or "images" not in value:
        raise DataError(
            '%s is neither a list of {"image", "caption"} nor an object with "images"; it begins '
            "with %s" % (path, shown(value))
        )
    images = rows(value["images"], path, "images")
    if "sentences" in images[0]:
        return _of_karpathy(images, path, split)
    _no_split(path, split)
    return _of_coco(images, value, path)


def _no_split(path: Name, split: Optional[str]) -> None:
    if split is not None:
        raise DataError('%s tells no splits: only Karpathy\'s files ("sentences") do' % (path,))


def _of_list(found: List[Row]) -> List[Picture]:
    pictures = []
    for row in found:
        name = row.filled("image")
        field = next((f for f in ("image_id", "img_id") if f in row), None)
        id = row.id(field) if field else id_of_name(name)
        captions = row.texts("caption") if "caption" in row else []
        pictures.append(Picture(id, [name], captions, None, row.where))
    return pictures


def _of_karpathy(images: List[Row], path: Name, split: Optional[str]) -> List[Picture]:
    splits = sorted({row.text("split") for row in images if "split" in row})
    if split is None and len(splits) > 1:
        raise DataError("%s has the splits %s: choose one" % (path, ", ".join(splits)))
    chosen = [row for row in images if split is None or row.value.get("split") == split]
    if not chosen:
        raise DataError("%s has no split %s, but %s" % (path, split, ", ".join(splits) or "none"))
    pictures = []
    for row in chosen:
        name = row.filled("filename")
        names = [name]
        if "filepath" in row:
            names.insert(0, row.text("filepath") + "/" + name)
        id = row.id("cocoid") if "cocoid" in row else id_of_name(name)
        captions = [one.filled("raw") for one in rows(row.value["sentences"], row.where)]
        pictures.append(Picture(id, names, captions, None, row.where))
    return pictures


def _of_coco(images: List[Row], value: Dict[str, Any], path: Name) -> List[Picture]:
    captions: Dict[str, List[str]] = {}
    by_id = [(row.id("id"), row) for row in images]
    unique(by_id, "image")
    annotations = rows(value["annotations"], path, "annotations") if "annotations" in value else []
    unique([(row.id("id"), row) for row in annotations if "id" in row], "annotation")
    known = {id for id, _ in by_id}
    for row in annotations:
        id = row.id("image_id")
        if id not in known:
            raise row.error("image %s is not among the images of this file" % id)
        captions.setdefault(id, []).append(row.filled("caption"))
    for id, row in by_id:
        if annotations and id not in captions:
            raise row.error("image %s has no caption to compare with; remove it, or add one" % id)
    return [
        Picture(
            id,
            [row.filled("file_name")] if "file_name" in row else [],
            captions.get(id, []),
            row.text("domain") if "domain" in row else None,
            row.where,
        )
        for id, row in by_id
    ]


# ---- Questions


def read_questions(path: Name, annotations: Optional[Name] = None) -> List[Question]:
    """Questions, out of the files of VQA ("questions"; annotations has the answers), out of an
    annotations file alone (for predictions that are there) or of BLIP's list.
    """
    value = read_json(path)
    if isinstance(value, list):
        questions = [_of_blip(row) for row in rows(value, path)]
    elif isinstance(value, dict) and "questions" in value:
        found = rows(value["questions"], path, "questions")
        folder = value.get("data_subtype")
        questions = [_of_vqa(row, folder if isinstance(folder, str) else None) for row in found]
    elif isinstance(value, dict) and "annotations" in value:
        questions = [_answers(row) for row in rows(value["annotations"], path, "annotations")]
    else:
        raise DataError(
            '%s is neither a list of {"question_id", "question", "image"} nor an object with '
            '"questions" or "annotations"; it begins with %s' % (path, shown(value))
        )
    _unique_questions(questions)
    return questions if annotations is None else _with_answers(questions, path, annotations)


def _unique_questions(questions: List[Question]) -> None:
    unique([(q.id, Row({}, q.where)) for q in questions], "question")


def _of_blip(row: Row) -> Question:
    field = row.first("answer", "answers") if "answer" in row or "answers" in row else None
    return Question(
        row.id("question_id"),
        row.filled("question") if "question" in row else None,
        [row.filled("image")] if "image" in row else [],
        row.texts(field) if field else [],
        row.text("question_type") if "question_type" in row else None,
        row.text("answer_type") if "answer_type" in row else None,
        row.where,
    )


def _of_vqa(row: Row, folder: Optional[str]) -> Question:
    id = row.id("image_id")
    names = [row.filled("image")] if "image" in row else []
    if folder and id.isascii() and id.isdigit():
        name = "COCO_%s_%012d.jpg" % (folder, int(id))
        names += [folder + "/" + name, name]
    return Question(row.id("question_id"), row.filled("question"), names, [], None, None, row.where)


def _answers(row: Row) -> Question:
    value = row.value.get("answers")
    if value and isinstance(value, list) and isinstance(value[0], str):
        answers = row.texts("answers")
    else:
        answers = [one.text("answer") for one in rows(value, row.where, "answers")]
    return Question(
        row.id("question_id"),
        None,
        [],
        answers,
        row.text("question_type") if "question_type" in row else None,
        row.text("answer_type") if "answer_type" in row else None,
        row.where,
    )


def _with_answers(questions: Sequence[Question], path: Name, annotations: Name) -> List[Question]:
    given = {question.id: question for question in read_questions(annotations)}
    complete = []
    for question in questions:
        found = given.pop(question.id, None)
        if found is None or not found.answers:
            raise DataError(
                "%s: question %s has no answers in %s" % (question.where, question.id, annotations)
            )
        complete.append(
            question._replace(
                answers=found.answers,
                question_type=found.question_type,
                answer_type=found.answer_type,
            )
        )
    for spare in given.values():
        raise DataError("%s: question %s is not in %s" % (spare.where, spare.id, path))
    return complete
