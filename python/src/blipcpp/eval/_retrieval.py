"""Retrieval by the protocol of the official evaluation: the `top_k` nearest by cosine are ranked
by the ITM head's logit plus the cosine, images for texts and texts for images.

One pass gives the ITC vectors, a second one the ITM logits of all pairs that either direction asks
for, picture by picture: no more than a few encoded pictures are ever held, and a pair that both
directions ask for is computed once.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .._errors import UnsupportedError
from ._errors import DataError
from ._json import Name, Row
from ._predictions import Journal
from ._progress import Progress
from ._run import Failures, File, encoder, find, over, require_folder
from ._sources import Picture
from ._words import prepared_caption

if TYPE_CHECKING:
    import numpy.typing as npt

    from .._model import Model

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_UNRANKED = -100.0  # what the official code gives to pairs outside the top k
_CUTS = (1, 5, 10)
_TEXTS_AT_ONCE = 256


class Pairs(NamedTuple):
    """Which captions belong to which image."""

    texts: List[str]  #: prepared, in the order of the images
    of_image: List[List[int]]  #: of each image its texts
    of_text: List[int]  #: of each text its image


def pairs_of(pictures: Sequence[Picture]) -> Pairs:
    texts: List[str] = []
    of_image: List[List[int]] = []
    of_text: List[int] = []
    for i, picture in enumerate(pictures):
        if not picture.captions:
            raise DataError("%s: image %s has no captions" % (picture.where, picture.id))
        of_image.append(list(range(len(texts), len(texts) + len(picture.captions))))
        texts += [prepared_caption(caption) for caption in picture.captions]
        of_text += [i] * len(picture.captions)
    return Pairs(texts, of_image, of_text)


# ---- Ranks and recalls


def rank_of(scores: "npt.NDArray[Any]", right: Sequence[int]) -> int:
    """The place, from 0, of the best of the right ones. Ties are as the official code has them."""
    order = np.argsort(scores)[::-1]
    return int(np.flatnonzero(np.isin(order, right))[0])


def recall_figures(text_ranks: Sequence[int], image_ranks: Sequence[int]) -> Dict[str, float]:
    """Percent of images whose text (txt_), and of texts whose image (img_), is among the first 1, 5
    and 10; under the names of the official code.

    >>> recall_figures([0, 4, 5, 20], [0, 0, 9, 1])["txt_r5"]
    50.0
    """
    figures: Dict[str, float] = {}
    for name, ranks in (("txt", text_ranks), ("img", image_ranks)):
        recalls = [100.0 * sum(rank < cut for rank in ranks) / len(ranks) for cut in _CUTS]
        figures.update(("%s_r%d" % (name, cut), recall) for cut, recall in zip(_CUTS, recalls))
        figures["%s_r_mean" % name] = sum(recalls) / len(recalls)
    figures["r_mean"] = (figures["txt_r_mean"] + figures["img_r_mean"]) / 2
    return figures


# ---- The model


class Retrieval:
    """A run: vectors, then logits, both kept in the journal."""

    def __init__(
        self,
        model: "Model",
        pictures: Sequence[Picture],
        images: Name,
        journal: Journal,
        batch_size: int,
        itm_token: str = "enc",
    ) -> None:
        require_folder(images)
        if not (model.info.can_match_itm and model.info.can_match_itc):
            raise UnsupportedError(
                "%s has no ITM and ITC heads, by which retrieval is done: give a checkpoint for it"
                % model.info.path
            )
        self._model, self._journal = model, journal
        self._batch_size, self._itm_token = batch_size, itm_token
        self.pairs = pairs_of(pictures)
        self._files = [File(find(images, one.names, one.where), one.where) for one in pictures]
        size = (len(pictures), model.info.embed_dim)
        self._image_vectors = np.full(size, np.nan, np.float32)
        self._text_vectors = np.full((len(self.pairs.texts), size[1]), np.nan, np.float32)
        # Of each image the texts that it was compared with, in order, and their ITM logits.
        self._logits: "List[Tuple[Ints, Floats]]" = [
            (np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in pictures
        ]
        for row in journal.found:
            self._resume(row)

    def _resume(self, row: Row) -> None:
        kind = row.first("image", "text")
        index = row.value[kind]
        vectors = self._image_vectors if kind == "image" else self._text_vectors
        if type(index) is not int or not 0 <= index < len(vectors):
            raise row.error('"%s" is no index of this data set' % kind)
        try:
            if "vector" in row:
                data = base64.b64decode(row.text("vector"), validate=True)
                vectors[index] = _finite(np.frombuffer(data, "<f4"), vectors.shape[1])
                return
            texts = np.array(row.value["texts"], np.int64)
            if texts.ndim != 1 or np.any((texts < 0) | (texts >= len(self.pairs.texts))):
                raise ValueError("not all texts are of this data set")
            self._add_logits(index, texts, np.array(row.value["itm"], np.float32))
        except (KeyError, OverflowError, TypeError, ValueError) as problem:
            raise row.error("damaged (%s): delete the file to begin anew" % problem) from None

    def _add_logits(self, image: int, texts: "Ints", logits: "Floats") -> None:
        had, values = self._logits[image]
        together = np.concatenate([had, texts])
        unique, places = np.unique(together, return_index=True)
        both = np.concatenate([values, _finite(logits, len(texts))])
        self._logits[image] = unique, both[places]

    def run(self, top_k: int) -> Dict[str, float]:
        """The figures. top_k: so many of the nearest are ranked; all where there are fewer."""
        failures = Failures()
        self._embed_images(failures)
        failures.require_none(len(self._files))
        self._embed_texts()
        by_image = _nearest(self._image_vectors, self._text_vectors, top_k)
        by_text = _nearest(self._text_vectors, self._image_vectors, top_k)
        asked_by = _inverse(by_text, len(by_image))
        asked = [np.union1d(texts, asked_by[i][0]) for i, texts in enumerate(by_image)]
        self._match(asked, failures)
        failures.require_none(len(self._files))
        of_text = np.zeros(by_text.shape, np.float32)
        for image, (texts, slots) in enumerate(asked_by):
            of_text[texts, slots] = self._logits_of(image, texts)
        self._ranked = by_image, by_text, of_text
        return recall_figures(
            [rank_of(self.text_scores(i), right) for i, right in enumerate(self.pairs.of_image)],
            [rank_of(self.image_scores(i), [right]) for i, right in enumerate(self.pairs.of_text)],
        )

    def _embed_images(self, failures: Failures) -> None:
        left = np.flatnonzero(np.isnan(self._image_vectors[:, 0]))
        files = [self._files[i] for i in left]
        embed = lambda batch: list(  # noqa: E731
            self._model.embed(batch, batch_size=self._batch_size)
        )
        total = len(self._files)
        with Progress("images embedded", total, total - len(left)) as progress:
            for i, vector in over(self._model, files, embed, self._batch_size, failures):
                self._image_vectors[left[i]] = vector
                self._keep_vector("image", int(left[i]), vector)
                progress.step()

    def _embed_texts(self) -> None:
        left = np.flatnonzero(np.isnan(self._text_vectors[:, 0]))
        total = len(self.pairs.texts)
        with Progress("texts embedded", total, total - len(left)) as progress:
            for first in range(0, len(left), _TEXTS_AT_ONCE):
                some = left[first : first + _TEXTS_AT_ONCE]
                vectors = self._model.embed_text([self.pairs.texts[i] for i in some])
                for i, vector in zip(some, vectors):
                    self._text_vectors[i] = vector
                    self._keep_vector("text", int(i), vector)
                progress.step(len(some))

    def _keep_vector(self, kind: str, index: int, vector: "Floats") -> None:
        data = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
        self._journal.add({kind: index, "vector": data})

    def _match(self, asked: "List[Ints]", failures: Failures) -> None:
        missing = [np.setdiff1d(texts, self._logits[i][0]) for i, texts in enumerate(asked)]
        left = [image for image, texts in enumerate(missing) if len(texts)]
        files = [self._files[image] for image in left]
        encode = encoder(self._model, self._batch_size)
        total = len(self._files)
        with Progress("images matched", total, total - len(left)) as progress:
            for i, encoded in over(self._model, files, encode, self._batch_size, failures):
                image = left[i]
                texts = missing[image]
                logits = self._itm(encoded, texts)
                self._add_logits(image, texts, np.array(logits, np.float32))
                self._journal.add({"image": image, "texts": texts.tolist(), "itm": logits})
                progress.step()

    def _itm(self, encoded: Any, texts: "Ints") -> List[float]:
        matches = self._model.match(
            encoded,
            [self.pairs.texts[text] for text in texts],
            head="itm",
            itm_token=self._itm_token,
        )
        logits = [match.match_logit for match in matches if match.match_logit is not None]
        if len(logits) != len(matches):
            raise UnsupportedError(
                "%s tells probabilities alone, not the ITM logits that retrieval is ranked by: use "
                "the checkpoint that it was compiled from" % self._model.info.path
            )
        return logits

    def _logits_of(self, image: int, texts: "Ints") -> "Floats":
        known, logits = self._logits[image]
        return logits[np.searchsorted(known, texts)]

    def text_scores(self, image: int) -> "Floats":
        """After run(): of all texts for an image, a row of the official score_matrix_i2t."""
        nearest = self._ranked[0][image]
        scores = np.full(len(self._text_vectors), _UNRANKED, np.float32)
        cosines = self._text_vectors[nearest] @ self._image_vectors[image]
        scores[nearest] = self._logits_of(image, nearest) + cosines
        return scores

    def image_scores(self, text: int) -> "Floats":
        """After run(): of all images for a text, a row of the official score_matrix_t2i."""
        _, by_text, of_text = self._ranked
        scores = np.full(len(self._image_vectors), _UNRANKED, np.float32)
        cosines = self._image_vectors[by_text[text]] @ self._text_vectors[text]
        scores[by_text[text]] = of_text[text] + cosines
        return scores


def _finite(values: "Floats", count: int) -> "Floats":
    if values.shape != (count,) or not np.all(np.isfinite(values)):
        raise ValueError("these are not %d finite numbers" % count)
    return values


def _nearest(vectors: "Floats", others: "Floats", top_k: int) -> "Ints":
    """Of each vector the top_k nearest others, [vectors, top_k], by cosine, best first."""
    count = min(top_k, len(others))
    rows = [np.argsort(-(others @ vector), kind="stable")[:count] for vector in vectors]
    return np.stack(rows).astype(np.int64)


def _inverse(nearest: "Ints", count: int) -> "List[Tuple[Ints, Ints]]":
    """Of each of the others the rows that name it, and where in the row."""
    flat = nearest.ravel()
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(count + 1))
    rows, slots = order // nearest.shape[1], order % nearest.shape[1]
    return [(rows[a:b], slots[a:b]) for a, b in zip(bounds, bounds[1:])]
