"""Running a model over the pictures of a data set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

from .._many import in_batches
from ._errors import DataError
from ._json import Name

if TYPE_CHECKING:
    from .._model import Model

READERS = 2
_TOLD = 5


class File(NamedTuple):
    path: str
    where: str  # which row names it


class Failures:
    """Pictures that could not be read. The others are done; there are no figures without them."""

    def __init__(self) -> None:
        self.told: List[str] = []

    def add(self, where: str, problem: Exception) -> None:
        self.told.append("%s: %s" % (where, problem))

    def require_none(self, total: int) -> None:
        if not self.told:
            return
        more = len(self.told) - _TOLD
        raise DataError(
            "%d of %d pictures failed, so there are no figures. Mend them or take their rows out, "
            "and start again; what is done is kept in the predictions file:\n%s%s"
            % (
                len(self.told),
                total,
                "\n".join("  " + one for one in self.told[:_TOLD]),
                "\n  and %d more" % more if more > 0 else "",
            )
        )


def find(folder: Name, names: Sequence[str], where: str) -> str:
    """The path of a picture: of the first of its names that is there, else of the first."""
    if not names:
        raise DataError(
            "%s: no file is named: give a file that names the pictures first, and this one with "
            "--references or --annotations" % where
        )
    paths = [os.path.join(folder, name) for name in names]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def require_folder(folder: Name) -> None:
    if not os.path.isdir(folder):
        raise DataError("--images %s is no folder" % (folder,))


def over(
    model: "Model",
    files: Sequence[File],
    task: Callable[[List[Any]], List[Any]],
    batch_size: int,
    failures: Failures,
) -> Iterator[Tuple[int, Any]]:
    """(index, result) of every file whose picture can be read; the next ones are read meanwhile."""
    paths = [file.path for file in files]
    results = in_batches(model, paths, task, batch_size, READERS, None, False)
    for i, result in enumerate(results):
        if isinstance(result, Exception):
            failures.add(files[i].where, result)
        else:
            yield i, result


def encoder(model: "Model", batch_size: int) -> Callable[[List[Any]], List[Any]]:
    """The task of over() that gives encoded pictures."""
    encode: Any = model.encode
    return lambda pictures: encode(pictures, batch_size=batch_size)
