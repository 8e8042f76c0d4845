"""A job of a million names: its memory, its first row, and how soon it goes on when all is done.

The names are those of a thousand files by way of a thousand links to their folder. BLIP_JOB_NAMES
says how many, for a shorter run.
"""

import json
import os
import subprocess
import time
import unittest

from harness import PROGRAM, SANITIZED, SOURCE, CliTest, png

NAMES = int(os.environ.get("BLIP_JOB_NAMES", "1000000"))
MODEL = SOURCE / "tests/data/parity/caption"  # tiny
FIRST_ROW, RESUMED = 2, 3  # seconds
MEMORY = 300  # MB beyond what the job of one picture takes


def resident_mb(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0


class Million(CliTest):
    def job(self, names):
        """(seconds until the first row, seconds, the most memory in MB) of the job of a list."""
        output = self.folder / f"{len(names)}.jsonl"
        listed = self.write("list", "\n".join(names) + "\n")
        started = time.monotonic()
        process = subprocess.Popen(
            [
                PROGRAM,
                "caption",
                "@" + listed,
                "-o",
                output,
                "--model",
                MODEL,
                "--beams",
                "1",
                "--max-length",
                "6",
                "--batch",
                "64",
                "--quiet",
            ]
        )
        first, most = None, 0
        while process.poll() is None:
            most = max(most, resident_mb(process.pid))
            if first is None and output.exists() and output.stat().st_size > 0:
                first = time.monotonic() - started
            time.sleep(0.01)
        self.assertEqual(process.returncode, 0)
        return first, time.monotonic() - started, most, output

    def test_a_million_names(self):
        for i in range(1000):
            self.write(f"f/{i:03}.png", png(16, 16))
        for i in range(0, NAMES, 1000):
            (self.folder / f"d{i // 1000:03}").symlink_to("f")
        names = [f"{self.folder}/d{i // 1000:03}/{i % 1000:03}.png" for i in range(NAMES)]
        _, _, alone, _ = self.job(names[:1])
        first, seconds, most, output = self.job(names)
        print(
            f"{NAMES} names: {seconds:.0f} s, first row after {first:.2f} s, {most:.0f} MB, "
            f"of one name {alone:.0f} MB"
        )
        with open(output, encoding="utf-8") as rows:
            self.assertEqual({json.loads(row)["image"] for row in rows}, set(names))
        with open(output, encoding="utf-8") as rows:
            self.assertEqual(sum(1 for _ in rows), NAMES)
        _, resumed, most_resumed, _ = self.job(names)
        print(f"started again: {resumed:.2f} s, {most_resumed:.0f} MB")
        self.assertLess(max(most, most_resumed) - alone, MEMORY)
        if not SANITIZED:
            self.assertLess(first, FIRST_ROW)
            self.assertLess(resumed, RESUMED)


if __name__ == "__main__":
    unittest.main()
