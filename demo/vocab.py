"""The demo's own WordPiece vocabulary (BERT's file layout, BLIP's two extra tokens last) and a
small tokenizer for it.
"""

import re
import string

import texts

PAD, UNK, CLS, SEP, MASK = range(5)


def build():
    """The lines of vocab.txt: specials, single characters (so that any English word can be
    spelled), words, [DEC], [ENC].
    """
    marks = string.punctuation
    letters = string.ascii_lowercase + string.digits
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *marks,
        *letters,
        *("##" + c for c in letters),
    ]
    tokens += [w for w in texts.vocabulary_words() if w not in tokens]
    return tokens + ["[DEC]", "[ENC]"]


TOKENS = build()
IDS = {t: i for i, t in enumerate(TOKENS)}
DEC, ENC = IDS["[DEC]"], IDS["[ENC]"]


def _word(word):
    """Greedy longest-match WordPiece."""
    ids, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in IDS:
                ids.append(IDS[piece])
                start = end
                break
        else:
            return [UNK]
    return ids


def encode(text):
    """Ids of the text alone: no [CLS], no [SEP]."""
    return [i for word in re.findall(r"\w+|[^\w\s]", text.lower()) for i in _word(word)]


def decode(ids):
    """Text of the ids up to [SEP], spaced as BERT tokenizers do."""
    out = []
    for i in ids:
        if i == SEP:
            break
        if i >= 5 and i not in (DEC, ENC):
            out.append(TOKENS[i])
    text = " ".join(out).replace(" ##", "")
    return re.sub(r" ([,.?!'])", r"\1", text)
