"""Files that would hang the program, take its memory or pull a mapping from under it: an error
each, and the others go on.
"""

import os
import resource
import shutil
import struct
import subprocess
import time
import zlib

from harness import EMULATED, PROGRAM, SANITIZED, SOURCE, TIMEOUT, CliTest, run, scene_path, scenes

PICTURE = scene_path(scenes()[0])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Pictures(CliTest):
    def test_memory_of_decoding_is_limited(self):
        result = run("caption", PICTURE, "-q", "--max-memory", 1000)
        self.assertNotEqual(result.code, 0)
        self.assertIn("more than the limit of 0 MiB; raise it with --max-memory", result.err)

    def test_a_picture_never_ends_the_program(self):
        gif = (
            b"GIF89a"
            + struct.pack("<HH", 9000, 9000)
            + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0"
            + struct.pack("<HH", 1, 1)
            + b"\0\2\2\x44\1\0;"
        )
        (self.folder / "screen.gif").write_bytes(gif)
        rows = zlib.compress(bytes(1 + 3 * 13000) * 13000, 9)
        header = struct.pack(">IIBBBBB", 13000, 13000, 8, 2, 0, 0, 0)
        (self.folder / "large.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", rows)
            + chunk(b"IEND", b"")
        )

        if SANITIZED or EMULATED:
            self.skipTest("an emulator's or sanitizer's memory is no measure")

        def small():
            resource.setrlimit(resource.RLIMIT_AS, (450 << 20, 450 << 20))

        result = run(
            "caption",
            self.folder / "screen.gif",
            self.folder / "large.png",
            PICTURE,
            "-q",
            "--threads",
            1,
            preexec=small,
        )
        self.assertEqual(result.code, 1, result.err)
        self.assertIn("screen.gif: GIF: a screen of 81000000 pixels", result.err)
        self.assertIn(
            "large.png: PNG: not enough memory to decode 13000 x 13000 pixels", result.err
        )
        self.assertEqual(len(result.lines), 1)

    def test_compressed_texts_cost_no_time(self):
        text = chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(1 << 20), 9))
        pixel = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + chunk(
            b"IDAT", zlib.compress(b"\0\1\2\3")
        )
        path = self.folder / "text.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + pixel + text * 100_000 + chunk(b"IEND", b""))
        result = run("caption", path, "-q")  # minutes, were each unpacked
        self.assertEqual(result.code, 0, result.err)


class Models(CliTest):
    def test_a_model_that_is_cut_while_it_is_loaded_is_an_error(self):
        model = SOURCE / "models" / "blip-demo.gguf"
        size = model.stat().st_size
        changed = 0
        for attempt in range(12):
            path = self.folder / "model.gguf"
            shutil.copy(model, path)
            with subprocess.Popen(
                [PROGRAM, "caption", PICTURE, "-q", "--model", path],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                time.sleep(attempt * 0.004)
                os.truncate(path, size // 8)
                _, errors = process.communicate(timeout=TIMEOUT)
            self.assertIn(process.returncode, (0, 3), errors)  # never a signal
            if process.returncode == 3:
                self.assertIn(b"model.gguf", errors)
                changed += b"changed while it was read" in errors
        self.assertGreaterEqual(changed, 0)


if __name__ == "__main__":
    import unittest

    unittest.main()
