"""Captions: made by a model or given, scored by the public scorers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Sequence

from . import _scorers
from ._errors import DataError
from ._json import Name, Row
from ._predictions import Journal, read_predictions, read_rows, require_all
from ._progress import Progress
from ._run import Failures, File, find, over, require_folder
from ._sources import Picture, id_of_name

if TYPE_CHECKING:
    from .._model import Model


class CaptionFigures(NamedTuple):
    """What the scorers give for all pictures, and of NoCaps for those of each domain."""

    images: int
    figures: Dict[str, float]  #: "Bleu_1" to "Bleu_4", "METEOR", "ROUGE_L", "CIDEr"
    domains: Dict[str, Dict[str, float]]


def _ids(pictures: Sequence[Picture]) -> Dict[str, str]:
    return {picture.id: picture.where for picture in pictures}


def _key(pictures: Sequence[Picture]) -> Any:
    """The id of a row: its own, else that of the picture whose file it names, as the rows of `blip
    caption` do.
    """
    by_name: Dict[str, Optional[str]] = {}
    for picture in pictures:
        for name in picture.names[:1]:
            last = os.path.basename(name)
            by_name[last] = None if last in by_name else picture.id

    def key(row: Row) -> str:
        if row.first("image_id", "image") == "image_id":
            return row.id("image_id")
        name = row.filled("image")
        return by_name.get(os.path.basename(name)) or id_of_name(name)

    return key


def given_captions(pictures: Sequence[Picture], path: Name, source: Name) -> Dict[str, str]:
    """Captions out of a file that has them all."""
    known = _ids(pictures)
    texts = read_predictions(read_rows(path), _key(pictures), "caption", known, "image", source)
    require_all(texts, known, "image", str(path))
    return texts


def made_captions(
    model: "Model",
    pictures: Sequence[Picture],
    images: Name,
    journal: Journal,
    source: Name,
    batch_size: int,
    options: Dict[str, Any],
) -> Dict[str, str]:
    """Captions by a model, but for those that the journal has."""
    require_folder(images)
    known = _ids(pictures)
    texts = read_predictions(journal.found, _key(pictures), "caption", known, "image", source)
    left = [picture for picture in pictures if picture.id not in texts]
    files = [File(find(images, one.names, one.where), one.where) for one in left]
    caption = lambda batch: model.caption(batch, batch_size=batch_size, **options)  # noqa: E731
    failures = Failures()
    with Progress("captions", len(pictures), len(texts)) as progress:
        for i, result in over(model, files, caption, batch_size, failures):
            texts[left[i].id] = str(result)
            journal.add({"image_id": left[i].id, "caption": str(result)})
            progress.step()
    failures.require_none(len(pictures))
    return texts


def caption_figures(
    pictures: Sequence[Picture], texts: Dict[str, str], metrics: Sequence[str] = ()
) -> CaptionFigures:
    for picture in pictures:
        if not picture.captions:
            raise DataError(
                "%s: image %s has no captions to compare with" % (picture.where, picture.id)
            )
    references = _scorers.tokenized([picture.captions for picture in pictures])
    said = [one[0] for one in _scorers.tokenized([[texts[picture.id]] for picture in pictures])]
    domains = sorted({picture.domain for picture in pictures if picture.domain})
    groups = [(references, said)]
    for domain in domains:
        chosen = [i for i, one in enumerate(pictures) if one.domain == domain]
        groups.append(([references[i] for i in chosen], [said[i] for i in chosen]))
    whole, *parts = _scorers.score(groups, metrics)
    return CaptionFigures(len(pictures), whole, dict(zip(domains, parts)))
