"""What a model said: files of predictions, and the one that a run goes on with."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from ._errors import DataError
from ._json import Name, Row, decoded, parsed, read_json, read_text, rows, shown, write_json

try:
    import fcntl
except ImportError:  # not on this system: then nobody looks after two runs on one file
    fcntl = None  # type: ignore[assignment]


def read_rows(path: Name) -> List[Row]:
    """The rows of a .json file (a list) or a .jsonl file (one in a line)."""
    if not str(path).endswith((".jsonl", ".ndjson")):
        return rows(read_json(path), path)
    return list(_lines(read_text(path), path))


def _lines(text: str, path: Name) -> Iterable[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = "%s line %d" % (path, number)
            yield Row(parsed(line, where), where)


def read_predictions(
    found: Sequence[Row],
    key: Callable[[Row], str],
    field: str,
    known: "Dict[str, str]",
    what: str,
    source: Name,
) -> Dict[str, str]:
    """Texts by id. known: the ids that there are, and where; what they are of ("image"), and the
    file that tells them.
    """
    seen: Dict[str, str] = {}
    texts: Dict[str, str] = {}
    for row in found:
        id = key(row)
        if id not in known:
            raise row.error(
                "%s %s is unknown: %s has none of this id; remove the row, or give the annotations "
                "that it belongs to" % (what, id, source)
            )
        if id in seen:
            raise row.error(
                "%s %s has a prediction already, in %s; remove one of them" % (what, id, seen[id])
            )
        seen[id] = row.where
        texts[id] = row.text(field)
    return texts


def require_all(texts: Dict[str, str], known: Dict[str, str], what: str, file: str) -> None:
    missing = [id for id in known if id not in texts]
    if missing:
        raise DataError(
            "%s has no prediction for %d of %d %ss, the first of them %s (%s): add them, or give "
            "--images FOLDER, and the model makes them"
            % (file, len(missing), len(known), what, missing[0], known[missing[0]])
        )


class Journal:
    """A .jsonl file that rows are added to as they are made, and that a run which was ended goes on
    with. Beside it lies NAME.settings.json, which says what the rows were made with. Without a path
    the rows are kept in memory alone.
    """

    def __init__(self, path: Optional[Name], settings: Dict[str, Any]) -> None:
        self.path = None if path is None else os.fspath(path)
        self._file: Optional[Any] = None
        self.found: List[Row] = []
        if self.path is None:
            return
        if not self.path.endswith((".jsonl", ".ndjson")):
            raise DataError(
                "%s: predictions that a model makes go into a .jsonl file, which a run that was "
                "ended goes on with" % self.path
            )
        try:
            self._file = open(self.path, "a+b")
        except OSError as problem:
            raise DataError("cannot write %s: %s" % (self.path, problem.strerror)) from None
        try:
            self._lock()
            self._read(settings)
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        if fcntl is None or self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError("%s is in use: another run writes it" % self.path) from None

    def _read(self, settings: Dict[str, Any]) -> None:
        assert self._file is not None and self.path is not None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        beside = self.path + ".settings.json"
        if data and not os.path.exists(beside):
            raise DataError(
                "%s was not made by this command, so it is not added to (%s is missing): give "
                "another name, or leave --images out to evaluate it as it is" % (self.path, beside)
            )
        if data:
            self._compare(settings, beside)
        else:
            write_json(beside, settings)
        self.found = list(_lines(decoded(data[:whole], self.path), self.path))
        # A row whose writing was cut short is made again.
        self._file.truncate(whole)

    def _compare(self, settings: Dict[str, Any], beside: str) -> None:
        begun = Row(read_json(beside), beside).value
        for name in sorted({*settings, *begun}):
            if settings.get(name) != begun.get(name):
                raise DataError(
                    "%s was begun with %s %s, not %s: give these, or another file"
                    % (self.path, name, shown(begun.get(name)), shown(settings.get(name)))
                )

    def add(self, row: Dict[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(row, ensure_ascii=False) + "\n"
        try:
            self._file.write(line.encode("utf-8"))
            self._file.flush()
        except OSError as problem:
            raise DataError(
                "cannot write %s: %s; the same command goes on from here"
                % (self.path, problem.strerror)
            ) from None

    def close(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            pass  # told where it was written
        try:
            file.close()
        except OSError:
            pass

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *ignored: Any) -> None:
        self.close()


def is_number(id: str) -> bool:
    return id.isascii() and id.isdigit() and id == str(int(id))


def results_list(texts: Dict[str, str], key: str, field: str) -> List[Dict[str, Any]]:
    """As the servers of COCO, NoCaps and VQA take them."""
    return [{key: int(id) if is_number(id) else id, field: text} for id, text in texts.items()]
