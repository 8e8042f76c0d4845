"""Running the program in tests: on a chip by way of a runtime's folder, or on the CPU."""

import json
import os
import subprocess
import unittest

PROGRAM = os.environ["BLIP_PROGRAM"]
TIMEOUT = 300  # seconds a command; the slowest emulator needs 6 for a caption on an idle machine
# The fastest needs 0.2. It may wait for its threads for ever when it is closed right after loading,
# once in about 40 times.
TIMEOUT_BM1688 = 60


def run(*arguments, runtime, stdin=""):
    """The finished program. An emulated BM1688 that hangs is tried once more."""
    fastest = str(runtime).endswith("bm1688")

    def once():
        return subprocess.run(
            [PROGRAM, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "BLIP_BMRT_DIR": str(runtime)},
            timeout=TIMEOUT_BM1688 if fastest else TIMEOUT,
        )

    try:
        return once()
    except subprocess.TimeoutExpired:
        if not fastest:
            raise
        return once()


class ProgramTest(unittest.TestCase):
    RUNTIME = "/nonexistent"  # the folder with the vendor's libraries, or what stands in for them

    def run_program(self, *arguments, stdin="", runtime=None):
        return run(*arguments, runtime=runtime or self.RUNTIME, stdin=stdin)

    def ok(self, *arguments, **keywords):
        done = self.run_program(*arguments, **keywords)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def objects(self, *arguments, **keywords):
        """Standard output as JSON lines: nothing that the runtime prints may be among them."""
        return [
            json.loads(line)
            for line in self.ok(*arguments, "--json", **keywords).stdout.splitlines()
        ]

    def fails(self, code, message, *arguments, **keywords):
        done = self.run_program(*arguments, **keywords)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertEqual(done.stdout, "")
