"""Reading JSON of which nothing is known yet: whatever is not as it should be is an error that
names the file and the row.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import Any, Dict, List, Tuple, Union

from ._errors import DataError

Name = Union[str, "os.PathLike[str]"]


def read_text(path: Name) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as problem:
        raise _no_text(path, problem) from None
    except OSError as problem:
        raise DataError("cannot read %s: %s" % (path, problem.strerror)) from None


def decoded(data: bytes, path: Name) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise _no_text(path, problem) from None


def _no_text(path: Name, problem: UnicodeDecodeError) -> DataError:
    return DataError("%s is no text in UTF-8 (byte %d)" % (path, problem.start))


def parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError("%s: nested too deeply" % where) from None
    except ValueError as problem:
        raise DataError("%s is no JSON: %s" % (where, problem)) from None


def read_json(path: Name) -> Any:
    text = read_text(path)
    if not text.strip():
        raise DataError("%s is empty" % (path,))
    return parsed(text, str(path))


class Row:
    """An object of a file, and where it stands."""

    __slots__ = ("value", "where")

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise DataError("%s is %s, not an object {...}" % (where, shown(value)))
        self.value: Dict[str, Any] = value

    def __contains__(self, field: str) -> bool:
        return self.value.get(field) is not None

    def error(self, message: str) -> DataError:
        return DataError("%s: %s" % (self.where, message))

    def first(self, *fields: str) -> str:
        """Which of the fields it has."""
        for field in fields:
            if field in self:
                return field
        raise self.error("no field %s" % " or ".join('"%s"' % field for field in fields))

    def text(self, field: str) -> str:
        value = self.value.get(field)
        if not isinstance(value, str):
            raise self.error('"%s" is %s, not a text' % (field, shown(value)))
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self.error('"%s" holds half a surrogate pair' % field) from None
        return value

    def filled(self, field: str) -> str:
        text = self.text(field)
        if not text.strip():
            raise self.error('"%s" is blank' % field)
        return text

    def id(self, field: str) -> str:
        """Numbers and the texts of them are the same id."""
        value = self.value.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value:
            return self.text(field)
        raise self.error('"%s" is %s, not an id (a whole number or a text)' % (field, shown(value)))

    def texts(self, field: str, blanks: bool = False) -> List[str]:
        """A text, or a list of one or more; some may be blank where that is allowed, not all."""
        value = self.value.get(field)
        if isinstance(value, str):
            return [self.filled(field)]
        if not isinstance(value, list):
            raise self.error('"%s" is %s, not a list of texts' % (field, shown(value)))
        if not value:
            raise self.error('"%s" is empty: every row needs a text to compare with' % field)
        texts = []
        for i, one in enumerate(value, 1):
            row = Row({field: one}, "%s, %s %d" % (self.where, field, i))
            texts.append(row.text(field) if blanks else row.filled(field))
        if not any(text.strip() for text in texts):
            raise self.error('all of "%s" are blank' % field)
        return texts


def rows(value: Any, path: Name, what: str = "") -> List[Row]:
    """The objects of a list; they are counted from 1."""
    name = "%s%s" % (path, ", " + what if what else "")
    if not isinstance(value, list):
        raise DataError("%s is %s, not a list [...]" % (name, shown(value)))
    if not value:
        raise DataError("%s is empty: there is nothing to evaluate" % name)
    return [Row(one, "%s row %d" % (name, i)) for i, one in enumerate(value, 1)]


def shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def unique(ids: List[Tuple[str, Row]], what: str) -> None:
    """Refuses an id that comes twice."""
    seen: Dict[str, str] = {}
    for id, row in ids:
        if id in seen:
            raise row.error(
                "%s %s is there already, in %s; remove one of them" % (what, id, seen[id])
            )
        seen[id] = row.where


def fingerprint(value: Any) -> str:
    """Tells another value apart without keeping it."""
    return hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()[:16]


def write_json(path: Name, value: Any) -> None:
    """Whole, under its name, or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, temporary = tempfile.mkstemp(prefix=".blip-eval-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(value, file, ensure_ascii=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        raise DataError("cannot write %s: %s" % (path, problem.strerror)) from None
