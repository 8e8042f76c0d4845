"""Which model a name stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Union

if TYPE_CHECKING:
    Name = Union[str, "os.PathLike[str]"]


def bundled_model() -> str:
    """The path of the small model that comes with the package."""
    path = Path(__file__).with_name("blip-demo.gguf")
    if path.exists():
        return str(path)
    from ._errors import IoError

    raise IoError("no model: the bundled one is not at %s; name one, or set BLIP_MODEL" % path)


def adapter_list(adapter: "Union[None, Name, Sequence[Name]]") -> "List[str]":
    """LoRA adapters, of which a caller gives none, one or several."""
    if adapter is None:
        return []
    if isinstance(adapter, (str, os.PathLike)):
        return [os.fspath(adapter)]
    return [os.fspath(one) for one in adapter]


def resolve(name: "Optional[Name]", adapters: "Sequence[str]" = ()) -> str:
    """What the library opens for a name: the path as it is. For None $BLIP_MODEL, else the first adapter, whose base
    is then looked for, else the bundled model.

    A name as the Hugging Face hub has it is looked for by the library in that hub's cache.
    """
    if name is None:
        return os.environ.get("BLIP_MODEL") or (adapters[0] if adapters else bundled_model())
    return os.fspath(name)
