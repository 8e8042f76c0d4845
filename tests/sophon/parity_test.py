"""The goldens of tests/parity, as transformers and torch gave them, on an emulated chip: python3
parity_test.py CHIP TEST_PARITY.

The models are our own compiled networks of the same checkpoints. How far a number may be off is
that of folders_test.py; texts must be the same token for token.
"""

import os
import subprocess
import sys
import unittest

import fixtures

CHIP, TEST_PARITY = sys.argv[1:3]
TYPE = "f32"
TIMES = "200"  # 0.01 of probabilities, 0.02 of scores and hidden states


class Goldens(unittest.TestCase):
    def test_of_every_kind(self):
        environment = {
            **os.environ,
            "BLIP_TEST_DEVICE": "sophon:0",
            "BLIP_TEST_MODELS": str(fixtures.folders(CHIP)[TYPE]),
            "BLIP_TEST_TOLERANCE": TIMES,
            "BLIP_BMRT_DIR": str(fixtures.prepare_emulator(CHIP)),
        }
        tests = "Parity/Models.EncodeTheSameAloneAndInABatch/"
        command = [
            TEST_PARITY,
            "--gtest_brief=1",
            f"--gtest_filter={tests}caption:{tests}match:{tests}vqa",
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 3 tests", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
