"""BLIP on your own machine: captions of pictures, how well texts fit them, and answers to questions
about them.

>>> import blipcpp
>>> model = blipcpp.Model.load()             # the small bundled model; or a path, a hub name
>>> print(model.caption("cat-bus.png"))      # a path, bytes, a PIL image or an array
a cat to the left of a bus on a pink background
>>> model.match("cat-bus.png", "a cat").match_probability > 0.5
True
>>> print(model.ask("cat-bus.png", "is there a dog?"))
no

The library's work is done without the GIL; a Model may be used by any number of threads.
blipcpp.aio has the same for asyncio, blipcpp.pipeline what transformers' pipelines return.
"""

from __future__ import annotations

from typing import Any

from ._errors import (
    BlipError,
    BlipWarning,
    CancelledError,
    DeviceError,
    ImageError,
    InternalError,
    IoError,
    ModelError,
    OutOfMemoryError,
    UnsupportedError,
    UsageError,
)
from ._files import convert, devices, inspect, version
from ._hub import CachedModel, KnownModel, known_models, models, pull, remove
from ._images import Image
from ._model import Encoded, Model
from ._results import (
    Attention,
    Device,
    Generation,
    Match,
    ModelInfo,
    NetworkUse,
    Part,
    Text,
    Timings,
    Token,
)

__version__ = version()
__all__ = [
    "Attention", "BlipError", "BlipWarning", "CachedModel", "CancelledError", "Device",
    "DeviceError", "Encoded", "Generation", "Image", "ImageError", "InternalError", "IoError",
    "KnownModel", "Match", "Model", "ModelError", "ModelInfo", "NetworkUse", "OutOfMemoryError",
    "Part", "Text", "Timings", "Token", "UnsupportedError", "UsageError",
    "convert", "devices", "inspect", "known_models", "models", "pipeline", "pull", "remove",
    "version",
]  # fmt: skip


def pipeline(task: str, model: Any = None, **options: Any) -> Any:
    """What transformers.pipeline(task, model) gives, for the tasks of BLIP: see
    blipcpp.pipelines.
    """
    from .pipelines import pipeline as make

    return make(task, model, **options)
