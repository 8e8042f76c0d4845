"""Words as the official code prepares them: captions and questions before a model reads them,
answers before they are compared.
"""

from __future__ import annotations

import re
from typing import Dict, List

CAPTION_WORDS = 30  # of retrieval
QUESTION_WORDS = 50
_MARKS = re.compile(r'[.!"()*#:;~]')


def prepared_caption(caption: str) -> str:
    """A caption as retrieval reads it: in lower case, without marks, of 30 words at most.

    >>> prepared_caption('A dog: "big"  one. ')
    'a dog big one'
    """
    text = re.sub(r"\s{2,}", " ", _MARKS.sub(" ", caption.lower()))
    return _shortened(text.rstrip("\n").strip(" "), CAPTION_WORDS)


def prepared_question(question: str) -> str:
    """A question as training and the official evaluation read it.

    >>> prepared_question("What colour is the No. 5 bus? ")
    'what colour is the no 5 bus?'
    """
    return _shortened(_MARKS.sub("", question.lower()).rstrip(" "), QUESTION_WORDS)


def _shortened(text: str, most: int) -> str:
    return " ".join(text.split(" ")[:most])


# ---- Answers. The rules and words are those of VQAEval (github.com/GT-Vision-Lab/VQA), its slips
# included: figures are compared with those that it gave.

_WITH_APOSTROPHES = """ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't
haven't he'd he's how'd how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've
needn't not've o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd
someone'll someone's something'd something'll that's there'd there're there's they'd they'll they're
they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've
who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're
you've couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've
somebody'd've someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll
y'all'd've you'd've""".split()


def _contractions() -> Dict[str, str]:
    """Words that lack one of their apostrophes, and the words."""
    made = {"somebody'd": "somebodyd"}
    for word in _WITH_APOSTROPHES:
        for i, letter in enumerate(word):
            if letter == "'":
                made[word[:i] + word[i + 1 :]] = word
    return made


CONTRACTIONS = _contractions()
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NUMBERS = {"none": "0", **{word: str(i) for i, word in enumerate(_NUMBERS)}}
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"[0-9],[0-9]")
_PERIOD = re.compile(r"\.(?![0-9])")
_PERIODS_REMOVED = 32  # the official code passes re.UNICODE where re.sub expects a count


def _without_punctuation(text: str) -> str:
    out = text
    number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in PUNCTUATION:
        beside_space = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if beside_space or number else " ")
    return _PERIOD.sub("", out, count=_PERIODS_REMOVED)


def trimmed_answer(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def normalised_answer(answer: str) -> str:
    """An answer as the official formula compares it where annotators disagree.

    >>> [normalised_answer(answer) for answer in ("The two dogs.", "dont know", "1,000")]
    ['2 dogs', "don't know", '1000']
    """
    words: List[str] = []
    for word in _without_punctuation(trimmed_answer(answer)).lower().split():
        word = NUMBERS.get(word, word)
        if word not in ARTICLES:
            words.append(CONTRACTIONS.get(word, word))
    return " ".join(words)
