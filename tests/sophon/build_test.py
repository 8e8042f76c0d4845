"""What tools/sophon/build-bmodels refuses before it needs a compiler."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["BLIP_SOURCE"]) / "tools/sophon/build-bmodels"
sys.path.insert(0, str(PROGRAM.parent))
from blip_sophon.errors import BuildError  # noqa: E402
from blip_sophon.staging import SampleStaging  # noqa: E402


def build(*arguments, toolchain="/nowhere", model=__file__):
    command = [
        sys.executable,
        str(PROGRAM),
        "--model",
        model,
        "--out",
        "out",
        "--toolchain",
        str(toolchain),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.strip().splitlines()[-1]


class Refused(unittest.TestCase):
    def check(self, arguments, message, **options):
        code, out, last = build(*arguments, **options)
        self.assertEqual((code, out, last), (1, "", "build-bmodels: " + message))

    def test_number_type_the_chip_lacks(self):
        self.check(
            ["--chip", "bm1684", "--dtype", "f16"],
            "bm1684 does not compute in f16; it knows f32, int8",
        )

    def test_cores_the_chip_lacks(self):
        self.check(
            ["--chip", "bm1684x", "--dtype", "f16", "--cores", "2"], "--cores 2: bm1684x has 1 core"
        )
        self.check(
            ["--chip", "bm1688", "--dtype", "f16", "--cores", "3"], "--cores 3: bm1688 has 2 cores"
        )

    def test_chips_that_are_not_supported(self):
        for chip, name in (("bm1684x2", "BM1684X2"), ("BM1690", "BM1690")):
            self.check(
                ["--chip", chip, "--dtype", "f16"],
                f"{name} is not supported, though the vendor's compiler knows it: our networks "
                "were "
                "never compiled for it nor compared on its emulator, and blip does not know the id "
                "by which such a chip is told; supported are bm1684, bm1684x, bm1688, cv186x",
            )
        self.check(
            ["--chip", "bm1680", "--dtype", "f16"],
            "--chip bm1680: supported are bm1684, bm1684x, bm1688, cv186x",
        )

    def test_a_cv186x_is_half_a_bm1688(self):
        self.check(
            ["--chip", "cv186x", "--dtype", "f16", "--cores", "2"], "--cores 2: cv186x has 1 core"
        )

    def test_int8_without_pictures(self):
        self.check(
            ["--chip", "bm1688", "--dtype", "int8"],
            "int8 needs --calibration IMAGE ...: 8 to 32 pictures like those to come",
        )

    def test_the_form_of_the_sample(self):
        form = ["--chip", "bm1688", "--form", "sample", "--dtype"]
        for dtype in ("bf16", "w8f16", "int8"):
            self.check(
                [*form, dtype],
                f"--form sample is compiled in f32 or f16, not {dtype}: its graphs choose tokens "
                "themselves, and nothing in them can be kept exact",
            )
        for option in (["--slots", "20"], ["--calibration", "a.jpg"], ["--step-rows", "1"]):
            code, _, last = build(*form, "f32", *option)
            self.assertEqual(code, 2)
            self.assertIn(f"{option[0]} does not go with --form sample", last)
        code, _, last = build("--chip", "bm1688", "--dtype", "f32", "--tokens", "9")
        self.assertEqual(code, 2)
        self.assertIn("--tokens does not go with --form ours", last)
        code, _, last = build(*form, "f32", "--tokens", "65")
        self.assertIn("65: expected 1 to 64", last)

    def test_a_folder_of_the_sample_that_holds_something_else_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.bmodel", "vocab.txt", "SHA256SUMS"):
                (Path(folder) / name).write_text("00  a.bmodel\n", encoding="utf-8")
            SampleStaging(folder)
            (Path(folder) / "photo.jpg").write_bytes(b"mine")
            with self.assertRaisesRegex(BuildError, "is no folder of compiled networks"):
                SampleStaging(folder)

    def test_types_that_change_texts_say_so(self):
        command = ["--model", __file__, "--out", "o", "--toolchain", "/nowhere", "--chip", "bm1688"]
        for dtype, changes in (("bf16", True), ("w8f16", True), ("f16", False), ("f32", False)):
            done = subprocess.run(
                [sys.executable, str(PROGRAM), *command, "--dtype", dtype],
                capture_output=True,
                text=True,
                check=False,
            )
            warned = f"build-bmodels: warning: {dtype} changes " in done.stderr
            self.assertEqual(warned, changes, done.stderr)

    def test_no_compiler(self):
        with tempfile.TemporaryDirectory() as folder:
            self.check(
                ["--chip", "bm1688", "--dtype", "f16"],
                f"no compiler in {folder}: run {PROGRAM.with_name('install-toolchain')}, or name "
                "its folder with --toolchain",
                toolchain=folder,
            )

    def test_what_is_wrong_is_told_before_a_compiler_is_needed(self):
        target = ("--chip", "bm1688", "--dtype", "f16")
        self.check([*target], "nope: no such checkpoint", model="nope")
        int8 = ("--chip", "bm1688", "--dtype", "int8", "--calibration", "nope.jpg")
        self.check([*int8], "nope.jpg: no such picture")
        for arguments, message in (
            (("--slots", "-1"), "-1: expected 2 to 512"),
            (("--slots", "99999999999"), "99999999999: expected 2 to 512"),
            (("--prompt-tokens", "100"), "--prompt-tokens 100 is more than --slots 32"),
            (("--match-rows", "x,1"), "x,1: expected numbers from 1 to 64, such as 1,3"),
            (("--step-rows", ""), ": expected numbers from 1 to 64, such as 1,3"),
            (("--calibration", "a.jpg"), "--calibration goes with --dtype int8, not f16"),
        ):
            code, out, last = build(*target, *arguments)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(message, last)

    def test_rows(self):
        code, _, last = build("--chip", "bm1688", "--dtype", "f16", "--step-rows", "0,3")
        self.assertEqual(code, 2)
        self.assertIn("0,3: expected numbers from 1 to 64, such as 1,3", last)


if __name__ == "__main__":
    unittest.main()
