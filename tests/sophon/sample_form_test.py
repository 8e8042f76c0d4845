"""tools/sophon/build-bmodels --form sample: compiles the checkpoints of tests/data/parity into one
folder as the vendor's sample has it, and holds what they say on an emulated chip against the CPU:
python3 sample_form_test.py CHIP. Skipped without the compiler (tools/sophon/install-toolchain).
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import fixtures
from program import ProgramTest

CHIP = sys.argv[1]
TOOLS = fixtures.SOURCE / "tools" / "sophon"
CHECKPOINTS = fixtures.SOURCE / "tests" / "data" / "parity"
PICTURES = sorted((CHECKPOINTS / "images").iterdir())
TOKENS = 4
PROMPT = "a picture of "
# The sample's answer decoder looks at padding; with none its answers are those of the CPU.
LONG_QUESTION = "where is the dog? " * 12
sys.path.insert(0, str(TOOLS))
from blip_sophon.compiler import find_toolchain  # noqa: E402
from blip_sophon.errors import BuildError  # noqa: E402

try:
    TOOLCHAIN = find_toolchain(None, TOOLS / "build-bmodels")
except BuildError as error:
    fixtures.skip(str(error))


def build(*models, out):
    command = [sys.executable, TOOLS / "build-bmodels", "--form", "sample", "--chip", CHIP]
    command += ["--dtype", "f32", "--tokens", TOKENS, "--out", out, "--toolchain", TOOLCHAIN]
    for model in models:
        command += ["--model", CHECKPOINTS / model]
    return subprocess.run(
        ["nice", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "BLIP_INSIDE_TOOLCHAIN"},
    )


class SampleForm(ProgramTest):
    RUNTIME = fixtures.prepare_emulator(CHIP)

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = Path(cls.temporary.name) / "models"
        done = build("caption", "match", "vqa", out=cls.folder)
        assert done.returncode == 0, done.stderr

    def file(self, network):
        return self.folder / f"blip_{network}_{CHIP}_f32_1b.bmodel"

    def both(self, command, model, networks, *arguments, chip=(), cpu=()):
        """(on the chip, on the CPU): objects of the same command."""
        files = ",".join(str(self.file(network)) for network in networks)
        words = self.folder / "vocab.txt"
        where = ("--device", "sophon:0", "--model", files, "--tokenizer-path", words)
        return (
            self.objects(command, *where, *arguments, *chip),
            self.objects(
                command, "--model", CHECKPOINTS / model, *arguments, *cpu, runtime="/nonexistent"
            ),
        )

    def test_the_folder(self):
        names = {path.name for path in self.folder.iterdir()}
        networks = ("cap", "itm", "vqa_venc", "vqa_tenc", "vqa_tdec")
        files = {self.file(network).name for network in networks}
        self.assertEqual(names, {*files, "vocab.txt", "SHA256SUMS"})
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=self.folder, check=True)

    def test_captions(self):
        greedy = (
            "--beams",
            1,
            "--prompt",
            PROMPT,
            "--max-length",
            len(PROMPT.split()) + 1 + TOKENS,
        )
        got, expected = self.both("caption", "caption", ["cap"], *PICTURES[:2], cpu=greedy)
        self.assertEqual([g["caption"] for g in got], [e["caption"] for e in expected])

    def test_match(self):
        texts = ("--text", "a dog on the street", "--text", "two people")
        got, expected = self.both(
            "match", "match", ["itm"], PICTURES[0], *texts, cpu=("--head", "itm")
        )
        for g, e in zip(got, expected, strict=True):
            self.assertAlmostEqual(g["match_probability"], e["match_probability"], delta=0.001)

    def test_answers(self):
        greedy = ("--beams", 1, "--max-length", 1 + TOKENS)
        got, expected = self.both(
            "ask",
            "vqa",
            ["vqa_venc", "vqa_tenc", "vqa_tdec"],
            PICTURES[0],
            "--question",
            LONG_QUESTION,
            cpu=greedy,
        )
        self.assertEqual(got[0]["answer"], expected[0]["answer"])

    def test_two_models_of_one_task(self):
        done = build("caption", "caption-official", out=self.folder.with_name("two"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "both make blip_cap; name one|has another vocabulary than")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
