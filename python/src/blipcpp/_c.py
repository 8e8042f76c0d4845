"""blip/c.h for ctypes: the same functions, structs and constants under the same names."""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Dict, Optional, Sequence, Tuple

ABI_VERSION = 0

# Callbacks: see blip/c.h.
progress_callback = ctypes.CFUNCTYPE(c_int32, c_char_p, c_size_t, c_size_t, c_void_p)
cancel_callback = ctypes.CFUNCTYPE(c_int32, c_void_p)
warning_callback = ctypes.CFUNCTYPE(None, c_char_p, c_void_p)
token_callback = ctypes.CFUNCTYPE(c_int32, c_int32, c_char_p, c_void_p)
download_callback = ctypes.CFUNCTYPE(c_int32, c_char_p, c_uint64, c_uint64, c_void_p)


class _Struct(ctypes.Structure):
    """A struct whose numbers are refused where C has no room for them; ctypes alone would cut
    them.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if type(value) is int and getattr(self, name) != value:
            from ._errors import UsageError

            raise UsageError("%s is %d, which is out of range" % (name, value))


def _struct(name: str, *fields: Tuple[str, Any]) -> Any:
    return type(name, (_Struct,), {"_fields_": [("struct_size", c_uint32), *fields]})


image_options = _struct(
    "blip_image_options",
    ("reserved", c_uint32),
    ("max_bytes", c_uint64),
    ("max_pixels", c_uint64),
    ("max_memory", c_uint64),
    ("background", c_char_p),
)
image_info = _struct(
    "blip_image_info",
    ("width", c_int32),
    ("height", c_int32),
    ("reserved", c_uint32),
    ("decode_bytes", c_uint64),
    ("format", c_char_p),
)
part_info = _struct(
    "blip_part_info",
    ("layers", c_int32),
    ("width", c_int32),
    ("heads", c_int32),
    ("mlp", c_int32),
    ("reserved", c_int32),
    ("parameters", c_uint64),
    ("name", c_char_p),
    ("type", c_char_p),
)
model_info = _struct(
    "blip_model_info",
    ("image_size", c_int32),
    ("patch_size", c_int32),
    ("vocab_size", c_int32),
    ("embed_dim", c_int32),
    ("can_caption", c_int32),
    ("can_match_itm", c_int32),
    ("can_match_itc", c_int32),
    ("can_ask", c_int32),
    ("can_rank", c_int32),
    ("can_attend", c_int32),
    ("fixed_length", c_int32),
    ("max_length", c_int32),
    ("text_length", c_int32),
    ("max_text_length", c_int32),
    ("bos_token", c_int32),
    ("eos_token", c_int32),
    ("pad_token", c_int32),
    ("question_token", c_int32),
    ("reserved", c_int32),
    ("parameters", c_uint64),
    ("prompt", c_char_p),
    ("path", c_char_p),
    ("format", c_char_p),
    ("name", c_char_p),
    ("part_count", c_size_t),
    ("parts", POINTER(POINTER(part_info))),
    ("warning_count", c_size_t),
    ("warnings", POINTER(c_char_p)),
    ("adapter_count", c_size_t),
    ("adapters", POINTER(c_char_p)),
    ("can_nlvr", c_int32),
    ("reserved2", c_uint32),
)
engine_options = _struct(
    "blip_engine_options",
    ("dtype", c_int32),
    ("threads", c_int32),
    ("reserved", c_uint32),
    ("device", c_char_p),
    ("bmodels", POINTER(c_char_p)),
    ("bmodel_count", c_size_t),
    ("tokenizer", c_char_p),
    ("progress", progress_callback),
    ("user_data", c_void_p),
    ("adapters", POINTER(c_char_p)),
    ("adapter_count", c_size_t),
)
network_use = _struct(
    "blip_network_use",
    ("cores", c_int32),
    ("device", c_char_p),
    ("name", c_char_p),
    ("inputs", c_char_p),
    ("outputs", c_char_p),
    ("launches", c_uint64),
    ("milliseconds", c_double),
)
session_options = _struct(
    "blip_session_options",
    ("threads", c_int32),
    ("cancel", cancel_callback),
    ("warning", warning_callback),
    ("user_data", c_void_p),
)
text = _struct(
    "blip_text",
    ("score", c_float),
    ("text", c_void_p),  # read with text_bytes
    ("text_bytes", c_size_t),
    ("token_ids", POINTER(c_int32)),
    ("token_count", c_size_t),
)
generate_options = _struct(
    "blip_generate_options",
    ("beams", c_int32),
    ("min_length", c_int32),
    ("max_length", c_int32),
    ("length_penalty", c_float),
    ("repetition_penalty", c_float),
    ("sample", c_int32),
    ("top_p", c_float),
    ("top_k", c_int32),
    ("temperature", c_float),
    ("seed", c_uint64),
    ("num_return", c_int32),
    ("reserved", c_uint32),
    ("forbid_words", POINTER(c_char_p)),
    ("forbid_word_count", c_size_t),
    ("force_words", POINTER(c_char_p)),
    ("force_word_count", c_size_t),
    ("no_repeat_ngram", c_int32),
    ("reserved2", c_uint32),
    ("min_p", c_float),
    ("reserved3", c_uint32),
)
caption_options = _struct(
    "blip_caption_options",
    ("reserved", c_uint32),
    ("prompt", c_char_p),
    ("generate", POINTER(generate_options)),
    ("on_token", token_callback),
    ("user_data", c_void_p),
)
ask_options = _struct(
    "blip_ask_options",
    ("rank_candidates", c_int32),
    ("max_text_length", c_int32),
    ("reserved", c_uint32),
    ("generate", POINTER(generate_options)),
    ("on_token", token_callback),
    ("user_data", c_void_p),
)
match_options = _struct(
    "blip_match_options",
    ("head", c_int32),
    ("max_text_length", c_int32),
    ("reserved", c_uint32),
    ("itm_token", c_int32),
    ("reserved2", c_uint32),
)
nlvr_options = _struct("blip_nlvr_options", ("max_text_length", c_int32))
embed_options = _struct("blip_embed_options", ("max_text_length", c_int32))
attention_options = _struct(
    "blip_attention_options",
    ("layers", c_int32),
    ("max_text_length", c_int32),
    ("reserved", c_uint32),
    ("prompt", c_char_p),
)
device_info = _struct(
    "blip_device_info", ("reserved", c_uint32), ("id", c_char_p), ("description", c_char_p)
)
convert_options = _struct(
    "blip_convert_options",
    ("type", c_int32),
    ("progress", progress_callback),
    ("warning", warning_callback),
    ("user_data", c_void_p),
    ("adapters", POINTER(c_char_p)),
    ("adapter_count", c_size_t),
)
hub_options = _struct(
    "blip_hub_options",
    ("offline", c_int32),
    ("update", c_int32),
    ("retry_ms", c_int32),
    ("cache", c_char_p),
    ("endpoint", c_char_p),
    ("token", c_char_p),
    ("progress", download_callback),
    ("cancel", cancel_callback),
    ("warning", warning_callback),
    ("user_data", c_void_p),
)
cached_model = _struct(
    "blip_cached_model",
    ("reserved", c_uint32),
    ("bytes", c_uint64),
    ("name", c_char_p),
    ("commit", c_char_p),
    ("revision", c_char_p),
    ("path", c_char_p),
)
known_model = _struct(
    "blip_known_model",
    ("reserved", c_uint32),
    ("bytes", c_uint64),
    ("short_name", c_char_p),
    ("source", c_char_p),
    ("task", c_char_p),
    ("licence", c_char_p),
)

_H = c_void_p  # a handle
_OUT = POINTER(c_void_p)  # where a handle or an error goes
_LIST = POINTER(c_void_p)
_TEXTS = POINTER(c_char_p)
_OPTIONS = c_void_p  # of any struct, by ctypes.byref

# name: (result, arguments)
FUNCTIONS: Dict[str, Tuple[Any, Sequence[Any]]] = {
    "abi_version": (c_int32, ()),
    "version": (c_char_p, ()),
    "status_name": (c_char_p, (c_int32,)),
    "error_status": (c_int32, (_H,)),
    "error_message": (c_char_p, (_H,)),
    "error_free": (None, (_H,)),
    "dtype_name": (c_char_p, (c_int32,)),
    "dtype_parse": (c_int32, (c_char_p, POINTER(c_int32), _OUT)),
    "image_from_file": (c_int32, (c_char_p, _OPTIONS, _OUT, _OUT)),
    "image_from_memory": (c_int32, (c_void_p, c_size_t, _OPTIONS, _OUT, _OUT)),
    "image_inspect": (c_int32, (c_void_p, c_size_t, _OPTIONS, POINTER(image_info), _OUT)),
    "image_from_rgb": (c_int32, (c_void_p, c_int32, c_int32, c_size_t, _OUT, _OUT)),
    "image_resized": (c_int32, (_H, c_int32, c_int32, _OUT, _OUT)),
    "image_width": (c_int32, (_H,)),
    "image_height": (c_int32, (_H,)),
    "image_data": (POINTER(c_uint8), (_H,)),
    "image_free": (None, (_H,)),
    "inspect": (c_int32, (c_char_p, _OUT, _OUT)),
    "inspection_info": (POINTER(model_info), (_H,)),
    "inspection_free": (None, (_H,)),
    "engine_load": (c_int32, (c_char_p, _OPTIONS, _OUT, _OUT)),
    "engine_info": (POINTER(model_info), (_H,)),
    "engine_dtype": (c_int32, (_H,)),
    "engine_threads": (c_int32, (_H,)),
    "engine_device": (c_char_p, (_H,)),
    "engine_prepare": (c_int32, (_H, _H, _OUT, _OUT)),
    "engine_count_tokens": (c_int32, (_H, c_char_p, POINTER(c_size_t), _OUT)),
    "engine_decode": (c_int32, (_H, POINTER(c_int32), c_size_t, _OUT, _OUT)),
    "string_free": (None, (c_void_p,)),
    "engine_free": (None, (_H,)),
    "engine_networks": (c_int32, (_H, _OUT, _OUT)),
    "networks_count": (c_size_t, (_H,)),
    "networks_at": (POINTER(network_use), (_H, c_size_t)),
    "networks_free": (None, (_H,)),
    "session_new": (c_int32, (_H, _OPTIONS, _OUT, _OUT)),
    "session_cancel": (None, (_H,)),
    "session_free": (None, (_H,)),
    "session_encode": (c_int32, (_H, _LIST, c_size_t, _LIST, _OUT)),
    "encoded_preprocess_ms": (c_double, (_H,)),
    "encoded_encode_ms": (c_double, (_H,)),
    "encoded_bytes": (c_uint64, (_H,)),
    "encoded_free": (None, (_H,)),
    "generations_count": (c_size_t, (_H,)),
    "generations_texts": (c_size_t, (_H, c_size_t)),
    "generations_at": (POINTER(text), (_H, c_size_t, c_size_t)),
    "generations_decode_ms": (c_double, (_H, c_size_t)),
    "generations_free": (None, (_H,)),
    "session_caption": (c_int32, (_H, _LIST, c_size_t, _OPTIONS, _OUT, _OUT)),
    "session_ask": (c_int32, (_H, _H, _TEXTS, c_size_t, _OPTIONS, _OUT, _OUT)),
    "session_rank": (c_int32, (_H, _H, c_char_p, _TEXTS, c_size_t, _OPTIONS, _OUT, _OUT)),
    "session_match": (c_int32, (_H, _H, _TEXTS, c_size_t, _OPTIONS, _OUT, _OUT)),
    "matches_count": (c_size_t, (_H,)),
    "matches_probabilities": (POINTER(c_float), (_H,)),
    "matches_cosines": (POINTER(c_float), (_H,)),
    "matches_logits": (POINTER(c_float), (_H,)),
    "matches_free": (None, (_H,)),
    "tensor_rank": (c_size_t, (_H,)),
    "tensor_shape": (POINTER(c_int64), (_H,)),
    "tensor_data": (POINTER(c_float), (_H,)),
    "tensor_free": (None, (_H,)),
    "session_nlvr": (c_int32, (_H, _H, _H, _TEXTS, c_size_t, _OPTIONS, _OUT, _OUT)),
    "session_embed_images": (c_int32, (_H, _LIST, c_size_t, _OUT, _OUT)),
    "session_embed_texts": (c_int32, (_H, _TEXTS, c_size_t, _OPTIONS, _OUT, _OUT)),
    "session_features": (c_int32, (_H, c_int32, _H, c_char_p, _OPTIONS, _OUT, _OUT)),
    "session_dump": (c_int32, (_H, c_int32, _H, c_char_p, _OUT, _OUT)),
    "session_attend_caption": (
        c_int32,
        (_H, _H, c_char_p, POINTER(c_int32), c_size_t, _OPTIONS, _OUT, _OUT),
    ),
    "session_attend_answer": (
        c_int32,
        (_H, _H, c_char_p, c_char_p, POINTER(c_int32), c_size_t, _OPTIONS, _OUT, _OUT),
    ),
    "attention_words": (c_size_t, (_H, c_int32)),
    "attention_word": (c_char_p, (_H, c_int32, c_size_t)),
    "attention_weights": (POINTER(c_float), (_H, c_int32)),
    "attention_side": (c_int32, (_H,)),
    "attention_free": (None, (_H,)),
    "devices": (c_int32, (_OUT, _OUT)),
    "device_list_count": (c_size_t, (_H,)),
    "device_list_at": (POINTER(device_info), (_H, c_size_t)),
    "device_list_free": (None, (_H,)),
    "convert": (c_int32, (c_char_p, c_char_p, _OPTIONS, _OUT)),
    "is_model_name": (c_int32, (c_char_p,)),
    "find_model": (c_int32, (c_char_p, _OPTIONS, _OUT, _OUT)),
    "pull": (c_int32, (c_char_p, _OPTIONS, _OUT, _OUT)),
    "adapter_base": (c_int32, (c_char_p, _OUT, _OUT)),
    "wanted_files": (c_int32, (_TEXTS, c_size_t, POINTER(c_uint8), _OUT)),
    "remove_cached": (c_int32, (c_char_p, _OPTIONS, POINTER(c_uint64), _OUT)),
    "cached_models": (c_int32, (_OPTIONS, _OUT, _OUT)),
    "model_list_count": (c_size_t, (_H,)),
    "model_list_at": (POINTER(cached_model), (_H, c_size_t)),
    "model_list_free": (None, (_H,)),
    "known_model_count": (c_size_t, ()),
    "known_model_at": (POINTER(known_model), (c_size_t,)),
}
OPTIONS = {
    "image_options": image_options,
    "engine_options": engine_options,
    "session_options": session_options,
    "generate_options": generate_options,
    "caption_options": caption_options,
    "ask_options": ask_options,
    "match_options": match_options,
    "nlvr_options": nlvr_options,
    "embed_options": embed_options,
    "attention_options": attention_options,
    "convert_options": convert_options,
    "hub_options": hub_options,
}
RECORDS = {
    "image_info": image_info,
    "part_info": part_info,
    "model_info": model_info,
    "network_use": network_use,
    "text": text,
    "device_info": device_info,
    "cached_model": cached_model,
    "known_model": known_model,
}


def _open() -> Tuple[ctypes.CDLL, str]:
    """The library of $BLIPCPP_LIBRARY, else the one in the package, else an installed one."""
    named = os.environ.get("BLIPCPP_LIBRARY")
    bundled = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libblip.so")
    path = named or (bundled if os.path.exists(bundled) else "libblip.so.%d" % ABI_VERSION)
    try:
        library = ctypes.CDLL(path)
        library.blip_abi_version.restype = c_int32
        abi = library.blip_abi_version()
    except (OSError, AttributeError) as problem:
        raise ImportError(
            "blipcpp cannot load libblip from %s: %s. Install the package with pip, or name the "
            "library in "
            "BLIPCPP_LIBRARY" % (path, problem)
        ) from None
    if abi != ABI_VERSION:
        raise ImportError("%s has ABI version %d; blipcpp needs %d" % (path, abi, ABI_VERSION))
    return library, path


library, library_path = _open()
# The same functions, called without giving the GIL away: what only reads or frees is over before
# another thread could take it.
_quick = ctypes.PyDLL(library_path, handle=library._handle)
_LASTING = {"session_free", "engine_free"}  # they wait for threads


def _is_quick(name: str) -> bool:
    _, arguments = FUNCTIONS[name]
    return name not in _LASTING and not (arguments and arguments[-1] is _OUT)


class _Functions:
    """The library's functions without their prefix, declared when they are first used."""

    def __getattr__(self, name: str) -> Any:
        default = name.endswith("_default")
        function = getattr(library, "blip_" + name)
        if default or _is_quick(name):
            function = getattr(_quick, "blip_" + name)
        function.restype, function.argtypes = (
            (None, (_OPTIONS, c_uint32)) if default else FUNCTIONS[name]
        )
        setattr(self, name, function)
        return function


c: Any = _Functions()


def defaults(name: str) -> Any:
    """A struct of options with its defaults."""
    options = OPTIONS[name]()
    getattr(c, name + "_default")(ctypes.byref(options), ctypes.sizeof(options))
    return options


def encode(value: str) -> bytes:
    """A text for C."""
    from ._errors import UsageError

    try:
        data = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("a text is not Unicode: %r (%s)" % (value[:60], error.reason)) from None
    if b"\0" in data:
        raise UsageError("a text holds a zero character: %r" % value[:60])
    return data


def encode_path(value: Any) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        from ._errors import UsageError

        raise UsageError("a path holds a zero character: %r" % (value,))
    return data


def path_list(paths: Sequence[str]) -> "Tuple[Any, int]":
    """As a pair of fields of a struct has it."""
    return (c_char_p * len(paths))(*[encode_path(path) for path in paths]), len(paths)


def texts(values: Sequence[str]) -> Any:
    return (c_char_p * len(values))(*[encode(value) for value in values])


def decode(value: Optional[bytes]) -> str:
    return (value or b"").decode("utf-8", "replace")
