"""The examples of the README and of docs/ print what is shown. After a change of the model or of
the output: test_readme.py --update

A ```console block holds commands ("$ ...") and what they print. Times are not compared, other
numbers roughly.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import PROGRAM, SCENES, SOURCE, TIMEOUT

DOCUMENTS = [
    SOURCE / name for name in ("README.md", "docs/CLI.md", "docs/MODELS.md", "docs/DATASETS.md")
]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(
    r'[\d.]+ (ms|s)\b|(?<=preprocess":)[\d.]+|(?<=encode":)[\d.]+|(?<=decode":)[\d.]+'
    r'|\d+ threads?|"bytes":\d+'
)
COMMAND = r"^\$ ((?:.*(?:\\|&&)\n)*.*)\n"  # over several lines, which end in a backslash or in &&
NUMBER = re.compile(r"-?\d+\.\d+")
# Said where it takes long.
PROGRESS = re.compile(r"^blip: \d+/\d+ pictures, .* left\n", re.MULTILINE)
TOLERANCE = 0.01  # instruction sets round differently


@contextlib.contextmanager
def workplace():
    """A copy of the scenes that examples may write into, with the models where it has them."""
    with tempfile.TemporaryDirectory(prefix="blip-examples-") as folder:
        scenes = Path(folder) / SCENES.relative_to(SOURCE)
        shutil.copytree(SCENES, scenes)
        (Path(folder) / "models").symlink_to(SOURCE / "models")
        yield scenes


def run_command(command, folder):
    environment = {**os.environ, "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    environment.pop("BLIP_MODEL", None)
    if command == "make demo":
        command, redirect = f"{SOURCE}/scripts/demo.sh {PROGRAM}", subprocess.STDOUT
    else:
        redirect = subprocess.DEVNULL
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=redirect,
        timeout=TIMEOUT,
        text=True,
        check=True,
    )
    return PROGRESS.sub("", done.stdout)


def examples(block):
    """(command, output) pairs. In the output of make demo, the commands it shows follow an empty
    line.
    """
    if block.startswith("$ make demo\n"):
        return [("make demo", block.split("\n", 1)[1])]
    parts = re.split(COMMAND, block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2]))


def all_examples(document):
    return [e for block in BLOCK.findall(document.read_text()) for e in examples(block)]


class Readme(unittest.TestCase):
    def test_examples(self):
        for document in DOCUMENTS:
            found = all_examples(document)
            self.assertNotEqual(found, [], document)
            with workplace() as folder:
                for command, expected in found:
                    with self.subTest(document=document.name, command=command):
                        self.assertNotEqual(expected.strip(), "")
                        self.assert_like(run_command(command, folder), expected)

    def assert_like(self, output, expected):
        output, expected = TIME.sub("#", output), TIME.sub("#", expected)
        self.assertEqual(NUMBER.sub("0.0", output), NUMBER.sub("0.0", expected))
        for a, b in zip(NUMBER.findall(output), NUMBER.findall(expected)):
            self.assertAlmostEqual(float(a), float(b), delta=TOLERANCE)

    def test_no_link_is_broken(self):
        documents = [
            SOURCE / "README.md",
            SOURCE / "README_zh.md",
            *SOURCE.glob("docs/**/*.md"),
            SOURCE / "CONTRIBUTING.md",
            SOURCE / "SECURITY.md",
            SOURCE / "python/README.md",
        ]
        for document in documents:
            for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
                if "://" not in link:
                    self.assertTrue((document.parent / link).exists(), f"{document.name}: {link}")


def update():
    for document in DOCUMENTS:
        with workplace() as folder:

            def renewed(block):
                shown = (f"$ {c}\n{run_command(c, folder)}" for c, _ in examples(block[1]))
                return "```console\n" + "".join(shown) + "```"

            document.write_text(BLOCK.sub(renewed, document.read_text()))


if __name__ == "__main__":
    update() if sys.argv[1:] == ["--update"] else unittest.main()
