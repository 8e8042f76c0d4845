"""Which model a name stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ._c import c, encode_path

if TYPE_CHECKING:
    Name = Union[str, "os.PathLike[str]"]


def bundled_model() -> str:
    """The path of the small model that comes with the package."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "blip-demo.gguf")
    if os.path.exists(path):
        return path
    from ._errors import IoError

    raise IoError("no model: the bundled one is not at %s; name one, or set BLIP_MODEL" % path)


def resolve(
    name: "Optional[Name]", progress: "Optional[Callable[[str, int, int], Any]]" = None
) -> str:
    """What the library opens for a name: $BLIP_MODEL, else the bundled model, for None; else the path as it is, or the
    folder of the model of that name, downloaded where the cache lacks it. progress: of the download."""
    if name is None:
        name = os.environ.get("BLIP_MODEL") or bundled_model()
    text = os.fsdecode(name)
    if os.path.exists(text) or not c.is_model_name(encode_path(text)):
        return text
    from ._hub import pull

    return pull(text, progress=progress)
