"""NumPy arrays over the library's memory."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Tuple

import numpy as np

from ._c import c

if TYPE_CHECKING:
    import numpy.typing as npt


class Owner:
    """A handle that is freed when nothing looks at its memory any more."""

    __slots__ = ("handle", "_free", "__weakref__")

    def __init__(self, handle: ctypes.c_void_p, free: Any) -> None:
        self.handle, self._free = handle, free

    def __del__(self) -> None:
        self._free(self.handle)


class _Memory:
    """What NumPy asks for an array: the owner of the memory stays alive as long as the array."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, interface: Any, owner: Any) -> None:
        self.__array_interface__, self.owner = interface, owner


def view(pointer: Any, shape: Tuple[int, ...], dtype: Any, owner: Any) -> "npt.NDArray[Any]":
    """A read-only array over what a pointer of C points to, which `owner` keeps alive."""
    if not pointer or 0 in shape:
        return np.zeros(shape, dtype)
    address = ctypes.cast(pointer, ctypes.c_void_p).value
    interface = {
        "data": (address, True),
        "shape": shape,
        "typestr": np.dtype(dtype).str,
        "version": 3,
    }
    return np.asarray(_Memory(interface, owner))


def tensor(handle: ctypes.c_void_p) -> "npt.NDArray[np.float32]":
    """A blip_tensor, which the array owns."""
    owner = Owner(handle, c.tensor_free)
    shape = tuple(c.tensor_shape(handle)[: c.tensor_rank(handle)])
    return view(c.tensor_data(handle), shape, np.float32, owner)
