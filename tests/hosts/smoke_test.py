"""The program of another processor, under an emulator, against this machine's own: the same words,
numbers and errors.

The environment says what to test: BLIP_PROGRAM; BLIP_REFERENCE, this machine's program;
BLIP_SOURCE, the source tree; BLIP_CODECS, which picture decoders the program has: libraries, or stb
= the portable ones; BLIP_COMPILER, the other processor's.
"""

import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from harness import PROGRAM, SCENES, SOURCE, run, scene_path, scenes  # noqa: E402

REFERENCE = os.environ["BLIP_REFERENCE"]
PORTABLE = os.environ["BLIP_CODECS"] == "stb"
MODEL = str(SOURCE / "models" / "blip-demo.gguf")
# A compiled model's head, which comes before the runtime.
BMODEL = str(SOURCE / "fuzz" / "corpus" / "bmodel" / "bm1684x")
PICTURES = SOURCE / "tests" / "data" / "image"
SCORE_TOLERANCE = 1e-4  # f32 on both sides, summed in another order


def pixels(path, program=PROGRAM):
    """The normalised picture that the model sees, in levels of 255 (times a channel's scale, near
    0.27), or the error.
    """
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        done = run(
            "dump", "--stage", "pixels", "--image", path, "-o", file.name, "-q", program=program
        )
        if done.code:
            return done.err
        data = Path(file.name).read_bytes()
    size = struct.unpack("<H", data[8:10])[0]
    count = (len(data) - 10 - size) // 4
    return [0.27 * 255 * v for v in struct.unpack(f"<{count}f", data[10 + size :])]


# The formats that a build reads, which are not the same everywhere.
FORMATS = re.compile(r"(?<=can be read) \([^)]*\)")


class Smoke(unittest.TestCase):
    def both(self, *arguments):
        ours, reference = run(*arguments), run(*arguments, program=REFERENCE)
        self.assertEqual(ours.code, reference.code, ours.err)
        return ours, reference

    def objects(self, *arguments):
        ours, reference = self.both(*arguments, "--json", "-q")
        self.assertEqual(ours.code, 0, ours.err)
        return ours.objects, reference.objects

    def test_version_and_info(self):
        for arguments in (
            ["--version"],
            ["info", "--json", "-m", MODEL, "--dtype", "f32", "--threads", "2"],
            ["caption", "--help"],
        ):
            ours, reference = self.both(*arguments)
            self.assertEqual(ours.code, 0, ours.err)
            self.assertEqual(ours.out, reference.out)
        self.assertRegex(run("--version").out, r"^blip \d+\.\d+\.\d+\n$")

    def test_captions(self):
        paths = [scene_path(scene) for scene in scenes()]
        ours, reference = self.objects("caption", "--beams", "3", *paths)
        self.assertEqual(len(ours), len(paths))
        for a, b in zip(ours, reference):
            self.assertEqual(a["caption"], b["caption"])

    def test_match_and_ask(self):
        path = str(SCENES / "cat-bus.png")
        ours, reference = self.objects(
            "match", path, "--text", "a cat to the left of a bus", "--text", "a dog"
        )
        self.assertEqual(len(ours), len(reference))
        for a, b in zip(ours, reference):
            for key, value in b.items():
                if isinstance(value, float):
                    self.assertAlmostEqual(a[key], value, delta=SCORE_TOLERANCE)
                else:
                    self.assertEqual(a[key], value)
        ours, reference = self.objects(
            "ask", path, "--question", "what is to the right of the cat?"
        )
        self.assertEqual([o["answer"] for o in ours], ["bus"])

    def test_errors(self):
        for arguments in (
            ["caption", "/no/such.png"],
            ["caption", "--model", "/no/such.gguf", str(SCENES / "clock.png")],
            ["caption", str(SOURCE / "README.md")],
            ["caption", "--frobnicate"],
            ["caption", "--beams", "0", str(SCENES / "clock.png")],
        ):
            ours, reference = self.both(*arguments, "-q")
            self.assertNotEqual(ours.code, 0)
            self.assertEqual(FORMATS.sub("", ours.err), FORMATS.sub("", reference.err))

    def test_number_types(self):
        for dtype in ("bf16", "int8"):
            ours, reference = self.objects("caption", str(SCENES / "clock.png"), "--dtype", dtype)
            self.assertEqual(
                [o["token_ids"] for o in ours], [o["token_ids"] for o in reference], dtype
            )

    def test_sophon_runtime_is_looked_for(self):
        arguments = (
            "caption",
            "--device",
            "sophon:0",
            "--bmodel-path",
            BMODEL,
            str(SCENES / "clock.png"),
            "-q",
        )
        with tempfile.TemporaryDirectory() as folder:
            environment = {"BLIP_BMRT_DIR": folder}
            ours, reference = run(*arguments, env=environment), run(
                *arguments, env=environment, program=REFERENCE
            )
            self.assertEqual((ours.code, ours.err), (reference.code, reference.err))
            self.assertIn(
                f"SOPHON runtime: no libbmlib.so in {folder}; install the vendor's libsophon",
                ours.err,
            )
            # Libraries of that processor, empty: they are loaded, and the first function is missed.
            for name in ("libbmlib.so", "libbmrt.so"):
                subprocess.run(
                    [
                        os.environ["BLIP_COMPILER"],
                        "-shared",
                        "-fPIC",
                        "-x",
                        "c++",
                        "-",
                        "-o",
                        f"{folder}/{name}",
                    ],
                    input=b"",
                    check=True,
                )
            ours = run(*arguments, env=environment)
        self.assertEqual(ours.code, 3)
        self.assertRegex(
            ours.err,
            r"SOPHON runtime: libbmlib lacks the function bm_\w+: it is too old or damaged",
        )

    def test_pictures(self):
        for name in (
            "png_c2_d8_i0.png",
            "png_c3_d4_i1.png",
            "png_c0_d16_i0.png",
            "gif_global.gif",
            "bmp_rle8.bmp",
        ):
            with self.subTest(name):
                self.assertEqual(pixels(PICTURES / name), pixels(PICTURES / name, REFERENCE))
        for name in (
            "jpeg_420_q95.jpg",
            "jpeg_444_q30.jpg",
            "jpeg_gray.jpg",
            "jpeg_420_progressive.jpg",
            "jpeg_exif6.jpg",
        ):
            with self.subTest(name):
                ours, reference = pixels(PICTURES / name), pixels(PICTURES / name, REFERENCE)
                self.assertEqual(len(ours), len(reference))
                worst = max(abs(a - b) for a, b in zip(ours, reference))
                self.assertLessEqual(worst, 9 if PORTABLE else 0)

    def test_webp(self):
        path = sorted(PICTURES.glob("webp_*.webp"))[0]
        ours = pixels(path)
        if PORTABLE:
            self.assertIn(
                "WebP: this build has no libwebp; convert the picture to PNG or JPEG", ours
            )
        else:
            self.assertEqual(ours, pixels(path, REFERENCE))


if __name__ == "__main__":
    unittest.main()
