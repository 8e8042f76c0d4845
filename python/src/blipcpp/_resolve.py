"""Which model a name stands for."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Union

from ._c import c, encode_path

if TYPE_CHECKING:
    Name = Union[str, "os.PathLike[str]"]
    Progress = Callable[[str, int, int], Any]


def bundled_model() -> str:
    """The path of the small model that comes with the package."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "blip-demo.gguf")
    if os.path.exists(path):
        return path
    from ._errors import IoError

    raise IoError("no model: the bundled one is not at %s; name one, or set BLIP_MODEL" % path)


def here_or_pulled(text: str, progress: "Optional[Progress]") -> str:
    """The path as it is, or the folder of the model of that name, downloaded where the cache lacks
    it.
    """
    if os.path.exists(text) or not c.is_model_name(encode_path(text)):
        return text
    from ._hub import pull

    return pull(text, progress=progress)


def adapter_paths(
    adapter: "Union[None, Name, Sequence[Name]]", progress: "Optional[Progress]" = None
) -> "List[str]":
    """LoRA adapters, of which a caller gives none, one or several."""
    if adapter is None:
        return []
    given = [adapter] if isinstance(adapter, (str, os.PathLike)) else adapter
    return [here_or_pulled(os.fsdecode(one), progress) for one in given]


def resolve(
    name: "Optional[Name]",
    progress: "Optional[Progress]" = None,
    adapters: "Sequence[str]" = (),
) -> str:
    """What the library opens for a name: the path as it is, or the folder of the model of that
    name, downloaded where the cache lacks it, as is the base of an adapter. For None $BLIP_MODEL,
    else the first adapter, whose base is then looked for, else the bundled model. progress: of the
    download.
    """
    if name is None:
        name = os.environ.get("BLIP_MODEL") or (adapters[0] if adapters else bundled_model())
    path = here_or_pulled(os.fsdecode(name), progress)
    if os.path.exists(path):
        from ._errors import made

        text = made(c.adapter_base, encode_path(path))
        try:
            base = ctypes.string_at(text)
        finally:
            c.string_free(text)
        if c.is_model_name(base):
            here_or_pulled(os.fsdecode(base), progress)
    return path
