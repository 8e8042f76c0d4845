"""The declarations of blipcpp._c against blip/c.h: every function, argument, struct and field."""

import ctypes
import os
import pathlib
import re
import unittest

from blipcpp import _c

HEADER = (pathlib.Path(os.environ["BLIP_SOURCE"]) / "include/blip/c.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
CODE = " ".join(re.sub(r"^#.*$", "", CODE, flags=re.M).split())
SCALARS = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "size_t": ctypes.c_size_t,
    "blip_status": ctypes.c_int32,
}
CALLBACKS = {
    "blip_progress_callback": _c.progress_callback,
    "blip_cancel_callback": _c.cancel_callback,
    "blip_warning_callback": _c.warning_callback,
    "blip_token_callback": _c.token_callback,
    "blip_download_callback": _c.download_callback,
}


def structs():
    for name, body in re.findall(r"typedef struct (blip_\w+) \{(.*?)\} \1;", CODE, re.S):
        fields = []
        for line in filter(None, (part.strip() for part in body.split(";"))):
            kind, names = re.match(r"(.*?[ *])(\w+(?:, \w+)*)$", line, re.S).groups()
            fields += [(field, " ".join(kind.split())) for field in names.split(", ")]
        yield name[len("blip_") :], fields


def functions():
    for result, name, arguments in re.findall(
        r"BLIP_C_API ([^;(]*?)\bblip_(\w+)\(([^;]*?)\);", CODE, re.S
    ):
        kinds = (
            []
            if arguments.strip() == "void"
            else [" ".join(a.split()) for a in arguments.split(",")]
        )
        yield name, " ".join(result.split()), kinds


class Header(unittest.TestCase):
    def test_structs(self):
        declared = {**_c.OPTIONS, **_c.RECORDS}
        seen = dict(structs())
        self.assertEqual(sorted(seen), sorted(declared))
        for name, fields in seen.items():
            got = declared[name]._fields_
            self.assertEqual([f[0] for f in fields], [g[0] for g in got], name)
            for (field, kind), (_, ctype) in zip(fields, got):
                with self.subTest(struct=name, field=field):
                    if kind in SCALARS:
                        self.assertIs(ctype, SCALARS[kind])
                    elif kind in CALLBACKS:
                        self.assertIs(ctype, CALLBACKS[kind])
                    else:
                        self.assertTrue(kind.endswith("*"), kind)
                        self.assertEqual(ctypes.sizeof(ctype), ctypes.sizeof(ctypes.c_void_p))

    def test_functions(self):
        seen = list(functions())
        self.assertGreater(len(seen), 70)
        names = [name for name, _, _ in seen if not name.endswith("_default")]
        self.assertEqual(sorted(names), sorted(_c.FUNCTIONS))
        self.assertEqual(
            sorted(name[: -len("_default")] for name, _, _ in seen if name.endswith("_default")),
            sorted(_c.OPTIONS),
        )
        for name, result, arguments in seen:
            if name.endswith("_default"):
                continue
            with self.subTest(function=name):
                restype, argtypes = _c.FUNCTIONS[name]
                self.assertEqual(len(argtypes), len(arguments))
                if result == "void":
                    self.assertIsNone(restype)
                elif result in SCALARS:
                    self.assertIs(restype, SCALARS[result])
                else:
                    self.assertTrue(result.endswith("*"))
                    self.assertEqual(ctypes.sizeof(restype), ctypes.sizeof(ctypes.c_void_p))
                for kind, argtype in zip(arguments, argtypes):
                    kind = re.sub(r"\w+$", "", kind).strip()
                    if kind in SCALARS:
                        self.assertIs(argtype, SCALARS[kind], kind)
                    else:
                        self.assertTrue(kind.endswith("*"), kind)
                        self.assertEqual(ctypes.sizeof(argtype), ctypes.sizeof(ctypes.c_void_p))

    def test_abi_version(self):
        self.assertEqual(
            _c.ABI_VERSION, int(re.search(r"#define BLIP_ABI_VERSION (\d+)", HEADER).group(1))
        )

    def test_errors_have_types(self):
        import blipcpp
        from blipcpp import _errors

        comment = " ".join(HEADER.replace("\n *", " ").split())
        codes = re.search(r'"ok", ("usage".*?"internal")', comment).group(1)
        codes = codes.replace('"', "").split(", ")
        self.assertEqual(sorted(codes), sorted(_errors._TYPES))
        for kind in _errors._TYPES.values():
            self.assertTrue(issubclass(kind, blipcpp.BlipError) and hasattr(blipcpp, kind.__name__))


if __name__ == "__main__":
    unittest.main()
