"""Devices and model files."""

from __future__ import annotations

import warnings
from ctypes import byref
from typing import TYPE_CHECKING, List, Optional, Sequence, Union

from ._c import c, decode, defaults, encode_path, path_list, warning_callback
from ._errors import BlipWarning, check, made
from ._model import _choice, _Progress
from ._resolve import adapter_paths, resolve
from ._results import Device, ModelInfo, info_of, record_of

if TYPE_CHECKING:
    from ._model import Progress
    from ._resolve import Name

FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 2, "q8_0": 3}


def version() -> str:
    """Of the library: "1.2.3"."""
    return decode(c.version())


def devices() -> List[Device]:
    """Where models can run.

    >>> import blipcpp
    >>> blipcpp.devices()[0].id
    'cpu'
    """
    handle = made(c.devices)
    try:
        return [
            record_of(Device, c.device_list_at(handle, i).contents)
            for i in range(c.device_list_count(handle))
        ]
    finally:
        c.device_list_free(handle)


def inspect(name_or_path: "Optional[Name]" = None) -> ModelInfo:
    """What a model file holds, without loading its weights.

    >>> import blipcpp
    >>> info = blipcpp.inspect()
    >>> info.name, info.image_size, [part.name for part in info.parts][:2]
    ('blip-demo', 128, ['vision', 'text_encoder'])
    """
    handle = made(c.inspect, encode_path(resolve(name_or_path)))
    try:
        return info_of(c.inspection_info(handle))
    finally:
        c.inspection_free(handle)


def convert(
    source: "Name",
    destination: "Name",
    type: str = "f16",
    *,
    adapter: "Union[None, Name, Sequence[Name]]" = None,
    progress: "Optional[Progress]" = None,
) -> None:
    """Writes a checkpoint as one GGUF file ("f32", "f16", "bf16", "q8_0"), which appears only when
    it is complete.

    adapter: LoRA adapters to merge into it, as for Model.load.
    """
    options = defaults("convert_options")
    options.type = _choice(type, FILE_TYPES, "type")
    options.adapters, options.adapter_count = path_list(adapter_paths(adapter))
    report = _Progress(progress)
    options.progress = report.callback
    messages: List[str] = []
    options.warning = warning_callback(lambda message, _: messages.append(decode(message)))
    report.call(
        check, c.convert, encode_path(resolve(source)), encode_path(destination), byref(options)
    )
    for message in messages:
        warnings.warn(message, BlipWarning, stacklevel=2)
