"""One exception type for each error code of the library."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any, Dict, Type

from ._c import c, decode


class BlipError(Exception):
    """Whatever the library refuses; `code` is the error's name, stable across versions.

    >>> import blipcpp
    >>> try:
    ...     blipcpp.Image.open("/nowhere.png")
    ... except blipcpp.BlipError as error:
    ...     print(error.code, "-", error)
    io - cannot open /nowhere.png: No such file or directory
    """

    code = "internal"


class UsageError(BlipError, ValueError):
    """An argument that makes no sense."""

    code = "usage"


class IoError(BlipError, OSError):
    """A file that cannot be opened, read or written."""

    code = "io"


class ImageError(BlipError, ValueError):
    """Bytes that are no picture that can be decoded, or a picture over a limit."""

    code = "image"


class ModelError(BlipError, ValueError):
    """A checkpoint that is damaged, incomplete or of an unknown kind."""

    code = "model"


class UnsupportedError(BlipError, NotImplementedError):
    """The model or the device lacks what was asked for."""

    code = "unsupported"


class DeviceError(BlipError, RuntimeError):
    """A device or its runtime is missing or failed."""

    code = "device"


class CancelledError(BlipError, RuntimeError):
    """A callback or a cancelled task ended the call."""

    code = "cancelled"


class OutOfMemoryError(BlipError, MemoryError):
    """Memory ran out."""

    code = "memory"


class InternalError(BlipError, RuntimeError):
    """A mistake of the library."""

    code = "internal"


class BlipWarning(UserWarning):
    """What the library warns of: a text was truncated, or the like."""


_TYPES: Dict[str, Type[BlipError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        IoError,
        ImageError,
        ModelError,
        UnsupportedError,
        DeviceError,
        CancelledError,
        OutOfMemoryError,
        InternalError,
    )
}


def failure(status: int, error: Any) -> BlipError:
    """The exception for a status and the error object, which is freed."""
    name = decode(c.status_name(status))
    message = decode(c.error_message(error)) or name
    c.error_free(error)
    return _TYPES.get(name, InternalError)(message)


def made(function: Any, *arguments: Any) -> c_void_p:
    """Calls a function whose last two arguments are places for a handle and an error."""
    handle, error = c_void_p(), c_void_p()
    status = function(*arguments, handle, error)
    if status:
        raise failure(status, error)
    return handle


def check(function: Any, *arguments: Any) -> None:
    """A call whose last argument alone is a place, for an error."""
    error = c_void_p()
    status = function(*arguments, error)
    if status:
        raise failure(status, error)
