"""64-bit ARM's levels of instructions on emulated processors that have and lack each: which is
found, which may be asked for, and whether all of them, and this machine's own program, compute the
same in 8 bits.

The environment says what to test: BLIP_EXECUTABLE; BLIP_EMULATOR, the emulator and its options,
which takes -cpu; BLIP_REFERENCE, this machine's program; BLIP_SOURCE, the source tree.
"""

import json
import os
import shlex
import subprocess
import unittest

SOURCE = os.environ["BLIP_SOURCE"]
# The best level of each.
PROCESSORS = {"cortex-a72": "neon", "neoverse-n1": "dotprod", "max": "bf16"}
LEVELS = ["baseline", "neon", "dotprod", "i8mm", "bf16"]


def run(program, *arguments, level=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BLIP_")}
    if level:
        environment["BLIP_FORCE_ISA"] = level
    return subprocess.run(
        [*program, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def processor(name):
    return [*shlex.split(os.environ["BLIP_EMULATOR"]), "-cpu", name, os.environ["BLIP_EXECUTABLE"]]


class Levels(unittest.TestCase):
    def ok(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_found_and_told(self):
        for name, best in PROCESSORS.items():
            for level in [None, *LEVELS]:
                done = run(processor(name), "devices", level=level)
                used = level or best
                if LEVELS.index(used) > LEVELS.index(best):
                    self.assertEqual(done.returncode, 2, name)
                    self.assertIn(
                        f"BLIP_FORCE_ISA={level}: this machine lacks it, its best is {best}",
                        done.stderr,
                    )
                    continue
                self.assertEqual(done.returncode, 0, done.stderr)
                cpu = next(line for line in done.stdout.splitlines() if "threads" in line)
                self.assertRegex(cpu, rf"; {used}\s*$")

    def test_other_processors_levels_are_refused(self):
        done = run(processor("max"), "devices", level="avx2")
        self.assertEqual(done.returncode, 2)
        self.assertIn("BLIP_FORCE_ISA=avx2: this machine lacks it, its best is bf16", done.stderr)

    def results(self, program, command, level=None):
        """Token ids or vectors, all digits of them, of a whole model."""
        options = ["-m", f"{SOURCE}/models/blip-demo.gguf", "--dtype", "int8", "--json", "-q"]
        picture = f"{SOURCE}/demo/scenes/balloons.png"
        done = json.loads(self.ok(program, command, *options, picture, level=level))
        done.pop("timings_ms", None)
        return done

    def test_the_same_bytes(self):
        reference = [os.environ["BLIP_REFERENCE"]]
        # Matrix units, where this machine has some, add up attention in another order.
        native = "avx2" if run(reference, "devices", level="avx2").returncode == 0 else None
        caption = self.results(reference, "caption", native)
        vector = self.results(reference, "embed", native)
        self.assertGreater(len(caption["token_ids"]), 5)
        self.assertGreater(len(vector["embedding"]), 5)
        for name, level in [*((name, None) for name in PROCESSORS), ("max", "i8mm")]:
            self.assertEqual(self.results(processor(name), "caption", level), caption, name)
            self.assertEqual(self.results(processor(name), "embed", level), vector, name)


if __name__ == "__main__":
    unittest.main()
