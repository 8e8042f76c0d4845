"""Files of named tensors - safetensors, torch archives, GGUF - read with numpy alone. Values come
out as float32.
"""

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

from .errors import BuildError


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


# ---- safetensors

_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "BOOL": "?",
}


def read_safetensors(path):
    data = np.memmap(path, mode="r", dtype=np.uint8)
    if data.size < 8:
        raise BuildError(f"{path}: {data.size} bytes are no safetensors file")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if length > data.size - 8:
        raise BuildError(f"{path}: truncated: the header should have {length} bytes")
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise BuildError(
                f"{path}: tensor {name} has the type {entry['dtype']}, which BLIP checkpoints do "
                "not have"
            )
        if end > data.size:
            raise BuildError(
                f"{path}: truncated: tensor {name} ends at byte {end}, the file at {data.size}"
            )
        values = data[begin:end].view(_SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = bf16_to_f32(values) if entry["dtype"] == "BF16" else values
    return tensors


# ---- torch archives

_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Opaque:
    """Stands for anything in the archive that is no tensor, such as training settings."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass


class _TorchUnpickler(pickle.Unpickler):
    """Makes tensors, containers and nothing else: no code of the file is run."""

    def __init__(self, archive, root):
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root, self._storages = archive, root, {}

    def find_class(self, module, name):
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module.startswith("torch") and name in _STORAGE_TYPES:
            return name
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return self._rebuild
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        return _Opaque

    def persistent_load(self, pid):
        _, kind, key, _, _ = pid
        if key not in self._storages:
            raw = np.frombuffer(
                self._archive.read(f"{self._root}/data/{key}"), _STORAGE_TYPES[kind]
            )
            self._storages[key] = bf16_to_f32(raw) if kind == "BFloat16Storage" else raw
        return self._storages[key]

    @staticmethod
    def _rebuild(storage, offset, shape, strides, *_):
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        if offset < 0 or (0 not in shape and last >= storage.size):
            raise BuildError(
                f"a tensor of shape {list(shape)} lies outside its storage of {storage.size} "
                "values: a damaged file?"
            )
        return np.lib.stride_tricks.as_strided(
            storage[offset:], shape, [s * storage.itemsize for s in strides]
        )


def read_torch(path):
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise BuildError(f"{path}: a zip file without a data.pkl is no torch archive")
            content = _TorchUnpickler(archive, pickles[0].rsplit("/", 1)[0]).load()
    except (zipfile.BadZipFile, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise BuildError(f"{path}: not a torch archive, or damaged: {error}") from error
    tensors = {}

    def collect(prefix, value):
        if isinstance(value, np.ndarray):
            tensors[prefix] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(f"{prefix}.{key}" if prefix else str(key), inner)

    collect("", content)
    return tensors


# ---- GGUF

_GGUF_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
_GGUF_TYPES = {0: "<f4", 1: "<f2", 28: "<f8", 30: "<u2"}
_GGUF_BF16, _GGUF_Q8_0 = 30, 8
_Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


class _GgufReader:
    def __init__(self, data):
        self._data, self._at = data, 0

    def scalar(self, form):
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def string(self):
        length = self.scalar("<Q")
        self._at += length
        return bytes(self._data[self._at - length : self._at]).decode()

    def value(self, kind):
        if kind == _GGUF_STRING:
            return self.string()
        if kind == _GGUF_ARRAY:
            inner, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(_GGUF_SCALARS[kind])

    def align(self, alignment):
        return -(-self._at // alignment) * alignment


def read_gguf(path):
    """(tensors, metadata)"""
    data = np.memmap(path, mode="r", dtype=np.uint8)
    reader = _GgufReader(data)
    try:
        reader.scalar("<I"), reader.scalar("<I")  # magic and version
        count, pairs = reader.scalar("<Q"), reader.scalar("<Q")
        metadata = {}
        for _ in range(pairs):
            key = reader.string()
            metadata[key] = reader.value(reader.scalar("<I"))
        infos = []
        for _ in range(count):
            name = reader.string()
            shape = [reader.scalar("<Q") for _ in range(reader.scalar("<I"))][::-1]
            infos.append((name, shape, reader.scalar("<I"), reader.scalar("<Q")))
    except (struct.error, KeyError, UnicodeDecodeError, MemoryError) as error:
        raise BuildError(f"{path}: a damaged GGUF file: {error}") from error
    base = reader.align(metadata.get("general.alignment", 32))
    return {
        name: _gguf_tensor(path, data, base + offset, shape, kind)
        for name, shape, kind, offset in infos
    }, metadata


def _gguf_tensor(path, data, begin, shape, kind):
    elements = int(np.prod(shape, dtype=np.int64))
    dtype = _Q8_0 if kind == _GGUF_Q8_0 else np.dtype(_GGUF_TYPES.get(kind, "V"))
    if dtype.itemsize == 0:
        raise BuildError(
            f"{path}: tensor type {kind} is not supported; expected f32, f16, bf16 or q8_0"
        )
    size = elements // (32 if kind == _GGUF_Q8_0 else 1) * dtype.itemsize
    if begin + size > data.size:
        raise BuildError(
            f"{path}: truncated: a tensor ends at byte {begin + size}, the file at {data.size}"
        )
    raw = data[begin : begin + size].view(dtype)
    if kind == _GGUF_Q8_0:
        raw = raw["values"].astype(np.float32) * raw["scale"].astype(np.float32)[:, None]
    elif kind == _GGUF_BF16:
        raw = bf16_to_f32(raw)
    return raw.reshape(shape)


# ---- any of them


def _read_shards(index):
    weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    tensors = {}
    for shard in sorted(set(weights.values())):
        if Path(shard).name != shard:
            raise BuildError(f"{index}: the shard {shard} is not a file beside the index")
        tensors.update(read_any(index.with_name(shard))[0])
    return tensors


def read_any(path):
    """(tensors, metadata); metadata is None but for GGUF. The content decides, not the name."""
    path = Path(path)
    try:
        if path.name.endswith(".index.json"):
            return _read_shards(path), None
        with open(path, "rb") as file:
            magic = file.read(9)
        if magic[:4] == b"GGUF":
            return read_gguf(path)
        if magic[:4] == b"PK\x03\x04":
            return read_torch(path), None
        if magic[8:9] == b"{":
            return read_safetensors(path), None
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror or error}") from error
    raise BuildError(f"{path}: neither safetensors, GGUF nor a torch archive")
