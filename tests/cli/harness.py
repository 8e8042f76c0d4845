"""Runs the program and makes inputs for it. Needs nothing outside Python's standard library.

The environment says what to test: BLIP_PROGRAM, the program (or a script that runs it under an
emulator); BLIP_EXECUTABLE, the program's own file, if that is another; BLIP_SOURCE, the source
tree.
"""

import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib
from pathlib import Path

PROGRAM = os.path.abspath(os.environ["BLIP_PROGRAM"])
EXECUTABLE = os.path.abspath(os.environ.get("BLIP_EXECUTABLE") or PROGRAM)
EMULATED = EXECUTABLE != PROGRAM  # some thirty times slower
SANITIZED = any(name in Path(EXECUTABLE).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
SOURCE = Path(os.environ["BLIP_SOURCE"]).absolute()
SCENES = SOURCE / "demo" / "scenes"
TIMEOUT = 900 if EMULATED else 300  # seconds; generous, as sanitizers and emulators are slow


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def objects(self):
        """Standard output as JSON lines; anything else on it is a failure."""
        return [json.loads(line) for line in self.lines]


def run(*arguments, stdin=b"", env=None, program=PROGRAM, preexec=None, cwd=None):
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        [program, *map(os.fspath, map(_text, arguments))],
        input=stdin,
        capture_output=True,
        env=environment,
        timeout=TIMEOUT,
        preexec_fn=preexec,
        cwd=cwd,
        check=False,
    )
    return Result(
        done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")
    )


def lone_program(folder):
    """What runs a copy of the program in folder/bin, away from the bundled model."""
    copy = folder / "bin" / "blip"
    copy.parent.mkdir()
    shutil.copy(EXECUTABLE, copy)
    if EXECUTABLE == PROGRAM:
        return copy
    script = folder / "emulated"
    script.write_text(
        Path(PROGRAM).read_text(encoding="utf-8").replace(EXECUTABLE, str(copy)), encoding="utf-8"
    )
    script.chmod(0o755)
    return script


def _text(argument):
    return argument if isinstance(argument, (str, bytes, os.PathLike)) else str(argument)


def scenes():
    with open(SCENES / "scenes.json", encoding="utf-8") as file:
        return json.load(file)


def scene_path(scene):
    return str(SCENES / scene["image"])


def png(width, height, pixel=lambda x, y: (x * 7 % 256, y * 5 % 256, 128)):
    """The bytes of an RGB PNG."""
    rows = b"".join(
        b"\0" + bytes(c for x in range(width) for c in pixel(x, y)) for y in range(height)
    )
    return png_file(width, height, zlib.compress(rows))


def png_file(width, height, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def read_npy(path):
    """(shape, values) of a little-endian float32 .npy file, version 1.0."""
    data = Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    size = struct.unpack("<H", data[8:10])[0]
    # A literal dict, as NumPy writes it.
    header = eval(data[10 : 10 + size], {"__builtins__": {}}, {})
    assert header["descr"] == "<f4" and header["fortran_order"] is False, header
    assert (10 + size) % 64 == 0, "the data must be aligned"
    count = 1
    for length in header["shape"]:
        count *= length
    return header["shape"], struct.unpack(f"<{count}f", data[10 + size :])


class CliTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="blip-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def ok(self, *arguments, **keywords):
        result = run(*arguments, **keywords)
        self.assertEqual(result.code, 0, result.err)
        return result

    def fails(self, code, message, *arguments, **keywords):
        """Exits with the code, says the message on standard error and nothing on standard
        output.
        """
        result = run(*arguments, **keywords)
        self.assertEqual(result.code, code, result.err + result.out)
        self.assertIn(message, result.err)
        self.assertEqual(result.out, "")
        return result
