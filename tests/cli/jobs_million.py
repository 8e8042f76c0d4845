"""A job of a million names: its memory, its first row, and how soon it goes on when all is done.

The names are those of a thousand files by way of a thousand links to their folder. BLIP_JOB_NAMES
says how many, for a shorter run; BLIP_JOB_CURVE is a file for the memory curve, a line of names,
seconds and MB for every twentieth of the names, which `python3 bench/job_curve.py FILE > curve.svg`
draws. BLIP_JOB_OPTIONS are more options of the job (--dedupe=near).
"""

import json
import os
import subprocess
import threading
import time
import unittest

from harness import PROGRAM, SANITIZED, SOURCE, CliTest, png

NAMES = int(os.environ.get("BLIP_JOB_NAMES", "1000000"))
CURVE = os.environ.get("BLIP_JOB_CURVE")
OPTIONS = (
    *("--beams", "1", "--max-length", "6", "--batch", "64"),
    *os.environ.get("BLIP_JOB_OPTIONS", "").split(),
)
MODEL = SOURCE / "tests/data/parity/caption"  # tiny
FIRST_ROW, RESUMED = 2, 3  # seconds
MEMORY = 300  # MB beyond what the job of one picture takes


def resident_mb(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0


class Run:
    """A job of a list of names: how long it took, and the memory that it had meanwhile."""

    def __init__(self, output, listed, *options):
        self.output = output
        self.first, self.most = None, 0.0  # seconds until the first row; MB
        self.curve = []  # (names done, seconds, MB)
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [PROGRAM, "caption", "@" + listed, "-o", output, "--model", MODEL, *OPTIONS, *options],
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        reader = threading.Thread(target=self._read_progress)
        reader.start()
        while self._process.poll() is None:
            self.most = max(self.most, resident_mb(self._process.pid))
            if self.first is None and output.exists() and output.stat().st_size > 0:
                self.first = self.seconds_so_far()
            time.sleep(0.01)
        reader.join()
        self._process.stderr.close()
        self.seconds, self.code = self.seconds_so_far(), self._process.returncode

    def seconds_so_far(self):
        return time.monotonic() - self._started

    def _read_progress(self):
        for line in self._process.stderr:
            if line.startswith("{"):
                done = json.loads(line)["done"]
                self.curve.append((done, self.seconds_so_far(), resident_mb(self._process.pid)))


def twentieths(curve, names):
    """The first point of every twentieth of the names."""
    points, step = [], max(1, names // 20)
    for point in curve:
        if point[2] > 0 and point[0] >= len(points) * step:
            points.append(point)
    return points


class Million(CliTest):
    def job(self, names, *options):
        listed = self.write("list", "\n".join(names) + "\n")
        run = Run(self.folder / f"{len(names)}.jsonl", listed, *options)
        self.assertEqual(run.code, 0)
        return run

    def test_a_million_names(self):
        for i in range(1000):
            self.write(f"f/{i:03}.png", png(16, 16))
        for i in range(0, NAMES, 1000):
            (self.folder / f"d{i // 1000:03}").symlink_to("f")
        names = [f"{self.folder}/d{i // 1000:03}/{i % 1000:03}.png" for i in range(NAMES)]
        alone = self.job(names[:1], "--quiet").most
        run = self.job(names, "--progress", "json")
        lines = ["%8d names %6.0f s %6.1f MB" % point for point in twentieths(run.curve, NAMES)]
        print("\n".join(lines))
        if CURVE:
            with open(CURVE, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        print(
            f"{NAMES} names: {run.seconds:.0f} s, first row after {run.first:.2f} s, "
            f"{run.most:.0f} MB, of one name {alone:.0f} MB"
        )
        with open(run.output, encoding="utf-8") as rows:
            self.assertEqual({json.loads(row)["image"] for row in rows}, set(names))
        with open(run.output, encoding="utf-8") as rows:
            self.assertEqual(sum(1 for _ in rows), NAMES)
        again = self.job(names, "--quiet")
        print(f"started again: {again.seconds:.2f} s, {again.most:.0f} MB")
        self.assertLess(max(run.most, again.most) - alone, MEMORY)
        if not SANITIZED:
            self.assertLess(run.first, FIRST_ROW)
            self.assertLess(again.seconds, RESUMED)


if __name__ == "__main__":
    unittest.main()
