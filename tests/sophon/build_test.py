"""What tools/sophon/build-bmodels refuses before it needs a compiler."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["BLIP_SOURCE"]) / "tools/sophon/build-bmodels"


def build(*arguments, toolchain="/nowhere"):
    command = [
        sys.executable,
        str(PROGRAM),
        "--model",
        "model",
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

    def test_no_compiler(self):
        with tempfile.TemporaryDirectory() as folder:
            self.check(
                ["--chip", "bm1688", "--dtype", "f16"],
                f"no compiler in {folder}: run {PROGRAM.with_name('install-toolchain')}, or name "
                "its folder with --toolchain",
                toolchain=folder,
            )

    def test_rows(self):
        code, _, last = build("--chip", "bm1688", "--dtype", "f16", "--step-rows", "0,3")
        self.assertEqual(code, 2)
        self.assertIn("0,3: expected numbers from 1 to 64, such as 1,3", last)


if __name__ == "__main__":
    unittest.main()
