"""Runs every example of docs/SERVER.md against a server. What they print must have the form that
the document shows: the same lines where they are no JSON, the same keys and types where they are.

test_docs.py --update writes what the examples print into the document.
"""

import json
import re
import shutil
import subprocess
import sys
import unittest

from harness import SCENES, SOURCE, TIMEOUT, Server

DOCUMENT = SOURCE / "docs" / "SERVER.md"
# A command goes on in the lines below it that are indented.
EXAMPLE = re.compile(r"```console\n\$ (.*(?:\n    .*)*)\n((?:(?!```).*\n)*)```")


def run(server, command):
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run(
        ["bash", "-c", command], cwd=SCENES, capture_output=True, timeout=TIMEOUT, check=True
    )
    return done.stdout.decode().replace(str(server.port), "8080")


def form(value):
    """The type of a JSON value with the keys of its objects; a number is a number."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [form(item) for item in value[:1]]
    return (
        "number"
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else type(value).__name__
    )


def form_of_line(line):
    prefix, text = ("data: ", line[6:]) if line.startswith("data: ") else ("", line)
    try:
        return prefix, form(json.loads(text))
    except ValueError:
        return re.sub(r"[0-9.]+", "0", line)


def comparable(output):
    lines = [form_of_line(line) for line in output.splitlines()]
    # A stream has as many tokens as it has.
    return [line for i, line in enumerate(lines) if line not in lines[:i]]


@unittest.skipUnless(shutil.which("curl"), "the examples are written with curl")
class Document(unittest.TestCase):
    def test_examples_print_what_the_document_shows(self):
        examples = EXAMPLE.findall(DOCUMENT.read_text(encoding="utf-8"))
        self.assertGreater(len(examples), 20)
        server = Server()
        self.addCleanup(server.stop)
        for command, shown in examples:
            with self.subTest(command[:100]):
                output = run(server, command)
                self.assertNotEqual(output, "")
                if "| cut" in command:  # a piece of an object
                    self.assertEqual(
                        re.sub(r"[-0-9.e]+", "0", output)[:60],
                        re.sub(r"[-0-9.e]+", "0", shown)[:60],
                    )
                else:
                    self.assertEqual(comparable(output), comparable(shown))

    def test_every_path_of_the_api_has_an_example(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        api = json.loads(
            (SOURCE / "apps" / "server" / "web" / "openapi.json").read_text(encoding="utf-8")
        )
        for path in api["paths"]:
            self.assertIn(":8080" + path.replace("{id}", "1"), text)


def update():
    server = Server()
    try:
        text = EXAMPLE.sub(
            lambda match: f"```console\n$ {match[1]}\n{run(server, match[1]).rstrip(chr(10))}\n```",
            DOCUMENT.read_text(encoding="utf-8"),
        )
        DOCUMENT.write_text(text, encoding="utf-8")
    finally:
        server.stop()


if __name__ == "__main__":
    if "--update" in sys.argv:
        update()
    else:
        unittest.main()
