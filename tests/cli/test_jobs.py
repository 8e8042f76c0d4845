"""Jobs: captions into files, which go on where they were ended, whatever ended them.

BLIP_JOB_KILLS says how many times the jobs of the kill tests are killed.
"""

import csv
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
import unittest
from collections import Counter
from pathlib import Path

from harness import PROGRAM, SANITIZED, TIMEOUT, run
from job_harness import FAST, JobTest, captions_of

KILLS = int(os.environ.get("BLIP_JOB_KILLS", "2" if SANITIZED else "6"))


def sidecar_of(name, ending=".txt"):
    return Path(name).with_suffix(ending)


class Formats(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(3, "a")
        os.rename(self.names[2], self.folder / "a" / 'x,"y.png')
        self.names[2] = str(self.folder / "a" / 'x,"y.png')
        self.expected = captions_of(self.names)

    def job(self, output, *more):
        result = self.ok("caption", self.folder / "a", "--output", self.path(output), *FAST, *more)
        self.assertEqual(result.out, "")
        return (self.folder / output).read_bytes().decode("utf-8")

    def test_jsonl_is_what_the_command_prints(self):
        lines = self.job("out.jsonl").splitlines()
        printed = self.ok("caption", self.folder / "a", "--json", *FAST).objects
        for line, shown in zip(lines, printed, strict=True):
            del shown["timings_ms"]
            self.assertEqual(line, json.dumps(shown, separators=(",", ":"), ensure_ascii=False))

    def test_csv(self):
        text = self.job("out.csv")
        quoted = self.names[2].replace('"', '""')
        rows = [f"{name},{self.expected[name]}\n" for name in self.names[:2]]
        last = f'"{quoted}",{self.expected[self.names[2]]}\n'
        self.assertEqual(text, "image,caption\n" + "".join(rows) + last)
        read = list(csv.reader(io.StringIO(text)))
        self.assertEqual(read[1:], [[name, self.expected[name]] for name in self.names])

    def test_metadata_of_an_image_folder(self):
        self.job("a/metadata.jsonl")
        self.assertEqual(
            self.rows("a/metadata.jsonl"),
            [{"file_name": os.path.basename(n), "text": self.expected[n]} for n in self.names],
        )

    def test_coco_results(self):
        text = self.job("out.json")
        ids = [0, 1, 'x,"y']
        results = [{"image_id": i, "caption": self.expected[n]} for i, n in zip(ids, self.names)]
        self.assertEqual(json.loads(text), results)
        self.assertEqual(self.job("out.json"), text)
        self.pictures(4, "a")
        self.job("out.json")
        self.assertEqual(
            [r["image_id"] for r in json.loads((self.folder / "out.json").read_text())],
            [*ids, 2, 3],
        )

    def test_coco_ids_of_two_pictures(self):
        for folder in ("b/x", "b/y"):
            self.pictures(2, folder)
        result = self.ok("caption", self.folder / "b", "-o", self.path("out.json"), *FAST)
        self.assertIn("out.json: 2 rows have the image_id of another, which is the", result.err)

    def test_what_was_made_of_rows_and_changed_is_not_replaced(self):
        text = self.job("out.json")
        self.assertEqual(self.job("out.json"), text)
        self.write("out.json", "edited")
        job = ("caption", self.folder / "a", "-o", self.path("out.json"), *FAST)
        self.fails(2, "out.json exists, and is not as this job wrote it; move it away", *job)
        self.assertEqual((self.folder / "out.json").read_text(), "edited")
        (self.folder / "out.json").unlink()
        self.assertEqual(self.job("out.json"), text)
        self.write("mine.json", "mine")
        self.fails(2, "mine.json exists, and is not as", *job[:3], self.path("mine.json"), *FAST)
        self.assertEqual(sorted(p.name for p in self.folder.glob("mine*")), ["mine.json"])

    def test_a_command_that_is_refused_leaves_nothing(self):
        job = ("caption", self.folder / "a", "-o", self.path(), "--beams", 1)
        long = ("--prompt", "a picture of " * 200)
        self.assertIn(run(*job, *long).code, (1, 2))
        self.assertEqual(list(self.folder.glob("out*")), [])
        self.ok(*job)

    def test_temporaries_of_others_are_no_pictures(self):
        good = (self.folder / "a" / os.path.basename(self.names[0])).read_bytes()
        before = self.job("one.jsonl")
        (self.folder / "a" / "b.png.0123456789abcdef.tmp").write_bytes(good)
        (self.folder / "a" / ".blip-caption.txt.0123456789abcdef.job").write_bytes(b"x")
        result = self.ok("caption", self.folder / "a", "-o", self.path("two.jsonl"), *FAST)
        self.assertEqual((self.folder / "two.jsonl").read_text("utf-8"), before)
        self.assertNotIn("left out", result.err)

    def test_several_captions(self):
        self.ok("caption", self.folder / "a", "-o", self.path(), "--num-captions", 2)
        for row in self.rows():
            self.assertEqual(len(row["captions"]), 2)
        for output in (("--output", self.path("x.csv")), ("--sidecar", ".txt")):
            self.fails(
                2,
                "several captions a picture fit into .jsonl and .parquet files alone",
                "caption",
                self.folder / "a",
                *output,
                "--num-captions",
                2,
            )

    def test_wording(self):
        self.write("a/0000.txt", "red, small\n")
        wording = (
            "--trigger",
            "sks",
            "--template",
            "{caption} ({tags}) in {folder}/{name}",
            "--prefix",
            "<",
            "--suffix",
            ">",
            "--include-prompt",
        )
        self.job("out.jsonl", *wording)
        first = f"<sks, a picture of {self.expected[self.names[0]]} (red, small) in a/0000>"
        self.assertEqual(self.rows()[0]["caption"], first)
        printed = self.ok("caption", self.names[0], *FAST, *wording)
        self.assertEqual(printed.out, first + "\n")

    def test_names_that_are_not_utf8(self):
        name = os.fsencode(self.folder) + b"/a/\xff.png"
        shutil.copy(self.names[0], name)
        self.job("out.jsonl")
        self.assertEqual(sum("image_bytes" in row for row in self.rows()), 1)
        result = run("caption", self.folder / "a", "-o", self.path("out.csv"), *FAST)
        self.assertEqual(result.code, 1)
        (error,) = self.rows("out.csv.errors.jsonl")
        self.assertIn("CSV cannot hold its name", error["error"])
        self.assertEqual(len((self.folder / "out.csv").read_text().splitlines()), 4)


class Resuming(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(6)
        self.begun = ("caption", self.folder / "pictures", "-o", self.path())
        self.job = (*self.begun, *FAST)

    def test_nothing_is_done_twice(self):
        self.ok(*self.job)
        before = (self.folder / "out.jsonl").read_bytes()
        again = self.ok(*self.job)
        self.assertIn("6 pictures done, 0 failed", again.err)
        self.assertIn("0 pictures in", again.err)
        self.assertEqual((self.folder / "out.jsonl").read_bytes(), before)
        more = self.pictures(8)
        self.ok(*self.job)
        self.assertEqual([row["image"] for row in self.rows()], more)

    def test_a_name_given_twice_has_two_rows(self):
        listed = self.write("list.txt", "\n".join([self.names[0]] * 3 + self.names[:2]) + "\n")
        for _ in range(2):
            self.ok("caption", "@" + listed, "-o", self.path(), *FAST)
            self.assertEqual(
                [r["image"] for r in self.rows()], [self.names[0]] * 4 + self.names[1:2]
            )

    def test_other_options_are_an_error(self):
        self.ok(*self.job)
        before = (self.folder / "out.jsonl").read_bytes()
        for options, what in (
            (("--beams", 1, "--max-length", 9), "--max-length 8, not 9"),
            (("--beams", 2, "--max-length", 8), "--beams 1, not 2"),
            ((*FAST, "--prompt", "a"), '--prompt null, not "a"'),
            ((*FAST, "--trigger", "sks"), '--trigger "", not "sks"'),
            ((*FAST, "--background", "red"), "--background null, not [255,0,0]"),
            ((*FAST, "--sidecar", ".txt"), '--sidecar null, not ".txt"'),
        ):
            with self.subTest(options=options):
                self.fails(
                    2, f"was begun with {what}; give what it was begun with", *self.begun, *options
                )
        self.assertEqual((self.folder / "out.jsonl").read_bytes(), before)
        # What changes no caption may change.
        self.ok(*self.job, "--batch", 2, "--threads", 1)

    def test_files_that_no_job_wrote(self):
        for output in ("out.jsonl", "out.json"):
            self.write(output, "[]\n")
            self.fails(
                2,
                f"{self.path(output)} exists",
                "caption",
                self.folder / "pictures",
                "-o",
                self.path(output),
                *FAST,
            )
            self.assertEqual((self.folder / output).read_text(), "[]\n")
            self.assertFalse((self.folder / (output + ".job")).exists())

    def test_failures(self):
        bad = self.write("pictures/0001a.png", "no picture")
        result = run(*self.job)
        self.assertEqual((result.code, result.out), (1, ""))
        (error,) = self.rows("out.errors.jsonl")
        self.assertEqual(error["image"], bad)
        self.assertIn("not a picture that can be read", error["error"])
        self.assertEqual([row["image"] for row in self.rows()], self.names)
        # It is not tried again, but told.
        again = run(*self.job)
        self.assertEqual(again.code, 1)
        self.assertNotIn("error:", again.err)
        self.assertIn("6 pictures done, 1 failed", again.err)
        retried = run(*self.job, "--retry-errors")
        self.assertEqual(retried.code, 1)
        self.assertEqual(self.rows("out.errors.jsonl"), [error])
        shutil.copy(self.names[0], bad)
        self.ok(*self.job, "--retry-errors")
        self.assertEqual((self.folder / "out.errors.jsonl").read_text(), "")
        self.assertEqual([row["image"] for row in self.rows()], [*self.names, bad])

    def test_jobs_whose_outputs_differ_in_their_endings(self):
        """Each keeps its own failures, whichever comes first."""
        bad = self.write("pictures/bad.png", "no picture")
        self.assertEqual(run(*self.job).code, 1)
        other = ("caption", self.folder / "pictures", "-o", self.path("out.csv"), *FAST)
        for _ in range(2):
            result = run(*other)
            self.assertEqual(result.code, 1)
            self.assertIn("6 pictures done, 1 failed", result.err)
        names = ("out.errors.jsonl", "out.csv.errors.jsonl")
        for name in names:
            self.assertEqual([row["image"] for row in self.rows(name)], [bad])
        os.unlink(bad)
        self.ok(*other, "--retry-errors")
        self.assertEqual([len(self.rows(name)) for name in names], [1, 0])

    def test_ctrl_c_keeps_what_is_done(self):
        self.names = self.pictures(40)
        for number in (signal.SIGINT, signal.SIGTERM) * 2:
            process = subprocess.Popen(
                [PROGRAM, *map(str, self.job), "--batch", "1"], stderr=subprocess.PIPE
            )
            time.sleep(random.uniform(0.05, 0.4))
            process.send_signal(number)
            _, err = process.communicate(timeout=TIMEOUT)
            # -number: it came before the program could catch it.
            self.assertIn(process.returncode, (0, 128 + number, -number), err)
        self.ok(*self.job)
        self.assertEqual([row["image"] for row in self.rows()], self.names)

    def test_a_full_disk(self):
        """A limit on the size of files, under which the job gets on piece by piece."""
        self.names = self.pictures(60)
        for limit in (2000, 4000, 8000):
            small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            result = run(*self.job, preexec=small)
            self.assertEqual(result.code, 1, result.err)
            self.assertIn("File too large", result.err)
            for row in self.rows():
                self.assertIn("caption", row)
        self.ok(*self.job)
        self.assertEqual(sorted(row["image"] for row in self.rows()), self.names)


class Killed(JobTest):
    """Killed at random moments and started again, each picture has one row in the end."""

    def setUp(self):
        super().setUp()
        self.names = self.pictures(40)
        bad = [self.write(f"pictures/{i:04}x.png", "bad") for i in range(0, 40, 8)]
        self.random = random.Random(7)
        self.bad = sorted(bad)
        self.expected = captions_of(self.names)

    def start(self, *job):
        return subprocess.Popen(
            [PROGRAM, *map(str, job), "--threads", "1", "--batch", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def kill(self, process):
        """Whether it was at work."""
        process.kill()
        process.communicate(timeout=TIMEOUT)
        return process.returncode == -signal.SIGKILL

    def kill_and_finish(self, workers, kills, *job):
        """Kills one worker after the other, unless the job is complete before; returns how many."""
        running = [self.start(*job) for _ in range(workers)]
        killed = 0
        while killed < kills and any(p.poll() is None for p in running):
            time.sleep(self.random.uniform(0, 0.3 * workers))
            victim = self.random.randrange(workers)
            killed += self.kill(running[victim])
            running[victim] = self.start(*job)
        ends = [(p.communicate(timeout=TIMEOUT)[1], p.returncode) for p in running]
        last = self.start(*job)
        err = last.communicate(timeout=TIMEOUT)[1]
        self.assertEqual(last.returncode, 1, (err, ends))
        return killed

    def check_rows(self):
        counts = Counter(row["image"] for row in self.rows())
        self.assertEqual(counts, Counter(self.names))
        for row in self.rows():
            self.assertEqual(row["caption"], self.expected[row["image"]])
        errors = Counter(row["image"] for row in self.rows("out.errors.jsonl"))
        self.assertEqual(errors, Counter(self.bad))

    def rounds(self, workers):
        killed = 0
        while killed < KILLS:
            for name in ("out.jsonl", "out.jsonl.job", "out.errors.jsonl"):
                (self.folder / name).unlink(missing_ok=True)
            job = ("caption", self.folder / "pictures", "-o", self.path(), *FAST)
            killed += self.kill_and_finish(workers, min(5, KILLS - killed), *job)
            self.check_rows()

    def test_one_worker(self):
        self.rounds(1)

    def test_three_workers(self):
        self.rounds(3)

    def journals(self):
        return list((self.folder / "pictures").glob(".blip-caption.txt.*.job"))

    def test_sidecars_that_are_added_to(self):
        for path in self.bad:
            os.unlink(path)
        options = ("--sidecar", ".txt", "--existing", "append")
        job = ("caption", self.folder / "pictures", *options, *FAST)
        killed = 0
        while killed < KILLS:
            for name in self.names:
                sidecar_of(name).write_text("mine\n")
            last, complete = sidecar_of(self.names[-1]), False
            while not complete:
                process = self.start(*job)
                time.sleep(self.random.uniform(0, 0.3))
                killed += self.kill(process)
                # Started again, a complete one would append again.
                complete = not self.journals() and last.read_text() != "mine\n"
            for name in self.names:
                text = sidecar_of(name).read_text("utf-8")
                self.assertEqual(text, f"mine, {self.expected[name]}\n")


if __name__ == "__main__":
    unittest.main()
