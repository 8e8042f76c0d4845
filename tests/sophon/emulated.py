"""Runs compiled networks on an emulated chip through ctypes: what tests and checks in Python need
of the vendor's runtime.

A process emulates one chip: the one whose libraries lie in the folder.
"""

import ctypes as c
import json
import os
from pathlib import Path

import numpy as np

# The runtime's number types; bf16 as its bits.
TYPES = {
    0: np.float32,
    1: np.float16,
    6: np.int32,
    8: np.uint16,
}


class Memory(c.Structure):
    _fields_ = [
        ("address", c.c_ulong),
        ("reserved", c.c_uint),
        ("fd", c.c_int),
        ("flags", c.c_uint),
        ("size", c.c_uint),
    ]


class Shape(c.Structure):
    _fields_ = [("rank", c.c_int), ("dims", c.c_int * 8)]

    def tuple(self):
        return tuple(self.dims[: self.rank])


class Stage(c.Structure):
    _fields_ = [
        ("inputs", c.POINTER(Shape)),
        ("outputs", c.POINTER(Shape)),
        ("input_mems", c.c_void_p),
        ("output_mems", c.c_void_p),
    ]


class Info(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("dynamic", c.c_bool),
        ("inputs", c.c_int),
        ("input_names", c.c_void_p),
        ("input_types", c.POINTER(c.c_int)),
        ("input_scales", c.c_void_p),
        ("outputs", c.c_int),
        ("output_names", c.c_void_p),
        ("output_types", c.POINTER(c.c_int)),
        ("output_scales", c.c_void_p),
        ("stage_count", c.c_int),
        ("stages", c.POINTER(Stage)),
    ]


class Chip:
    """One emulated chip and the networks loaded into it."""

    def __init__(self, folder):
        self._lib = c.CDLL(os.path.join(folder, "libbmlib.so.0"), c.RTLD_GLOBAL)
        self._rt = c.CDLL(os.path.join(folder, "libbmrt.so"))
        self._rt.bmrt_create.restype = c.c_void_p
        self._rt.bmrt_load_bmodel.restype = c.c_bool
        self._rt.bmrt_launch_data.restype = c.c_bool
        self._rt.bmrt_get_network_info.restype = c.POINTER(Info)
        self._handle = c.c_void_p()
        if self._lib.bm_dev_request(c.byref(self._handle), 0) != 0:
            raise RuntimeError(f"no emulated chip in {folder}")
        self._runtime = c.c_void_p(self._rt.bmrt_create(self._handle))

    def load(self, path):
        if not self._rt.bmrt_load_bmodel(self._runtime, str(path).encode()):
            raise RuntimeError(f"the runtime cannot load {path}")

    def info(self, name):
        info = self._rt.bmrt_get_network_info(self._runtime, name.encode())
        if not info:
            raise RuntimeError(f"no network {name}")
        return info.contents

    def run(self, name, *values):
        """Arrays in, arrays out, in the networks' own types; inputs are converted."""
        info = self.info(name)
        stage = info.stages[0]
        arrays = [
            np.ascontiguousarray(to_type(v, info.input_types[i])) for i, v in enumerate(values)
        ]
        shapes = (Shape * info.inputs)(*(stage.inputs[i] for i in range(info.inputs)))
        for i, array in enumerate(arrays):
            assert array.shape == stage.inputs[i].tuple(), (
                name,
                i,
                array.shape,
                stage.inputs[i].tuple(),
            )
        out = [
            np.empty(stage.outputs[i].tuple(), TYPES[info.output_types[i]])
            for i in range(info.outputs)
        ]
        out_shapes = (Shape * info.outputs)()
        pointers = lambda list_: (c.c_void_p * len(list_))(*(a.ctypes.data for a in list_))
        if not self._rt.bmrt_launch_data(
            self._runtime,
            name.encode(),
            pointers(arrays),
            shapes,
            len(arrays),
            pointers(out),
            out_shapes,
            len(out),
            c.c_bool(True),
        ):
            raise RuntimeError(f"{name} did not run")
        return [from_type(a, info.output_types[i]) for i, a in enumerate(out)]

    def close(self):
        self._rt.bmrt_destroy(self._runtime)
        self._lib.bm_dev_free(self._handle)


def to_type(values, kind):
    if kind == 8:
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.asarray(values, TYPES[kind])


def from_type(values, kind):
    if kind == 8:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if values.dtype == np.float16 else values


class CompiledModel:
    """A folder of build-bmodels on an emulated chip: network by role and rows."""

    def __init__(self, folder, emulator):
        self.manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        self.names = {(n["role"], n["rows"]): n["name"] for n in self.manifest["networks"]}
        self._chip = Chip(emulator)
        for file in sorted({n["file"] for n in self.manifest["networks"]}):
            self._chip.load(Path(folder) / file)

    def inputs(self, role, rows):
        """How many."""
        return self._chip.info(self.names[role, rows]).inputs

    def __call__(self, role, *inputs, rows=1):
        return self._chip.run(self.names[role, rows], *inputs)

    def close(self):
        self._chip.close()
