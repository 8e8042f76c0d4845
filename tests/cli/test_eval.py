"""blip eval hands its command line to the Python package, and says what to install where that is
missing.
"""

import os
import unittest

from harness import EMULATED, CliTest, run


class Eval(CliTest):
    def python(self, script):
        """A folder whose python3 is this script."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "python3").write_text("#!/bin/sh\n" + script)
        (folder / "python3").chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    def test_arguments_go_to_the_package_as_they_are(self):
        path = self.python(
            'if [ "$1" = -c ]; then\n'
            '  echo loud; echo loud >&2; test "$2" = "import blipcpp.eval"; exit\n'
            "fi\n"
            'for word in "$@"; do printf "<%s>" "$word"; done; cat; exit 7\n'
        )
        for given in (
            ("caption", "a b.json", "--images", "", "--json"),
            ("vqa", "--help"),
            ("retrieval", "x", "--top-k=3", "-m", "--", "[a,b]", "caption", "--version"),
        ):
            with self.subTest(given=given):
                result = run("eval", *given, stdin=b" and its input", env=path)
                words = "".join(f"<{word}>" for word in ("-m", "blipcpp.eval", *given))
                self.assertEqual((result.code, result.err), (7, ""))
                self.assertEqual(result.out, words + " and its input")

    def test_what_to_install(self):
        result = run("eval", "vqa", env=self.python("exit 1\n"))
        self.assertEqual((result.code, result.out), (3, ""))
        self.assertIn('`python3 -c "import blipcpp.eval"` does not find', result.err)
        self.assertIn("pip install './python[eval]'", result.err)

    @unittest.skipIf(EMULATED, "the emulator is found by PATH")
    def test_no_python(self):
        self.fails(
            *(3, "there is no python3 here: install Python 3.8 or newer", "eval", "vqa"),
            env={"PATH": os.fspath(self.folder)},
        )

    def test_help(self):
        shown = self.ok("eval", "--help").out
        self.assertIn("blip eval retrieval flickr30k_test.json", shown)


if __name__ == "__main__":
    unittest.main()
