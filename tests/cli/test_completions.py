"""Completions: bash's are run; zsh's and fish's are checked by their shells where those are
installed.
"""

import re
import shutil
import subprocess
import unittest

from harness import PROGRAM, CliTest

COMMANDS = "caption match ask embed convert info devices formats dump completions".split()


class Completions(CliTest):
    def setUp(self):
        super().setUp()
        self.scripts = {
            shell: self.ok("completions", shell).out for shell in ("bash", "zsh", "fish")
        }

    def complete(self, *words):
        script = self.write("blip.bash", self.scripts["bash"])
        code = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _blip; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-uc", code, "bash", script, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=self.folder,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split("\n")[:-1]

    def test_bash(self):
        self.write("cat 1.jpg", "")
        self.assertEqual(self.complete("blip", "ca"), ["caption", "capfilt"])
        self.assertEqual(set(COMMANDS) - set(self.complete("blip", "")), set())
        self.assertEqual(self.complete("blip", "caption", "--num"), ["--num-captions"])
        self.assertEqual(self.complete("blip", "ask", "--num"), ["--num-answers"])
        self.assertEqual(
            self.complete("blip", "caption", "--dtype", ""), ["auto", "f32", "bf16", "int8", "f16"]
        )
        self.assertEqual(self.complete("blip", "convert", "a", "b", "--type", "q"), ["q8_0"])
        self.assertEqual(self.complete("blip", "completions", "z"), ["zsh"])
        self.assertEqual(self.complete("blip", "completions", "m"), ["man"])
        self.assertEqual(self.complete("blip", "caption", "--model", "cat"), ["cat 1.jpg"])
        self.assertEqual(self.complete("blip", "caption", "cat"), ["cat 1.jpg"])
        self.assertEqual(self.complete("blip", "caption", "--beams", ""), [""])

    def test_every_option_of_the_help_is_in_every_script(self):
        for command in COMMANDS:
            options = re.findall(
                r"^ +(?:-\w,)?--([a-z-]+)", self.ok(command, "--help").out, re.MULTILINE
            )
            self.assertIn("help", options)
            for option in options:
                self.assertIn(f"--{option}", self.scripts["bash"])
                self.assertIn(f"--{option}[", self.scripts["zsh"])
                self.assertRegex(
                    self.scripts["fish"],
                    rf"(__fish_seen_subcommand_from {command}'|__fish_use_subcommand).* -l "
                    rf"{option} ",
                )

    def test_the_shells_accept_them(self):
        for shell, script in self.scripts.items():
            if shutil.which(shell):
                subprocess.run([shell, "-n", self.write(f"blip.{shell}", script)], check=True)

    def test_manual_pages(self):
        """roff without a complaint, with every option of the help."""
        for command in ("", *COMMANDS):
            page = self.ok("completions", "man", *([command] if command else [])).out
            self.assertTrue(
                page.startswith(f".TH BLIP{chr(92)}-{command.upper()}" if command else ".TH BLIP "),
                page[:50],
            )
            for option in re.findall(
                r"^ +(?:-\w,)?--([a-z-]+)",
                self.ok(*([command] if command else []), "--help").out,
                re.MULTILINE,
            ):
                self.assertIn(r"\-\-" + option.replace("-", r"\-"), page)
            if shutil.which("groff"):
                done = subprocess.run(
                    ["groff", "-man", "-ww", "-z", "-Tutf8"],
                    input=page,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                self.assertEqual(done.stderr, "", command)
        self.fails(2, 'no command "bogus"', "completions", "man", "bogus")
        self.fails(2, "has no effect", "completions", "zsh", "caption")

    def test_the_program_is_named_nowhere_by_its_path(self):
        for script in self.scripts.values():
            self.assertNotIn(PROGRAM, script)


if __name__ == "__main__":
    unittest.main()
