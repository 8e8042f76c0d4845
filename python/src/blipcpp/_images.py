"""Pictures: from files, bytes, PIL and arrays to handles."""

from __future__ import annotations

import os
import sys
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, List, Optional, Tuple, Union

import numpy as np

from ._c import c, defaults, encode, encode_path
from ._errors import ImageError, UsageError, made

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Protocol

    class SupportsArray(Protocol):
        """Arrays, and PIL images."""

        @property
        def __array_interface__(self) -> Any: ...

    class SupportsDlpack(Protocol):
        def __dlpack__(self) -> Any: ...
        def __dlpack_device__(self) -> Any: ...

    PathLike = Union[str, "os.PathLike[str]"]
    ImageLike = Union[
        "Image", PathLike, bytes, bytearray, memoryview, SupportsArray, SupportsDlpack
    ]

_DLPACK_CPU = 1


class Image:
    """A decoded picture: 8-bit RGB, EXIF orientation applied. Immutable; may be used by several
    threads.

    Wherever a picture is taken, a path, the bytes of a file, a PIL image or an array will do as
    well.

    >>> import blipcpp
    >>> picture = blipcpp.Image.open("clock.png")
    >>> picture
    <blipcpp.Image 320 x 320>
    >>> picture.to_numpy().shape
    (320, 320, 3)
    """

    __slots__ = ("_handle", "__weakref__")

    def __init__(self, handle: c_void_p) -> None:
        self._handle = handle

    def __del__(self, _free: Any = c.image_free) -> None:
        _free(getattr(self, "_handle", None))

    @classmethod
    def open(
        cls,
        source: "Union[PathLike, bytes, bytearray, memoryview]",
        *,
        max_bytes: Optional[int] = None,
        max_pixels: Optional[int] = None,
        max_memory: Optional[int] = None,
        background: Optional[str] = None,
    ) -> "Image":
        """Reads a picture (`blip formats` lists the kinds; its first frame or page), from a path or
        from the bytes of a file.

        max_bytes, max_pixels and max_memory (bytes that decoding may take; 0 = no limit) refuse
        larger pictures before they are decoded. background is what transparent pixels are laid
        over: "#rrggbb", "#rgb" or one of CSS's sixteen basic names; without it their alpha is
        dropped, as PIL's convert("RGB") does.
        """
        given = {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_memory": max_memory}
        options = defaults("image_options")
        for name, limit in given.items():
            if limit is not None:
                setattr(options, name, limit)
        options.background = None if background is None else encode(background)
        reference = byref(options)
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = np.frombuffer(source, np.uint8)
            return cls(made(c.image_from_memory, data.ctypes.data, data.size, reference))
        return cls(made(c.image_from_file, encode_path(source), reference))

    @classmethod
    def from_array(cls, array: Any) -> "Image":
        """Copies pixels: [height, width, 3] of uint8, or grey ones, [height, width].

        Anything with `__array_interface__`, or with DLPack on the CPU, is taken without a copy in
        between.

        >>> import blipcpp, numpy
        >>> blipcpp.Image.from_array(numpy.zeros((20, 30, 3), numpy.uint8))
        <blipcpp.Image 30 x 20>
        """
        pixels = _rgb(_as_array(array))
        height, width = pixels.shape[:2]
        stride = pixels.strides[0] if height > 1 else 3 * width
        return cls(made(c.image_from_rgb, pixels.ctypes.data, width, height, stride))

    @classmethod
    def of(cls, value: "ImageLike") -> "Image":
        """Whatever is taken for a picture, as an Image."""
        if isinstance(value, Image):
            return value
        if isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview)):
            return cls.open(value)
        pil = sys.modules.get("PIL.Image")
        if pil is not None and isinstance(value, pil.Image):
            return cls.from_array(_pixels_of_pil(value))
        return cls.from_array(value)

    def __reduce__(self) -> Any:
        return Image.from_array, (np.array(self.to_numpy()),)

    @property
    def width(self) -> int:
        return int(c.image_width(self._handle))

    @property
    def height(self) -> int:
        return int(c.image_height(self._handle))

    @property
    def size(self) -> Tuple[int, int]:
        """(width, height), as PIL has it."""
        return self.width, self.height

    def resized(self, width: int, height: int) -> "Image":
        """The picture at another size, by the bicubic filter of Pillow."""
        return Image(made(c.image_resized, self._handle, width, height))

    def to_numpy(self) -> "npt.NDArray[np.uint8]":
        """[height, width, 3], without a copy; read-only."""
        from ._arrays import view

        return view(c.image_data(self._handle), (self.height, self.width, 3), np.uint8, self)

    @property
    def __array_interface__(self) -> Any:
        return self.to_numpy().__array_interface__

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        pixels = self.to_numpy()
        return np.array(pixels, dtype=dtype) if copy else np.asarray(pixels, dtype=dtype)

    def __repr__(self) -> str:
        return "<blipcpp.Image %d x %d>" % self.size


def _pixels_of_pil(picture: Any) -> Any:
    """A PIL image as an array, upright. It decodes only now, so that its faults show here."""
    from PIL import ImageOps

    try:
        return np.asarray((ImageOps.exif_transpose(picture) or picture).convert("RGB"))
    except (ValueError, OSError, SyntaxError) as error:
        raise ImageError("PIL cannot read the picture: %s" % error) from error


def _as_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        device = int(value.__dlpack_device__()[0])
        if device != _DLPACK_CPU:
            raise UsageError(
                "the picture is on a device of DLPack type %d; move it to the CPU first" % device
            )
        if hasattr(np, "from_dlpack"):
            return np.from_dlpack(value)
        return np.asarray(value)
    raise UsageError(
        "no picture: %s; give a path, the bytes of a file, a PIL image or an array [height, width, "
        "3] of uint8" % type(value).__name__
    )


def _rgb(array: Any) -> Any:
    """[H, W, 3] whose rows are packed; strides between rows may be anything positive."""
    if array.dtype != np.uint8:
        raise UsageError("a picture's pixels must be uint8, 0 to 255; got %s" % array.dtype)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        hint = "; move the channels last" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise UsageError(
            "a picture must be [height, width, 3]; got %s%s" % (list(array.shape), hint)
        )
    if min(array.shape) < 1:
        raise UsageError("a picture needs a size of at least 1 x 1; got %s" % list(array.shape))
    if array.strides[1:] != (3, 1) or array.strides[0] < 3 * array.shape[1]:
        array = np.ascontiguousarray(array)
    return array


def is_many(value: Any) -> bool:
    """Several pictures: a list, a tuple or an array [n, height, width, 3]."""
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 4)


def listed(value: Any) -> List[Any]:
    return list(value) if is_many(value) else [value]
