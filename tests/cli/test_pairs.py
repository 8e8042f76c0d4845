"""Pictures with texts or questions of their own, a JSON object a line: blip match, ask and capfilt
over them, as jobs too.
"""

import csv
import json
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
from job_harness import JobTest

KILLS = 2 if SANITIZED else 6
FAST = ("--beams", 1, "--max-length", 12)


class PairTest(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(4)

    def pairs(self, rows, name="pairs.jsonl"):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        return self.write(name, "".join(line + "\n" for line in lines))

    def scores(self, name, *texts, options=()):
        """What the command says of a picture and texts that are given."""
        more = [word for text in texts for word in ("--text", text)]
        return self.ok("match", name, *more, *options, "--json").objects


class Match(PairTest):
    def test_each_row_has_its_own_texts(self):
        texts = ["a clock", "a cat and a bus", "a balloon"]
        pairs = self.pairs(
            [
                {"id": "ü1", "image": self.names[0], "text": texts[0]},
                {"image": self.names[1], "texts": texts[:2], "extra": [1, {"a": None}]},
                {"image": self.names[1], "caption": texts[2]},
                {"image": self.names[2], "captions": texts[1:]},
            ]
        )
        alone = {
            (name, o["text"]): (o["match_probability"], o["cosine"])
            for name in self.names[:3]
            for o in self.scores(name, *texts)
        }
        self.ok("match", pairs, "-o", self.path())
        rows = self.rows()
        printed = self.ok("match", pairs, "--json", "--batch", 1).objects
        self.assertEqual(rows, printed)
        wanted = [(0, 0), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
        for row, (picture, text) in zip(rows, wanted, strict=True):
            self.assertEqual((row["image"], row["text"]), (self.names[picture], texts[text]))
            scores = row["match_probability"], row["cosine"]
            self.assertEqual(scores, alone[row["image"], row["text"]])
        self.assertEqual(list(rows[0]), ["id", "image", "text", "match_probability", "cosine"])
        self.assertEqual(rows[0]["id"], "ü1")
        self.assertEqual(rows[1]["extra"], [1, {"a": None}])
        self.assertNotIn("texts", rows[1])
        self.assertEqual(rows[3]["caption"], texts[2])
        lines = self.ok("match", pairs).lines
        self.assertEqual(len(lines), 6)
        self.assertTrue(lines[0].startswith(self.names[0] + "\t"))
        self.assertTrue(lines[0].endswith("\ta clock"))

    def test_csv_and_options(self):
        pairs = self.pairs([{"image": self.names[0], "text": 'a "clock", yes'}])
        self.ok("match", pairs, "-o", self.path("out.csv"), "--head", "itm")
        (score,) = self.scores(self.names[0], 'a "clock", yes', options=("--head", "itm"))
        read = list(csv.reader((self.folder / "out.csv").read_text().splitlines()))
        self.assertEqual(
            read,
            [
                ["image", "text", "match_probability", "cosine"],
                [self.names[0], 'a "clock", yes', str(score["match_probability"]), ""],
            ],
        )
        self.fails(
            2,
            'was begun with --head "itm", not "all"',
            *("match", pairs, "-o", self.path("out.csv")),
        )
        self.fails(2, "scores go to files that end", "match", pairs, "-o", self.path("out.json"))

    def test_pictures_with_texts_of_the_command_line(self):
        job = ("match", self.folder / "pictures", "--text", "a clock", "--text", "two")
        self.ok(*job, "-o", self.path())
        self.assertEqual(self.rows(), self.ok(*job, "--json").objects)
        self.assertIn("4 pictures done, 0 failed", self.ok(*job, "-o", self.path()).err)
        self.fails(
            2,
            'was begun with --text ["a clock","two"], not ["a clock"]',
            *("match", self.folder / "pictures", "--text", "a clock", "-o", self.path()),
        )
        # Rows without a text take those of the command line, the others keep theirs.
        pairs = self.pairs([{"image": self.names[0]}, {"image": self.names[1], "text": "a bus"}])
        objects = self.ok("match", pairs, "--text", "a clock", "--json").objects
        self.assertEqual([o["text"] for o in objects], ["a clock", "a bus"])
        result = run("match", self.names[0], pairs, "--json")
        self.assertEqual(result.code, 1)
        self.assertIn("nothing is asked of it; give --text", result.objects[0]["error"])
        self.assertIn('line 1: it has no "text"', result.objects[1]["error"])
        self.assertEqual(result.objects[2]["text"], "a bus")

    def test_rows_that_are_bad(self):
        good = {"image": self.names[0], "text": "a clock"}
        bad = [
            ('{"image": "a.png", "text"', "is not a JSON object: "),
            ('["a.png", "a clock"]', "an object such as"),
            ('{"image": "a.png", "image": "b.png", "text": "a"}', "is not a JSON object: "),
            ({"image": self.names[0]}, 'it has no "text"'),
            ({"text": "a clock"}, 'it has no "image"'),
            ({"image": 7, "text": "a"}, 'its "image" is 7, not a text'),
            ({"image": "", "text": "a"}, 'its "image" is empty'),
            ({"image": self.names[0], "text": " "}, 'its "text" is empty'),
            ({"image": self.names[0], "text": ["a", None]}, 'its "text" is null, not a text'),
            ({"image": self.names[0], "texts": []}, 'its "texts" is empty'),
            ({"image": self.names[0], "text": "a\0b"}, 'its "text" holds a NUL'),
            ({"id": 1, "image": "/nonexistent/ü.png", "text": "a"}, "No such file"),
            ({"image": str(self.folder), "text": "a"}, "Is a directory"),
        ]
        pairs = self.pairs([good, *(row for row, _ in bad), "", good])
        result = run("match", pairs, "-o", self.path())
        self.assertEqual((result.code, result.out), (1, ""))
        scored = [{k: row[k] for k in good} for row in self.rows()]
        self.assertEqual(scored, [good, good])
        errors = self.rows("out.errors.jsonl")
        for error, (row, message) in zip(errors, bad, strict=True):
            self.assertIn(message, error.pop("error"))
            self.assertEqual(error, {"row": row} if isinstance(row, str) else row)
        self.assertIn(f"{pairs}, line 2", result.err)
        self.assertIn("2 rows done, 13 failed", result.err)
        # Mended, what failed is a file of pairs.
        mended = [e | {"image": self.names[1], "text": "b"} for e in errors[3:]]
        self.ok("match", self.pairs(mended, "mended.jsonl"), "-o", self.path("second.jsonl"))
        self.assertEqual(len(self.rows("second.jsonl")), 10)
        self.assertNotIn("error", self.rows("second.jsonl")[0])

    def test_a_row_that_is_too_long(self):
        row = {"image": self.names[0], "text": "x" * (17 << 20)}
        pairs = self.pairs([row, {"image": self.names[0], "text": "a clock"}])
        result = run("match", pairs, "--json")
        self.assertEqual(result.code, 1)
        self.assertIn("line 1: it is longer than 16 MiB", result.objects[0]["error"])
        self.assertEqual(result.objects[1]["text"], "a clock")

    def test_where_pictures_are(self):
        shutil.copy(self.names[0], self.folder / "pictures" / "ü x.png")
        pairs = self.pairs([{"file_name": "ü x.png", "text": "a"}], "pictures/metadata.jsonl")
        (row,) = self.ok("match", pairs, "--json").objects
        self.assertEqual(row["image"], str(self.folder / "pictures" / "ü x.png"))
        pairs = self.pairs([{"image": "0001.png", "text": "a"}])
        self.assertEqual(run("match", pairs).code, 1)
        (row,) = self.ok("match", pairs, "--images", self.folder / "pictures", "--json").objects
        self.assertEqual(row["image"], "0001.png")
        self.ok("match", pairs, cwd=self.folder / "pictures")
        self.fails(2, "there is no folder", "match", pairs, "--images", "/nonexistent")
        self.fails(
            2,
            "--images has no effect without PAIRS.jsonl",
            *("match", self.names[0], "--text", "a", "--images", self.folder),
        )

    def test_captions_are_pairs(self):
        self.ok("caption", self.folder / "pictures", "-o", self.path("c.jsonl"), *FAST)
        self.ok("match", self.path("c.jsonl"), "-o", self.path())
        for row, caption in zip(self.rows(), self.rows("c.jsonl"), strict=True):
            self.assertEqual({k: row[k] for k in caption}, caption)
            self.assertEqual(row["text"], caption["caption"])


class Ask(PairTest):
    def test_questions(self):
        questions = ["what is in the picture?", "what colour is the background?"]
        pairs = self.pairs(
            [
                {"question_id": 7, "image": self.names[0], "question": questions[0]},
                {"question_id": 8, "image": self.names[0], "question": questions[1]},
                {"question_id": 9, "image": self.names[1], "questions": questions},
            ]
        )
        wanted = [(0, 0, 7), (0, 1, 8), (1, 0, 9), (1, 1, 9)]
        self.ok("ask", pairs, "-o", self.path())
        for row, (picture, question, number) in zip(self.rows(), wanted, strict=True):
            (alone,) = self.ok(
                "ask", self.names[picture], "--question", questions[question], "--json"
            ).objects
            self.assertEqual(row, {"question_id": number} | alone)
        self.ok("ask", pairs, "-o", self.path("out.csv"))
        read = list(csv.reader((self.folder / "out.csv").read_text().splitlines()))
        self.assertEqual(read[0], ["image", "question", "answer"])
        self.assertEqual([r[2] for r in read[1:]], [row["answer"] for row in self.rows()])
        self.ok("ask", pairs, "-o", self.path("vqa.json"))
        self.assertEqual(
            json.loads((self.folder / "vqa.json").read_text()),
            [{"question_id": r["question_id"], "answer": r["answer"]} for r in self.rows()],
        )
        lines = self.ok("ask", pairs).lines
        answer = self.rows()[0]["answer"]
        self.assertEqual(lines[0], f"{self.names[0]}\t{questions[0]}\t{answer}")

    def test_vqa_results_need_numbers(self):
        pairs = self.pairs([{"image": self.names[0], "question": "what?"}])
        result = run("ask", pairs, "-o", self.path("vqa.json"))
        self.assertEqual(result.code, 1)
        self.assertIn('need the "question_id"', result.err)

    def test_ranking(self):
        answers = self.write("answers", "yes\nno\nred\n")
        pairs = self.pairs([{"image": self.names[0], "question": "is it red?"}])
        job = ("ask", pairs, "--answers", answers, "--num-answers", 2)
        self.ok(*job, "-o", self.path())
        (row,) = self.rows()
        self.assertEqual(len(row["answers"]), 2)
        self.assertEqual(self.ok(*job, "--json").objects, [row])
        self.write("answers", "yes\nno\n")
        self.fails(2, "was begun with --answers", *job, "-o", self.path())

    def test_without_questions(self):
        self.fails(
            2, "--output needs questions", "ask", self.folder / "pictures", "-o", self.path()
        )


class CapFilt(PairTest):
    def setUp(self):
        super().setUp()
        true = self.ok("caption", *self.names, "--json").objects
        self.true = [o["caption"] for o in true]
        rows = [{"id": i, "image": n, "text": self.true[i]} for i, n in enumerate(self.names)]
        rows[2]["text"] = "a plate of soup"
        self.rows_in = rows
        self.given = self.pairs(rows)

    def check(self, row, keep=0.5):
        probability = row["match_probability"]
        (alone,) = self.scores(row["image"], row["text"], options=("--head", "itm"))
        self.assertEqual(probability, alone["match_probability"])
        self.assertEqual(row["kept"], probability > keep)
        sign = ">" if row["kept"] else "<="
        self.assertEqual(row["reason"], f"itm {probability:.4f} {sign} {keep}")

    def test_given_and_made_texts(self):
        result = self.ok(
            *("capfilt", self.given, "-o", self.path(), "--num-captions", 2, "--seed", 3),
            *("--kept", self.path("kept.json"), "--dropped", self.path("dropped.csv")),
        )
        made = self.ok(
            *("caption", *self.names, "--json", "--num-captions", 2, "--sample", "--top-p", 0.9),
            *("--seed", 3),
        ).objects
        made = {o["image"]: [c["caption"] for c in o["captions"]] for o in made}
        rows = self.rows()
        self.assertEqual(len(rows), 12)
        for i, name in enumerate(self.names):
            given, *others = (row for row in rows if row["image"] == name)
            self.assertEqual((given["source"], given["text"]), ("web", self.rows_in[i]["text"]))
            self.assertEqual([row["source"] for row in others], ["synthetic"] * 2)
            self.assertEqual([row["text"] for row in others], made[name])
            self.assertEqual({row["id"] for row in (given, *others)}, {i})
            before = set()
            for row in (given, *others):
                if row["text"] in before:
                    self.assertFalse(row["kept"])
                    self.assertIsNone(row["match_probability"])
                    self.assertIn("the same as a text", row["reason"])
                else:
                    self.check(row)
                before.add(row["text"])
        self.assertFalse(rows[6]["kept"])
        kept = [row for row in rows if row["kept"]]
        self.assertEqual(
            json.loads((self.folder / "kept.json").read_text()),
            [{"image": row["image"], "caption": row["text"]} for row in kept],
        )
        dropped = list(csv.reader((self.folder / "dropped.csv").read_text().splitlines()))
        self.assertEqual(
            dropped[1:], [[row["image"], row["text"]] for row in rows if not row["kept"]]
        )
        summary = json.loads((self.folder / "out.summary.json").read_text())
        web = sum(row["kept"] for row in rows if row["source"] == "web")
        synthetic = len(kept) - web
        self.assertEqual(
            summary,
            {
                "web": {"texts": 4, "kept": web},
                "synthetic": {"texts": 8, "kept": synthetic},
                "failed": 0,
                "keep": ["itm>0.5"],
            },
        )
        self.assertIn(f"kept {web} of 4 web texts, {synthetic} of 8 synthetic texts", result.err)
        self.assertEqual(sorted(p.name for p in self.folder.glob("*.rows")), [])

    def test_files_of_others_are_not_replaced(self):
        job = ("capfilt", self.given, "-o", self.path(), "--beams", 1)
        self.ok(*job)
        before = Path(self.given).read_bytes()
        mine = self.write("mine.csv", "mine")
        for option, path in (("--kept", mine), ("--dropped", self.given)):
            self.fails(2, f"{path} exists, and is not as this job wrote it", *job, option, path)
        self.assertEqual((Path(mine).read_text(), Path(self.given).read_bytes()), ("mine", before))
        kept = ("--kept", self.path("kept.jsonl"))
        self.ok(*job, *kept)
        self.ok(*job, *kept)
        summary = self.folder / "out.summary.json"
        summary.write_text("mine")
        self.fails(2, "out.summary.json exists, and is not as", *job)
        self.assertEqual(summary.read_text(), "mine")

    def test_integers_of_more_than_64_bits(self):
        pairs = self.pairs(
            [{"image": self.names[0], "text": "a", "id": n} for n in (2**64, 2**63, -(2**64))]
        )
        result = run("match", pairs, "--json")
        self.assertEqual((result.code, len(result.objects)), (1, 3))
        self.assertEqual([o["id"] for o in result.objects if "error" not in o], [2**63])
        self.assertIn("64 bits do not hold the number 18446744073709551616", result.out)

    def test_rules(self):
        strict = self.ok("capfilt", self.given, "--keep", "itm>=0.9999", "--json").objects
        for row in strict:
            self.assertEqual(row["kept"], (row["match_probability"] or 0) >= 0.9999, row)
        both = self.ok(
            "capfilt", self.given, "--keep", "itm > 0", "--keep", "itc>=0.2", "--json"
        ).objects
        both = [row for row in both if row["match_probability"] is not None]
        for row in both:
            self.assertEqual(row["kept"], row["cosine"] >= 0.2, row)
            sign = ">=" if row["kept"] else "<"
            self.assertTrue(row["reason"].endswith(f"itc {row['cosine']:.4f} {sign} 0.2"), row)
        for bad in ("itm", "itm<0.5", "itm>", "itm>x", "itm>2", "foo>0.5", "itm>0.5x", ""):
            self.fails(2, "--keep", "capfilt", self.given, "--keep", bad)

    def test_pictures_alone_and_lines(self):
        result = self.ok("capfilt", self.folder / "pictures", "--beams", 3)
        lines = [line.split("\t") for line in result.lines]
        self.assertEqual([line[0] for line in lines], self.names)
        self.assertEqual([line[4] for line in lines], self.true)
        self.assertEqual({line[1] for line in lines}, {"synthetic"})
        self.assertIn("of 4 synthetic texts", result.err)

    def test_rows_of_one_picture_that_stand_together(self):
        rows = [{"image": self.names[0], "text": text} for text in ("a clock", "a cat", "a bus")]
        pairs = self.pairs([*rows, {"image": self.names[1], "text": "b"}, rows[0]])
        objects = self.ok("capfilt", pairs, "--json", "--batch", 1).objects
        self.assertEqual(objects, self.ok("capfilt", pairs, "--json", "--batch", 4).objects)
        sources = [o["source"][0] for o in objects]
        self.assertEqual("".join(sources), "wswwwsws")

    def test_two_models(self):
        rows = self.ok("capfilt", self.given, "--json").objects
        bundled = self.ok("info", "--json").objects[0]["path"]
        other = self.ok("capfilt", self.given, "--json", "--filter-model", bundled).objects
        self.assertEqual(rows, other)

    def test_refusals(self):
        for options, message in (
            (("--kept", self.path("k.json")), "--kept needs --output"),
            (("-o", self.path("out.csv")), "texts go to files that end with .jsonl"),
            (("-o", self.path(), "--kept", self.path()), "is another file of this job"),
            (("-o", self.path(), "--kept", self.given), "exists, and is not as this job wrote it"),
            (("--beams", 3, "--top-p", 0.5), "--top-p has no effect with --beams"),
            (("--num-captions", 3, "--beams", 2), "3 captions cannot come from --beams 2"),
        ):
            with self.subTest(options=options):
                self.fails(2, message, "capfilt", self.given, *options)


class Jobs(PairTest):
    """Ended at random moments and started again, each row has its results once."""

    def start(self, *job):
        return subprocess.Popen(
            [PROGRAM, *map(str, job), "--threads", "1", "--batch", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def job_rows(self):
        rows = [
            {"id": i % 9, "image": self.names[i // 2 % 4], "text": f"a clock {i % 9}"}
            for i in range(24)
        ]
        rows[5] = {"id": 5, "image": "/nonexistent.png", "text": "a"}
        return rows

    def expect_once(self, rows, identity=lambda row: (row["id"], row["image"], row["text"])):
        counts = Counter(map(identity, self.rows()))
        self.assertEqual(counts, Counter(identity(r) for r in rows if "none" not in r["image"]))
        self.assertEqual([row["id"] for row in self.rows("out.errors.jsonl")], [5])

    def test_killed(self):
        rows, chance = self.job_rows(), random.Random(3)
        pairs = self.pairs(rows)
        for command in ("match", "capfilt"):
            killed = 0
            while killed < KILLS:
                for name in ("jsonl", "jsonl.job", "errors.jsonl", "summary.json"):
                    (self.folder / f"out.{name}").unlink(missing_ok=True)
                running = [self.start(command, pairs, "-o", self.path()) for _ in range(2)]
                for _ in range(3):
                    time.sleep(chance.uniform(0, 0.25))
                    victim = chance.randrange(2)
                    running[victim].kill()
                    running[victim].communicate(timeout=TIMEOUT)
                    killed += running[victim].returncode == -signal.SIGKILL
                    running[victim] = self.start(command, pairs, "-o", self.path())
                for process in running:
                    self.assertEqual(process.communicate(timeout=TIMEOUT) and process.returncode, 1)
                if command == "match":
                    self.expect_once(rows)
                    continue
                whole = run(command, pairs, "--json").objects
                texts = lambda objects: Counter(
                    (o["id"], o["image"], o["source"], o["text"]) for o in objects
                )
                self.assertEqual(texts(self.rows()), texts(o for o in whole if "error" not in o))

    def test_a_full_disk(self):
        rows = self.job_rows()
        pairs = self.pairs(rows)
        for limit in (1200, 2500):
            small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            result = run("match", pairs, "-o", self.path(), preexec=small)
            self.assertEqual(result.code, 1)
            self.assertIn("File too large", result.err)
        self.assertEqual(run("match", pairs, "-o", self.path()).code, 1)
        self.expect_once(rows)

    def test_shards_and_rows_that_come_later(self):
        rows = self.job_rows()
        pairs = self.pairs(rows)
        ids = []
        for i in (1, 2):
            run("match", pairs, "-o", self.path(f"{i}.jsonl"), "--shard", f"{i}/2")
            ids += [row["text"] for row in self.rows(f"{i}.jsonl")]
        self.assertEqual(sorted(ids), sorted(r["text"] for r in rows if "none" not in r["image"]))
        run("match", pairs, "-o", self.path())
        before = self.rows()
        self.pairs([*rows, {"id": 99, "image": self.names[0], "text": "late"}])
        self.assertIn("24 rows done, 1 failed", run("match", pairs, "-o", self.path()).err)
        self.assertEqual(self.rows()[:-1], before)
        self.assertEqual(self.rows()[-1]["id"], 99)
        self.assertIn("0 pictures", run("match", pairs, "-o", self.path()).err)


if __name__ == "__main__":
    unittest.main()
