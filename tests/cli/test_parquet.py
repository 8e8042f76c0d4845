"""Parquet files, which the Python package reads and writes: what the program says to it and makes
of its answers. tests/python/test_parquet.py has the package itself.
"""

import json
import os
import sys
import unittest

from harness import EMULATED, PROGRAM, SCENES, run
from job_harness import FAST, JobTest, captions_of

# A python3 whose Parquet files are lists of answers: pictures' names, null, why there is none, or
# what the package would say. What is asked of it goes to a log.
FAKE = """#!%s
import json, os, sys
if sys.argv[1] == "-c":
    sys.exit(os.environ.get("BLIP_FAKE_MISSING") == "1")
assert sys.argv[1:3] == ["-m", "blipcpp.parquet"], sys.argv
words = sys.argv[3:]
log = open(os.environ["BLIP_FAKE_LOG"], "a", buffering=1)
log.write(json.dumps(words) + "\\n")
out = sys.stdout.buffer
def say(value):
    out.write(json.dumps(value).encode() + b"\\n")
def give(data):
    say({"bytes": len(data)})
    out.write(data)
if words[0] == "write":
    rows = [json.loads(line) for line in open(words[1])]
    give(b"PAR1 " + str(len(rows)).encode())
    give(b" rows")
    if os.environ.get("BLIP_FAKE_FAIL"):
        say({"error": "the disk is on fire"})
    elif os.environ.get("BLIP_FAKE_FAIL") is None:
        say({"end": True})
    sys.exit()
for message in json.load(open(words[1])):
    if "raw" in message:
        out.write(message["raw"].encode())
        break
    if "rows" not in message:
        say(message)
        continue
    rows = message["rows"]
    say({"names": [name for name, _ in rows]})
    out.flush()
    wanted = sys.stdin.readline()
    log.write(wanted)
    assert len(wanted) == len(rows) + 1
    for one, (_, picture) in zip(wanted, rows):
        if one == "1":
            data = picture and open(picture, "rb").read()
            give(data) if picture else say({"why": "the row has no picture's bytes"})
else:
    say({"end": True})
"""
NAMES = ["balloons", "clock", "cat-bus", "fox-crown"]
INSTALL = "install Python 3.8 or newer and, from a checkout of blip.cpp, pip install './python"


class Parquet(JobTest):
    def setUp(self):
        super().setUp()
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "python3").write_text(FAKE % sys.executable)
        (folder / "python3").chmod(0o755)
        self.log = self.folder / "log"
        self.env = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "BLIP_FAKE_LOG": str(self.log),
        }

    def parquet(self, *messages, name="a.parquet"):
        return self.write(name, json.dumps([{"column": "image"}, *messages]))

    def four(self, name="a.parquet"):
        rows = [(f"{n}.png", str(SCENES / f"{n}.png")) for n in NAMES]
        return self.parquet({"rows": rows[:3]}, {"rows": rows[3:]}, name=name)

    def asked(self):
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return [json.loads(line) if line.startswith("[") else line for line in lines]

    def captions(self):
        known = captions_of([str(SCENES / f"{n}.png") for n in NAMES])
        return list(known.values())

    def test_rows_are_pictures(self):
        path = self.four()
        result = self.ok("caption", path, *FAST, env=self.env)
        expected = [f"{path}/{n}.png\t{c}" for n, c in zip(NAMES, self.captions())]
        self.assertEqual(result.lines, expected)
        # The rows are counted by another, which reads no pictures.
        asked = self.asked()
        self.assertIn("111", asked)
        self.assertLessEqual(set(map(str, asked)), {str(["read", path]), "111", "1", "000", "0"})
        self.ok("caption", path, "--image-column", "x", "-q", *FAST, env=self.env)
        self.assertEqual(self.asked(), [["read", path, "x"], "111", "1"])

    def test_what_was_done_is_not_read(self):
        path = self.four()
        job = ("caption", path, "-o", self.path(), "-q", *FAST)
        self.ok(*job, "--exclude", "c*.png", env=self.env)
        self.assertEqual(self.asked(), [["read", path], "100", "1"])
        self.ok(*job, env=self.env)
        self.assertEqual(self.asked(), [["read", path], "011", "0"])
        self.assertEqual(
            {row["image"]: row["caption"] for row in self.rows()},
            {f"{path}/{n}.png": c for n, c in zip(NAMES, self.captions())},
        )
        self.ok(*job, env=self.env)
        self.assertEqual(self.asked(), [["read", path], "000", "0"])

    def test_names_that_come_twice(self):
        row = ("x.png", str(SCENES / "clock.png"))
        other = ("x.png", str(SCENES / "balloons.png"))
        path = self.parquet({"rows": [row, other]}, {"rows": [row]})
        for _ in range(2):
            self.ok("caption", path, "-o", self.path(), "-q", *FAST, env=self.env)
            known = captions_of([row[1], other[1]])
            self.assertEqual(
                [r["caption"] for r in self.rows()], [known[p] for p in (row[1], other[1], row[1])]
            )

    def test_rows_without_pictures(self):
        bad = self.write("bad", "no picture")
        path = self.parquet({"rows": [("0", None), ("1", bad), ("2", str(SCENES / "clock.png"))]})
        result = run("caption", path, "--json", *FAST, env=self.env)
        self.assertEqual(result.code, 1)
        errors = [o.get("error") for o in result.objects]
        self.assertEqual(errors[0], f"{path}/0: the row has no picture's bytes")
        self.assertIn("not a picture", errors[1])
        self.assertIsNone(errors[2])
        result = run("caption", path, "--max-bytes", 5, *FAST, env=self.env)
        self.assertIn(f"{path}/1 is larger than the limit of 5 bytes", result.err)

    def test_answers_that_are_none(self):
        good = self.four("good.parquet")
        for messages, why in (
            ([{"error": "cannot read it: bad luck"}], "cannot read it: bad luck"),
            ([{"error": "no column fits", "columns": "none"}], "no column fits"),
            ([{"raw": ""}], "python3 -m blipcpp.parquet ended before it was done"),
            ([{"raw": "Traceback\n"}], "python3 -m blipcpp.parquet ended before it was done"),
            ([{"column": "x"}, {"raw": "[]\n"}], "ended before it was done"),
            ([{"column": "x"}, {"raw": '{"names": ["a"]}\n'}], "ended before it was done"),
            (
                [{"column": "x"}, {"raw": '{"names": ["a"]}\n{"bytes": 9}\nshort'}],
                "python3 ended before it was done",
            ),
            ([{"column": "x"}], "no row in "),
        ):
            path = self.write("bad.parquet", json.dumps(messages))
            with self.subTest(messages=messages):
                result = run("caption", path, good, *FAST, env=self.env)
                self.assertEqual((result.code, len(result.lines)), (1, 4))
                self.assertIn(why, result.err)

    def test_folders(self):
        folder = self.folder / "data"
        folder.mkdir()
        self.four("data/b.parquet")
        self.write(
            "data/a.parquet", json.dumps([{"error": "no column holds pictures", "columns": "none"}])
        )
        self.pictures(1, "data/c")
        result = self.ok("caption", folder, *FAST, env=self.env)
        self.assertEqual(len(result.lines), 5)
        self.assertIn("left out: 1 file that is no picture", result.err)
        several = {"error": "several columns hold bytes: a, b", "columns": "several"}
        self.write("data/d.parquet", json.dumps([several]))
        result = run("caption", folder, *FAST, env=self.env)
        self.assertEqual((result.code, len(result.lines)), (1, 5))
        self.assertIn("several columns hold bytes: a, b", result.err)
        (folder / "d.parquet").unlink()
        # The script whose options these are knows no Parquet.
        result = self.ok("make-captions", folder, "--recursive", "--beam_search", env=self.env)
        self.assertIn("left out: 2 files that are no pictures", result.err)

    def test_rows_have_no_files_beside(self):
        path = self.four()
        result = run("caption", path, "--sidecar", ".txt", *FAST, env=self.env)
        self.assertEqual(result.code, 1)
        self.assertIn("lies in an archive, which has no files beside; use --output", result.err)
        (self.folder / "shards").mkdir()
        shards = ("--write-shards", self.path("shards"))
        listed = "@" + self.write("list", path)
        result = run("caption", listed, "-o", self.path(), *shards, *FAST, env=self.env)
        self.assertIn("Parquet files are not copied, tar archives are", result.err)

    def test_output(self):
        names = self.pictures(3)
        out = self.path("out.parquet")
        job = ("caption", *names, "-o", out, *FAST)
        failed = run(*job, env={**self.env, "BLIP_FAKE_FAIL": "1"})
        self.assertEqual(failed.code, 1)
        self.assertIn("the disk is on fire", failed.err)
        self.assertFalse(os.path.exists(out))
        ended = run(*job, env={**self.env, "BLIP_FAKE_FAIL": ""})
        self.assertIn(f"cannot write {out}: python3 -m blipcpp.parquet ended", ended.err)
        self.assertFalse(os.path.exists(out))
        self.ok(*job, env=self.env)
        self.assertEqual((self.folder / "out.parquet").read_text(), "PAR1 3 rows")
        self.assertEqual([row["image"] for row in self.rows("out.parquet.rows")], names)
        self.assertEqual(
            sorted(p.name for p in self.folder.glob("out*")),
            ["out.errors.jsonl", "out.parquet", "out.parquet.job", "out.parquet.rows"],
        )
        self.assertIn(["write", out + ".rows"], self.asked())
        self.write("other.parquet", "mine")
        self.fails(
            *(2, "exists, and is not as this job wrote it", "caption", *names),
            *("-o", self.path("other.parquet")),
            env=self.env,
        )

    def test_other_commands(self):
        path = self.four()
        out = self.path("out.parquet")
        text = ("--text", "a clock")
        self.ok("match", path, *text, "-o", out, env=self.env)
        self.assertEqual(len(self.rows("out.parquet.rows")), 4)
        self.assertEqual(len(self.ok("ask", path, "--question", "a?", env=self.env).lines), 4)

    def test_kept_and_dropped(self):
        files = {"--kept": self.path("kept.parquet"), "--dropped": self.path("dropped.parquet")}
        job = (
            "capfilt",
            self.four(),
            "-o",
            self.path(),
            *(word for p in files.items() for word in p),
        )
        failed = run(*job, env={**self.env, "BLIP_FAKE_FAIL": "1"})
        self.assertEqual(failed.code, 1)
        self.assertIn("the disk is on fire", failed.err)
        self.assertFalse(os.path.exists(files["--kept"]))
        self.ok(*job, env=self.env)
        kept = [row["kept"] for row in self.rows()]
        self.assertEqual(len(kept), 4)
        for option, count in (("--kept", kept.count(True)), ("--dropped", kept.count(False))):
            with open(files[option], encoding="utf-8") as file:
                self.assertEqual(file.read(), f"PAR1 {count} rows")
            self.assertFalse(os.path.exists(files[option] + ".rows"))
        self.fails(
            *(3, "blipcpp.parquet, pyarrow.parquet", "capfilt", *self.pictures(1)),
            *("-o", self.path("b.jsonl"), "--kept", self.path("k.parquet")),
            env={**self.env, "BLIP_FAKE_MISSING": "1"},
        )

    def test_what_to_install(self):
        env = {**self.env, "BLIP_FAKE_MISSING": "1"}
        names = self.pictures(1)
        message = '`python3 -c "import blipcpp.parquet, pyarrow.parquet"` does not find: ' + INSTALL
        self.fails(3, message, "caption", *names, "-o", self.path("out.parquet"), env=env)
        path = self.write("bad.parquet", json.dumps([{"raw": ""}]))
        result = run("caption", path, *names, *FAST, env=env)
        self.assertEqual((result.code, len(result.lines)), (1, 1))
        self.assertIn(f"cannot read {path}: Parquet files are read and written by", result.err)
        self.assertIn(message, result.err)

    @unittest.skipIf(EMULATED, "the emulator is found by PATH")
    def test_no_python(self):
        result = run("caption", self.four(), env={"PATH": str(self.folder)}, program=PROGRAM)
        self.assertEqual(result.code, 1)
        self.assertIn(
            "by the Python package blipcpp, and there is no python3 here: inst", result.err
        )


if __name__ == "__main__":
    unittest.main()
