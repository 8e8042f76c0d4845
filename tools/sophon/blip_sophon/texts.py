"""Texts for calibration: BERT's WordPiece, as far as plain English needs it."""

import re

# What captions, match texts and questions look like. Calibration measures ranges, so any usual
# sentences will do.
TEXTS = (
    "a man riding a wave on top of a surfboard",
    "two dogs playing in the snow",
    "a plate of food on a wooden table",
    "a red bus driving down a city street",
    "a woman holding a tennis racket on a court",
    "a cat sitting on a couch",
    "a group of people standing around a kitchen",
    "a black and white photo of a train",
)
QUESTIONS = (
    "what color is the car?",
    "how many people are there?",
    "is it raining?",
    "what is the man holding?",
    "where is the cat?",
    "what is in the background?",
    "is the dog on the left?",
    "what sport is this?",
)


class Tokenizer:
    def __init__(self, vocabulary):
        self._ids = {token: i for i, token in enumerate(vocabulary)}

    def id(self, token):
        return self._ids[token]

    def _word(self, word):
        pieces, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = ("##" if begin else "") + word[begin:end]
                if piece in self._ids:
                    break
            else:
                return [self.id("[UNK]")]
            pieces.append(self._ids[piece])
            begin = end
        return pieces

    def __call__(self, text, first, last="[SEP]", length=512):
        """first, the pieces, last: at most `length` ids"""
        ids = [
            piece for word in re.findall(r"\w+|[^\w\s]", text.lower()) for piece in self._word(word)
        ]
        ends = [self.id(last)] if last else []
        return [self.id(first), *ids[: length - 1 - len(ends)], *ends]
