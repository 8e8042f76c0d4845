"""What the tasks give."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ._arrays import Owner, view
from ._c import c, decode

if TYPE_CHECKING:
    import numpy.typing as npt


class Timings(NamedTuple):
    """Milliseconds for one input; of a batch, its time divided by its inputs. preprocess and encode
    are NaN where the picture had been encoded before."""

    preprocess: float
    encode: float
    decode: float


class Text:
    """A text with its score and its token ids. str() of it is the text."""

    __slots__ = ("text", "score", "token_ids")

    def __init__(self, text: str, score: float, token_ids: "npt.NDArray[np.int32]") -> None:
        self.text = text  #: without the prompt
        #: beams: log-probability per token; ranked: minus the loss; NaN where it is not told
        self.score = score
        self.token_ids = token_ids  #: with the prompt, and the end token where it was generated

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "<%s %r, score %.4f>" % (type(self).__name__, self.text, self.score)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Text):
            return self.text == other.text and bool(np.array_equal(self.token_ids, other.token_ids))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)


class Generation(Text):
    """The best text for an input and, where more were asked for, all of them in `all`, best
    first.
    """

    __slots__ = ("all", "timings")

    def __init__(self, texts: List[Text], timings: Timings) -> None:
        best = texts[0]
        super().__init__(best.text, best.score, best.token_ids)
        self.all = texts
        self.timings = timings

    def __iter__(self) -> Iterator[Text]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)


class Match(NamedTuple):
    """How well a text fits a picture. None: the model lacks the head, or it was not asked for."""

    match_probability: Optional[float]  #: of the ITM head, 0 to 1
    cosine: Optional[float]  #: of the ITC heads, -1 to 1
    match_logit: Optional[float] = None
    """The ITM head's number for "fits" before the softmax; None also where a compiled model gives
    the probability alone."""


class Attention:
    """Where the model looked: for each word of a text its weights over the picture's patches,
    together 1.

    `weights` is [words, side, side] over the picture squashed to a square. For answers
    `question_words` and `question_weights` are the same of the question.
    """

    __slots__ = ("words", "weights", "question_words", "question_weights")

    def __init__(self, handle: ctypes.c_void_p) -> None:
        owner = Owner(handle, c.attention_free)
        self.words, self.weights = _words(owner, 0)
        self.question_words, self.question_weights = _words(owner, 1)

    def __repr__(self) -> str:
        return "<blipcpp.Attention %s, %d x %d>" % (" ".join(self.words), *self.weights.shape[1:])


def _words(owner: Owner, question: int) -> "Tuple[List[str], npt.NDArray[np.float32]]":
    handle = owner.handle
    words = [
        decode(c.attention_word(handle, question, i))
        for i in range(c.attention_words(handle, question))
    ]
    side = c.attention_side(handle)
    return words, view(
        c.attention_weights(handle, question), (len(words), side, side), np.float32, owner
    )


class Token(NamedTuple):
    """A token as it was decided."""

    id: int
    text: str  #: all of the text so far, without the prompt


class Part(NamedTuple):
    """One of the parts of a model."""

    name: str
    layers: int
    width: int
    heads: int
    mlp: int
    parameters: int
    type: str


class ModelInfo(NamedTuple):
    """What a model is and can do; `tasks` are the names of the methods that it has."""

    name: str
    path: str
    format: str
    image_size: int
    patch_size: int
    vocab_size: int
    embed_dim: int
    parameters: int
    can_caption: bool
    can_match_itm: bool
    can_match_itc: bool
    can_ask: bool
    can_rank: bool
    can_attend: bool
    can_nlvr: bool
    baked_length: int
    max_length: int
    text_length: int
    max_text_length: int
    bos_token: int
    eos_token: int
    pad_token: int
    question_token: int
    prompt: str
    parts: Tuple[Part, ...]
    warnings: Tuple[str, ...]
    adapters: Tuple[str, ...]  # LoRA adapters that were merged into it, by name

    @property
    def tasks(self) -> Tuple[str, ...]:
        has = {
            "caption": self.can_caption,
            "match": self.can_match_itm or self.can_match_itc,
            "embed": self.can_match_itc,
            "ask": self.can_ask,
            "rank": self.can_rank,
            "attention": self.can_attend,
            "nlvr": self.can_nlvr,
        }
        return tuple(task for task, there in has.items() if there)


class Device(NamedTuple):
    """Where models run."""

    id: str
    description: str


class NetworkUse(NamedTuple):
    """A network of a compiled model and what it has done since it was loaded."""

    device: str
    name: str
    inputs: str
    outputs: str
    cores: int
    launches: int
    milliseconds: float


def record_of(kind: Any, struct: Any) -> Any:
    """A NamedTuple whose fields are named as those of a struct of C."""
    values = []
    for field in kind._fields:
        value = getattr(struct, field)
        if field.startswith("can_"):
            value = bool(value)
        values.append(decode(value) if isinstance(value, bytes) else value)
    return kind(*values)


def info_of(pointer: Any) -> ModelInfo:
    struct = pointer.contents
    info: ModelInfo = record_of(ModelInfo, struct)
    parts = tuple(record_of(Part, struct.parts[i].contents) for i in range(struct.part_count))
    return info._replace(
        parts=parts,
        warnings=tuple(decode(struct.warnings[i]) for i in range(struct.warning_count)),
        adapters=tuple(decode(struct.adapters[i]) for i in range(struct.adapter_count)),
    )


def generations_of(handle: ctypes.c_void_p, timings: List[Tuple[float, float]]) -> List[Generation]:
    """A blip_generations; token ids look into its memory. timings: preprocess and encode of each
    input.
    """
    owner = Owner(handle, c.generations_free)
    results = []
    for i in range(c.generations_count(handle)):
        texts = []
        for j in range(c.generations_texts(handle, i)):
            record = c.generations_at(handle, i, j).contents
            words = ctypes.string_at(record.text, record.text_bytes).decode("utf-8", "replace")
            ids = view(record.token_ids, (record.token_count,), np.int32, owner)
            texts.append(Text(words, record.score, ids))
        results.append(Generation(texts, Timings(*timings[i], c.generations_decode_ms(handle, i))))
    return results


def matches_of(handle: ctypes.c_void_p) -> List[Match]:
    count = c.matches_count(handle)
    columns = [
        [None if math.isnan(value) else value for value in values(handle)[:count]]
        for values in (c.matches_probabilities, c.matches_cosines, c.matches_logits)
    ]
    c.matches_free(handle)
    return [Match(*row) for row in zip(*columns)]
