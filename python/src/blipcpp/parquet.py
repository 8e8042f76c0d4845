"""Parquet files: pictures out of them and rows into them, in memory that does not grow with the
file. Needs pyarrow: pip install 'blipcpp[parquet]'.

>>> for name, picture in blipcpp.parquet.images("train.parquet"):         # doctest: +SKIP
...     print(name, model.caption(picture))

`blip caption train.parquet --output captions.parquet` reads and writes by this module.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ._errors import BlipError, IoError, UnsupportedError, UsageError

__all__ = ["images", "write"]

Name = Union[str, "os.PathLike[str]"]
# Fetches the pictures of a batch: of those that are wanted, bytes or why there are none.
Fetch = Callable[[Sequence[bool]], Iterator[Union[Any, "NoPicture"]]]

# Names that are told at once, pictures that are in memory at once, rows that are written at once.
_NAMES, _PICTURES, _ROWS = 1024, 16, 8192
# Of a column of pictures: what is read of the file at once.
_BUFFER = 1 << 20


class NoPicture(str):
    """Why a row has no picture."""


class NoColumnError(UsageError):
    """A file without a column of pictures, or with several."""


class SeveralColumnsError(NoColumnError):
    """Several columns could hold the pictures."""


def _pyarrow() -> Any:
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.parquet")
    except ImportError as problem:
        raise UnsupportedError(
            "Parquet needs the package pyarrow (pip install 'blipcpp[parquet]'): %s" % problem
        ) from None
    return pyarrow


def _is(type_: Any, *kinds: str) -> bool:
    types = _pyarrow().types
    return any(getattr(types, "is_" + kind, lambda _: False)(type_) for kind in kinds)


def _is_bytes(type_: Any) -> bool:
    return _is(type_, "binary", "large_binary", "binary_view")


def _child(type_: Any, name: str) -> Optional[Any]:
    """The type of a struct's field."""
    if not _is(type_, "struct") or type_.get_field_index(name) < 0:
        return None
    return type_.field(type_.get_field_index(name)).type


def _holds_pictures(type_: Any) -> bool:
    """Bytes, or what the `datasets` library makes of pictures: {bytes, path}."""
    child = _child(type_, "bytes")
    return _is_bytes(type_) or (child is not None and _is_bytes(child))


def _column(schema: Any, path: str, column: Optional[str]) -> Any:
    fields = [schema.field(i) for i in range(len(schema.names))]
    fit = [field for field in fields if _holds_pictures(field.type)]
    if column is not None:
        named = [field for field in fields if field.name == column]
        if len(named) == 1 and named[0] in fit:
            return named[0]
        what = "is none of" if not named else "holds no pictures; the columns are"
        if len(named) > 1:
            what = "stands for several of"
        raise NoColumnError("%s: column %r %s %s" % (path, column, what, _shown(fields)))
    if len(fit) == 1:
        return fit[0]
    if fit:
        raise SeveralColumnsError(
            "%s: several columns hold bytes: %s; say which are the pictures (--image-column)"
            % (path, _shown(fit))
        )
    raise NoColumnError(
        "%s: no column holds pictures as bytes or as {bytes, path}; the columns are %s"
        % (path, _shown(fields))
    )


def _shown(fields: Sequence[Any]) -> str:
    if not fields:
        return "none"
    text = ", ".join("%s (%s)" % (field.name, field.type) for field in fields[:20])
    return text + (", ..." if len(fields) > 20 else "")


class Reader:
    """The pictures of a file, by batches."""

    def __init__(self, path: Name, column: Optional[str] = None) -> None:
        pyarrow = _pyarrow()
        self.path = os.fspath(path)
        # Opened here: what pyarrow cannot open it reports in many ways.
        try:
            handle = open(self.path, "rb")
        except OSError as problem:
            raise IoError("cannot open %s: %s" % (self.path, problem.strerror)) from None
        try:
            self._file = pyarrow.parquet.ParquetFile(
                handle, buffer_size=_BUFFER, pre_buffer=False, memory_map=False
            )
            field = _column(self._file.schema_arrow, self.path, column)
        except BlipError:
            handle.close()
            raise
        except Exception as problem:
            handle.close()
            raise self._error(problem) from None
        self._handle = handle
        self._is_struct = not _is_bytes(field.type)
        paths = _child(field.type, "path")
        self._paths = paths is not None and _is(paths, "string", "large_string", "string_view")
        self.column = field.name

    def close(self) -> None:
        self._file.close()
        self._handle.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def batches(self) -> Iterator[Tuple[List[str], Fetch]]:
        """Names of rows - their own paths, or their numbers from 0 on - and what gets their
        pictures, which may be left out: nothing is read then.
        """
        row = 0
        for group in range(self._file.num_row_groups):
            pictures = _Pictures(self._read(group, "bytes", _PICTURES), self.path)
            begin = row
            for names in self._names(group, row):
                yield names, functools.partial(pictures.fetch, row - begin)
                row += len(names)

    def _names(self, group: int, row: int) -> Iterator[List[str]]:
        if not self._paths:
            rows = self._file.metadata.row_group(group).num_rows
            for begin in range(row, row + rows, _NAMES):
                yield [str(i) for i in range(begin, min(begin + _NAMES, row + rows))]
            return
        for array in self._read(group, "path", _NAMES):
            names = array.to_pylist()
            yield [name or str(row + i) for i, name in enumerate(names)]
            row += len(names)

    def _read(self, group: int, child: str, rows: int) -> Iterator[Any]:
        """The column's arrays, of a struct those of one field."""
        name = "%s.%s" % (self.column, child) if self._is_struct else self.column
        try:
            for batch in self._file.iter_batches(rows, [group], [name], use_threads=False):
                array = batch.column(0)
                yield array.flatten()[0] if self._is_struct else array
        except Exception as problem:
            raise self._error(problem) from None

    def _error(self, problem: Exception) -> IoError:
        text = (str(problem).splitlines() or [""])[0] or type(problem).__name__
        return IoError("cannot read %s: %s" % (self.path, text))


class _Pictures:
    """The pictures of a row group, which are read as far as they are asked for."""

    def __init__(self, arrays: Iterator[Any], path: str) -> None:
        self._arrays = arrays
        self._path = path
        self._array: Sequence[Any] = ()
        self._begin = 0  # the row of the group that the array begins with

    def fetch(self, first: int, wanted: Sequence[bool]) -> Iterator[Union[Any, NoPicture]]:
        for row, one in enumerate(wanted, first):
            if one:
                yield self._at(row)

    def _at(self, row: int) -> Union[Any, NoPicture]:
        while row >= self._begin + len(self._array):
            self._begin += len(self._array)
            array = next(self._arrays, None)
            if array is None:
                raise IoError("cannot read %s: a column has fewer rows than it says" % self._path)
            self._array = array
        value = self._array[row - self._begin]
        if not value.is_valid:
            return NoPicture("the row has no picture's bytes")
        return value.as_buffer()


def images(path: Name, column: Optional[str] = None) -> Iterator[Tuple[str, bytes]]:
    """Pairs of a row's name (its path in the column, else its number from 0 on) and the bytes of
    its picture. column: which holds the pictures, as bytes or as {bytes, path}; None: the one that
    does. Rows without a picture are an ImageError's business: they come with no bytes.
    """
    with Reader(path, column) as reader:
        for names, fetch in reader.batches():
            for name, picture in zip(names, fetch([True] * len(names))):
                yield name, b"" if isinstance(picture, NoPicture) else picture.to_pybytes()


class _Column:
    """The type of a column, as far as its values are known."""

    def __init__(self) -> None:
        self.type: Any = _pyarrow().null()
        self.as_json = False  # values of several kinds

    def learn(self, values: List[Any]) -> None:
        pyarrow = _pyarrow()
        if self.as_json:
            return
        try:
            found = pyarrow.array(values).type
            fields = [pyarrow.schema([("", type_)]) for type_ in (self.type, found)]
            self.type = pyarrow.unify_schemas(fields, promote_options="permissive").field(0).type
        except (pyarrow.ArrowException, OverflowError):
            self.as_json = True

    def field(self, name: str) -> Any:
        pyarrow = _pyarrow()
        # A column of nothing has no type of its own, and many readers have none for it.
        plain = self.as_json or _is(self.type, "null")
        return pyarrow.field(name, pyarrow.string() if plain else self.type)

    def array(self, values: List[Any], field: Any) -> Any:
        if self.as_json:
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        return _pyarrow().array(values, type=field.type)


def _chunks(rows: Name) -> Iterator[List[Dict[str, Any]]]:
    chunk: List[Dict[str, Any]] = []
    with open(rows, encoding="utf-8") as file:
        for line in file:
            chunk.append(json.loads(line))
            if len(chunk) == _ROWS:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _write_to(rows: Name, sink: Any) -> None:
    """Converts a file of JSON lines, which is read twice: types are known after the first time."""
    pyarrow = _pyarrow()
    columns: Dict[str, _Column] = {}
    for chunk in _chunks(rows):
        for row in chunk:
            for name in row:
                columns.setdefault(name, _Column())
        for name, column in columns.items():
            column.learn([row.get(name) for row in chunk])
    schema = pyarrow.schema([column.field(name) for name, column in columns.items()])
    with pyarrow.parquet.ParquetWriter(sink, schema) as writer:
        for chunk in _chunks(rows):
            arrays = [
                column.array([row.get(name) for row in chunk], schema.field(name))
                for name, column in columns.items()
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def write(rows: Name, path: Name) -> None:
    """Writes the objects of a file of JSON lines to a Parquet file, which appears whole, under its
    name, or not at all. A column with values of several kinds holds them as JSON.
    """
    partial = "%s.%d.part" % (os.fspath(path), os.getpid())
    try:
        with open(partial, "wb") as file:
            _write_to(rows, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as problem:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(problem, (OSError, ValueError)) and not isinstance(problem, BlipError):
            reason = getattr(problem, "strerror", None) or problem
            raise IoError("cannot write %s: %s" % (os.fspath(path), reason)) from None
        raise


# What the program says to this module and it to the program: lines of JSON, some with bytes behind.


class _Talk:
    def __init__(self) -> None:
        self._in, self._out = sys.stdin.buffer, sys.stdout.buffer

    def say(self, value: Dict[str, Any]) -> None:
        self._out.write(json.dumps(value).encode("ascii") + b"\n")
        self._out.flush()

    def give(self, data: Any) -> None:
        self._out.write(b'{"bytes":%d}\n' % len(data))
        self._out.write(data)
        self._out.flush()

    def choice(self, count: int) -> List[bool]:
        """Which of so many are wanted: a line of 0 and 1."""
        line = self._in.readline()
        if len(line) != count + 1:
            raise BrokenPipeError
        return [digit == ord("1") for digit in line[:count]]


class _Sink:
    """A file to write to whose bytes go to the program."""

    closed = False

    def __init__(self, talk: _Talk) -> None:
        self._talk = talk
        self._at = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if size:
            self._talk.give(bytes(data))
        self._at += size
        return size

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def _say_images(talk: _Talk, path: str, column: Optional[str]) -> None:
    with Reader(path, column) as reader:
        talk.say({"column": reader.column})
        for names, fetch in reader.batches():
            talk.say({"names": names})
            for picture in fetch(talk.choice(len(names))):
                if isinstance(picture, NoPicture):
                    talk.say({"why": str(picture)})
                else:
                    talk.give(memoryview(picture))


def _main(words: List[str]) -> int:
    talk = _Talk()
    try:
        if words[0] == "read":
            _say_images(talk, words[1], words[2] if len(words) > 2 else None)
        else:
            _write_to(words[1], _pyarrow().PythonFile(_Sink(talk), mode="w"))
        talk.say({"end": True})
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except NoColumnError as problem:
        several = isinstance(problem, SeveralColumnsError)
        talk.say({"error": str(problem), "columns": "several" if several else "none"})
    except MemoryError:
        talk.say({"error": "not enough memory"})
    except Exception as problem:
        talk.say({"error": str(problem) or type(problem).__name__})
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
