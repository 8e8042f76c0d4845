"""Figures of a model on a data set: captions (BLEU, METEOR, ROUGE-L, CIDEr), retrieval (recall at
1, 5 and 10) and answers to questions (VQA accuracy), by the public scorers and the official
protocols. The command is `python -m blipcpp.eval`, or `blip eval`; docs/EVALUATION.md shows it.

>>> from blipcpp import eval
>>> eval.vqa_accuracy("The two dogs", ["2 dogs"] * 9 + ["dogs"])
1.0
"""

from __future__ import annotations

from ._captions import CaptionFigures, caption_figures, given_captions, made_captions
from ._errors import DataError
from ._predictions import Journal
from ._retrieval import Retrieval, rank_of, recall_figures
from ._sources import Picture, Question, read_pictures, read_questions
from ._vqa import VqaFigures, given_answers, made_answers, vqa_accuracy, vqa_figures
from ._words import normalised_answer, prepared_caption, prepared_question

__all__ = [
    "CaptionFigures",
    "DataError",
    "Journal",
    "Picture",
    "Question",
    "Retrieval",
    "VqaFigures",
    "caption_figures",
    "given_answers",
    "given_captions",
    "made_answers",
    "made_captions",
    "normalised_answer",
    "prepared_caption",
    "prepared_question",
    "rank_of",
    "read_pictures",
    "read_questions",
    "recall_figures",
    "vqa_accuracy",
    "vqa_figures",
]
