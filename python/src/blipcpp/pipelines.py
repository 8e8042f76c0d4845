"""What transformers' pipelines return, for the tasks of BLIP: one changed import is enough.

>>> import blipcpp
>>> describe = blipcpp.pipeline("image-to-text")
>>> describe("clock.png")
[{'generated_text': 'a clock on a gray background'}]
>>> classify = blipcpp.pipeline("zero-shot-image-classification")
>>> classify("clock.png", candidate_labels=["clock", "dog"], hypothesis_template="a {}")[0]["label"]
'clock'

As there, decoding is greedy unless generate_kwargs say otherwise. Questions begin with [ENC], as in
BLIP's own code.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np

from ._errors import UnsupportedError, UsageError
from ._images import is_many, listed
from ._model import GENERATE_NAMES, Encoded, Model
from ._results import Generation, Text

# The temperature that BLIP's contrastive loss was trained from; checkpoints' own is close to it.
_TEMPERATURE = 0.07
# transformers' generate ends there unless it is told otherwise (GenerationConfig.max_length).
_MAX_LENGTH = 20

_RENAMED = {
    "num_beams": "beams",
    "do_sample": "sample",
    "num_return_sequences": "num",
    "no_repeat_ngram_size": "no_repeat_ngram",
}
# The others have transformers' names. Lists of words are lists of texts here and of ids there.
_KEPT = set(GENERATE_NAMES) - {*_RENAMED.values(), "forbid_words", "force_words"}


def pipeline(task: str, model: "Union[Model, str, None]" = None, **options: Any) -> "Pipeline":
    """A callable for a task: "image-text-to-text", "image-to-text", "visual-question-answering" (or
    "vqa"), "zero-shot-image-classification". model: a Model, or what Model.load takes; options are
    those of Model.load."""
    options.pop("framework", None)
    try:
        kind = _KINDS[task]
    except KeyError:
        raise UsageError("unknown task %r; use %s" % (task, ", ".join(_KINDS))) from None
    return kind(model if isinstance(model, Model) else Model.load(model, **options))


class Pipeline:
    """What the pipelines share."""

    task = ""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __repr__(self) -> str:
        return "<blipcpp pipeline %s of %r>" % (self.task, self.model)

    def _generate_options(
        self, max_new_tokens: Optional[int], generate_kwargs: Optional[Dict[str, Any]], prompt: int
    ) -> Dict[str, Any]:
        """Arguments of Model.caption or ask, for those of generate. prompt tells how many tokens it
        has.
        """
        given = dict(generate_kwargs or {})
        if max_new_tokens is not None:
            if "max_new_tokens" in given:
                raise UsageError("max_new_tokens is given twice, once in generate_kwargs; use one")
            given["max_new_tokens"] = max_new_tokens
        options: Dict[str, Any] = {"beams": 1, "min_length": 0, "max_length": _MAX_LENGTH}
        new = given.pop("max_new_tokens", None)
        fewest = given.pop("min_new_tokens", None)
        for name, value in given.items():
            if name not in _RENAMED and name not in _KEPT:
                known = sorted([*_RENAMED, *_KEPT, "max_new_tokens", "min_new_tokens"])
                raise UnsupportedError(
                    "generate_kwargs: %r is not known; there are %s" % (name, ", ".join(known))
                )
            options[_RENAMED.get(name, name)] = value
        if new is not None:
            options["max_length"] = min(prompt + new, self.model.info.max_length or prompt + new)
        if fewest is not None:
            options["min_length"] = prompt + fewest
        return options

    def _prompt_length(self, prompt: str) -> int:
        """Tokens that a caption with this prompt begins with."""
        return self.model.count_tokens(prompt) + 1

    def _new_text(self, text: Text, prompt: str) -> str:
        """What a text adds to its prompt, with the space between unless it goes on inside the
        prompt's last word.
        """
        length = self._prompt_length(prompt)
        whole, before = (
            self.model.decode(text.token_ids),
            self.model.decode(text.token_ids[:length]),
        )
        return whole[len(before) :] if whole.startswith(before) else whole


class ImageToText(Pipeline):
    """transformers 4's image-to-text."""

    task = "image-to-text"

    def __call__(
        self,
        images: Any = None,
        *,
        max_new_tokens: Optional[int] = None,
        generate_kwargs: Optional[Dict[str, Any]] = None,
        prompt: Optional[str] = None,
        batch_size: int = 8,
        inputs: Any = None,
        timeout: Any = None,
    ) -> Any:
        """[{"generated_text": ...}] for a picture, a list of those for several. With a prompt the
        text begins with it.
        """
        images = inputs if images is None else images
        words = prompt or ""
        pictures: List[Encoded] = self.model.encode(listed(images), batch_size=batch_size)
        options = self._generate_options(
            max_new_tokens, generate_kwargs, self._prompt_length(words)
        )
        num = options.pop("num", 1)
        captions: List[Generation] = self.model.caption(
            pictures, prompt=words, num_captions=num, batch_size=batch_size, **options
        )
        results = [
            [{"generated_text": self.model.decode(text.token_ids)} for text in caption.all]
            for caption in captions
        ]
        return results if is_many(images) else results[0]


class ImageTextToText(Pipeline):
    """transformers 5's image-text-to-text."""

    task = "image-text-to-text"

    def __call__(
        self,
        images: Any = None,
        text: Union[str, Sequence[str], None] = None,
        *,
        max_new_tokens: Optional[int] = None,
        generate_kwargs: Optional[Dict[str, Any]] = None,
        return_full_text: bool = True,
        batch_size: int = 8,
        timeout: Any = None,
    ) -> List[Dict[str, str]]:
        """[{"input_text": ..., "generated_text": ...}]: texts go on from the prompt, which is in
        front of them unless return_full_text is False. Several pictures take as many texts."""
        if images is None or text is None:
            raise UsageError(
                "image-text-to-text needs images and text; text is what captions continue"
            )
        pictures: List[Encoded] = self.model.encode(listed(images), batch_size=batch_size)
        texts = [text] * len(pictures) if isinstance(text, str) else list(text)
        if len(texts) != len(pictures):
            raise UsageError(
                "%d pictures, but %d texts: give one for each" % (len(pictures), len(texts))
            )
        records = []
        for picture, prompt in zip(pictures, texts):
            options = self._generate_options(
                max_new_tokens, generate_kwargs, self._prompt_length(prompt)
            )
            num = options.pop("num", 1)
            caption: Generation = self.model.caption(
                picture, prompt=prompt, num_captions=num, **options
            )
            for new in caption.all:
                generated = self._new_text(new, prompt)
                full = prompt + generated if return_full_text else generated
                records.append({"input_text": prompt, "generated_text": full})
        return records


class VisualQuestionAnswering(Pipeline):
    """transformers 4's visual-question-answering."""

    task = "visual-question-answering"

    def __call__(
        self,
        image: Any = None,
        question: Union[str, Sequence[str], None] = None,
        *,
        max_new_tokens: Optional[int] = None,
        generate_kwargs: Optional[Dict[str, Any]] = None,
        top_k: Optional[int] = None,
        timeout: Any = None,
    ) -> Any:
        """[{"answer": ...}] for a picture and a question; a list of those for several, or for dicts
        with both.
        """
        single = False
        if isinstance(image, dict) or (
            is_many(image) and len(image) and isinstance(image[0], dict)
        ):
            given = [image] if isinstance(image, dict) else list(image)
            single = isinstance(image, dict)
            pairs = [(pair["image"], pair["question"]) for pair in given]
        else:
            if question is None:
                raise UsageError("visual-question-answering needs a question")
            pictures = list(image) if is_many(image) else [image]
            questions = [question] if isinstance(question, str) else list(question)
            single = not is_many(image) and isinstance(question, str)
            if len(pictures) == len(questions):
                pairs = list(zip(pictures, questions))
            elif len(pictures) == 1 or len(questions) == 1:
                pairs = [(picture, words) for picture in pictures for words in questions]
            else:
                raise UsageError("%d pictures, but %d questions" % (len(pictures), len(questions)))
        options = self._generate_options(max_new_tokens, generate_kwargs, 1)
        num = options.pop("num", 1)
        results = []
        for picture, words in pairs:
            answer: Generation = self.model.ask(picture, words, num_answers=num, **options)
            results.append([{"answer": text.text.strip()} for text in answer.all])
        return results[0] if single else results


class ZeroShotImageClassification(Pipeline):
    """transformers' zero-shot-image-classification, by the ITC heads."""

    task = "zero-shot-image-classification"

    def __call__(
        self,
        image: Any = None,
        candidate_labels: Union[Sequence[str], str, None] = None,
        *,
        hypothesis_template: str = "This is a photo of {}.",
        images: Any = None,
        batch_size: int = 8,
        timeout: Any = None,
    ) -> Any:
        """[{"score": ..., "label": ...}] for a picture, best first, scores together 1; a list of
        those for several.
        """
        image = images if image is None else image
        if not candidate_labels:
            raise UsageError("zero-shot-image-classification needs candidate_labels")
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",")]
        labels = list(candidate_labels)
        texts = self.model.embed_text([hypothesis_template.format(label) for label in labels])
        vectors = self.model.embed(image if is_many(image) else [image], batch_size=batch_size)
        results = []
        for vector in vectors:
            logits = (texts @ vector).astype(np.float64) / _TEMPERATURE
            scores = np.exp(logits - logits.max())
            scores /= scores.sum()
            order = np.argsort(-scores, kind="stable")
            results.append([{"score": float(scores[i]), "label": labels[i]} for i in order])
        return results if is_many(image) else results[0]


_KINDS = {
    kind.task: kind
    for kind in (ImageToText, ImageTextToText, VisualQuestionAnswering, ZeroShotImageClassification)
}
_KINDS["vqa"] = VisualQuestionAnswering
