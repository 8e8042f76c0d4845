"""Which model a name stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

if TYPE_CHECKING:
    Name = Union[str, "os.PathLike[str]"]


def bundled_model() -> str:
    """The path of the small model that comes with the package."""
    path = Path(__file__).with_name("blip-demo.gguf")
    if path.exists():
        return str(path)
    from ._errors import IoError

    raise IoError("no model: the bundled one is not at %s; name one, or set BLIP_MODEL" % path)


def resolve(name: "Optional[Name]") -> str:
    """What the library opens for a name: $BLIP_MODEL, else the bundled model, for None; else the path as it is.

    A name as the Hugging Face hub has it is looked for by the library in that hub's cache.
    """
    if name is None:
        return os.environ.get("BLIP_MODEL") or bundled_model()
    return os.fspath(name)
