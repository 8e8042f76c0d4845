"""nlvr: statements about two pictures, from the command line and from JSON lines."""

import csv
import json
import os
import subprocess
import time
import unittest

from harness import PROGRAM, SOURCE, CliTest, run, scene_path, scenes

DATA = SOURCE / "tests" / "data"
MODEL = DATA / "nlvr" / "model.pth"
PICTURES = DATA / "parity" / "images"
CASES = json.loads((DATA / "nlvr" / "expected.json").read_text(encoding="utf-8"))
LABELLED = '{"images": %s, "text": "x", "label": %%s}' % json.dumps(
    [str(PICTURES / name) for name in CASES[0]["images"]]
)


def pictures(case):
    return [str(PICTURES / name) for name in case["images"]]


class Nlvr(CliTest):
    def nlvr(self, *arguments, **more):
        return self.ok("nlvr", "--model", MODEL, *arguments, **more)

    def test_answers_are_those_of_the_official_code(self):
        left, right = pictures(CASES[0])
        cases = [case for case in CASES if case["images"] == CASES[0]["images"]]
        texts = [argument for case in cases for argument in ("--text", case["text"])]
        objects = self.nlvr(left, right, *texts, "--json").objects
        self.assertEqual(len(objects), 7)
        for case, row in zip(cases, objects):
            self.assertEqual(list(row), ["images", "text", "answer", "probability"])
            self.assertEqual(row["images"], [left, right])
            self.assertEqual(row["text"], case["text"])
            self.assertAlmostEqual(row["probability"], case["probability"], delta=1e-4)
            self.assertEqual(row["answer"], case["probability"] > 0.5)
        self.assertEqual({row["answer"] for row in objects}, {True, False})
        lines = self.nlvr(left, right, *texts).lines
        self.assertEqual(
            lines,
            [
                "%s\t%.4f\t%s" % (str(r["answer"]).lower(), r["probability"], r["text"])
                for r in objects
            ],
        )
        statements = self.write("statements.txt", "\n".join(case["text"] for case in cases))
        self.assertEqual(self.nlvr(left, right, "--texts", statements).lines, lines)

    def test_number_types_and_a_converted_file(self):
        left, right = pictures(CASES[0])
        given = (left, right, "--text", CASES[0]["text"], "--json")
        (exact,) = self.nlvr(*given).objects
        gguf = self.folder / "nlvr.gguf"
        self.ok("convert", MODEL, gguf)
        self.assertEqual(self.ok("nlvr", "--model", gguf, *given).objects, [exact])
        for dtype in ("bf16", "int8"):
            (row,) = self.nlvr(*given, "--dtype", dtype).objects
            self.assertAlmostEqual(row["probability"], exact["probability"], delta=0.12)
            self.assertNotEqual(row["probability"], exact["probability"])

    def test_pairs_with_labels(self):
        rows = [{"images": case["images"], "sentence": case["text"]} for case in CASES]
        for row, label in zip(rows, (True, "False", 1, "true", 0)):
            row["label"] = label
        path = self.write("pairs.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))
        result = self.nlvr(path, "--images", PICTURES, "--json")
        self.assertEqual(len(result.objects), len(CASES))
        for case, row in zip(CASES, result.objects):
            self.assertEqual(row["images"], pictures(case))
            self.assertAlmostEqual(row["probability"], case["probability"], delta=1e-4)
        labels = [row.get("label") for row in result.objects]
        self.assertEqual(labels[:6], [True, False, True, True, False, None])
        right = sum(row["answer"] == row["label"] for row in result.objects if "label" in row)
        self.assertIn("accuracy %.2f %% of 5 labelled statements" % (100 * right / 5), result.err)
        lines = self.nlvr("-", "--images", PICTURES, stdin=json.dumps(rows[0]).encode()).lines
        columns = lines[0].split("\t")
        self.assertEqual(columns[:2] + columns[4:], pictures(CASES[0]) + [CASES[0]["text"]])

    def test_a_bad_row_fails_alone(self):
        good = json.dumps({"images": pictures(CASES[0]), "text": "a dog", "label": True})
        bad = [
            ("{", "is not a JSON object: parse error"),
            ("[1]", 'an object such as {"image": "a.jpg"} was expected'),
            ('{"images": ["a.png"], "text": "x"}', "not the names of two pictures"),
            ('{"images": ["a.png", 1], "text": "x"}', 'its "images" is 1, not a text'),
            ('{"images": ["a.png", ""], "text": "x"}', 'its "images" is empty'),
            ('{"image": "a.png", "text": "x"}', 'it has no "images"'),
            ('{"images": ["a", "b"]}', 'it has no "text"'),
            ('{"images": ["a", "b"], "text": [], "label": 1}', 'its "text" is empty'),
            (LABELLED % '"maybe"', 'its "label" is "maybe"; expected true or false'),
            ('{"images": ["a", "b"], "text": "x"}', "cannot open a: "),
        ]
        rows = "\n".join(text for row, _ in bad for text in (row, good))
        path = self.write("pairs.jsonl", rows)
        result = run("nlvr", "--model", MODEL, path, "--json")
        self.assertEqual(result.code, 1, result.err)
        self.assertEqual(len(result.objects), 2 * len(bad))
        for number, (row, message) in enumerate(bad):
            failed, judged = result.objects[2 * number : 2 * number + 2]
            self.assertIn(message, failed["error"])
            self.assertTrue("row" in failed or set(json.loads(row)) <= set(failed))
            self.assertEqual(judged["text"], "a dog")
        self.assertIn("of %d labelled" % len(bad), result.err)
        told = run("nlvr", "--model", MODEL, path)
        self.assertEqual(told.code, 1)
        self.assertIn("%s, line 3: an object such as" % path, told.err)
        self.assertEqual(len(told.lines), len(bad))

    def rows(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def test_a_job(self):
        rows = [
            {"id": i, "images": case["images"], "text": case["text"], "label": bool(i % 2)}
            for i, case in enumerate(CASES)
        ]
        rows[4]["images"] = ["gone.png", CASES[0]["images"][0]]
        path = self.write("pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        out = self.folder / "out.jsonl"
        job = ("nlvr", "--model", MODEL, path, "--images", PICTURES, "-o", out)
        result = run(*job)
        self.assertEqual((result.code, result.out), (1, ""))
        written = self.rows()
        self.assertEqual([row["id"] for row in written], [i for i in range(len(CASES)) if i != 4])
        for row in written:
            case = CASES[row["id"]]
            self.assertEqual(row["images"], pictures(case))
            self.assertAlmostEqual(row["probability"], case["probability"], delta=1e-4)
        self.assertEqual(
            list(written[0]), ["id", "images", "text", "label", "answer", "probability"]
        )
        right = sum(row["answer"] == row["label"] for row in written)
        accuracy = "accuracy %.2f %% of %d labelled" % (100 * right / len(written), len(written))
        self.assertIn(accuracy, result.err)
        (error,) = self.rows("out.errors.jsonl")
        self.assertEqual(error["id"], 4)
        self.assertIn("cannot open %s/gone.png" % PICTURES, error["error"])
        # What is there is not done again, and counts.
        before = out.read_bytes()
        again = run(*job)
        self.assertEqual((again.code, out.read_bytes()), (1, before))
        self.assertIn(accuracy, again.err)
        # New rows are done; the mended file of errors can be given.
        error["images"] = CASES[4]["images"]
        mended = self.write("mended.jsonl", json.dumps(error))
        result = run("nlvr", "--model", MODEL, path, mended, "--images", PICTURES, "-o", out)
        self.assertEqual(result.code, 1)  # for the row that is as it was
        self.assertEqual(self.rows()[-1]["id"], 4)
        self.assertEqual(len(self.rows()), len(CASES))
        for options, message in (
            (("--prepare-text",), "--prepare-text"),
            (("--max-text-length", 9), "--max-text-length"),
        ):
            self.fails(2, message, *job, *options)

    def test_a_job_of_several_texts_and_formats(self):
        texts = ["a dog", "two cats"]
        row = {"images": pictures(CASES[0]), "text": texts}
        path = self.write("pairs.jsonl", json.dumps(row) + "\n" + json.dumps(row))
        self.nlvr(path, "-o", self.folder / "out.jsonl")
        self.assertEqual([r["text"] for r in self.rows()], texts * 2)
        self.nlvr(path, "-o", self.folder / "out.csv")
        with open(self.folder / "out.csv", encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))
        self.assertEqual(table[0], ["images", "text", "answer", "probability"])
        self.assertEqual(json.loads(table[1][0]), row["images"])
        self.assertEqual([line[1] for line in table[1:]], texts * 2)
        self.assertEqual(float(table[2][3]), self.rows()[1]["probability"])
        # Each part has rows of its own.
        rows = [{**row, "id": i, "images": pictures(CASES[i])} for i in range(len(CASES))]
        path = self.write("many.jsonl", "\n".join(map(json.dumps, rows)))
        ids = []
        for i in (1, 2):
            self.nlvr(path, "-o", self.folder / f"{i}.jsonl", "--shard", f"{i}/2")
            ids += [r["id"] for r in self.rows(f"{i}.jsonl")]
        self.assertEqual(sorted(ids), sorted(2 * list(range(len(CASES)))))

    def test_workers_share_a_job(self):
        rows = [
            {"id": i, "images": pictures(CASES[i % len(CASES)]), "text": "a dog"} for i in range(60)
        ]
        path = self.write("pairs.jsonl", "\n".join(map(json.dumps, rows)))
        job = ("nlvr", "--model", MODEL, path, "-o", self.folder / "out.jsonl")
        job = [os.fspath(word) for word in job]
        workers = [subprocess.Popen([PROGRAM, *job], stderr=subprocess.DEVNULL) for _ in range(3)]
        for _ in range(4):
            time.sleep(0.1)
            workers[0].kill()
            workers[0].wait()
            workers[0] = subprocess.Popen([PROGRAM, *job], stderr=subprocess.DEVNULL)
        self.assertEqual([worker.wait() for worker in workers], [0, 0, 0])
        self.assertEqual(sorted(row["id"] for row in self.rows()), list(range(60)))

    def test_statements_prepared_as_the_official_evaluation_does(self):
        left, right = pictures(CASES[0])
        texts = ("A dog. (Two dogs!)", "a dog two dogs")
        given = [argument for text in texts for argument in ("--text", text)]
        plain = [r["probability"] for r in self.nlvr(left, right, *given, "--json").objects]
        self.assertNotEqual(plain[0], plain[1])
        prepared = self.nlvr(left, right, *given, "--json", "--prepare-text").objects
        self.assertEqual([r["probability"] for r in prepared], [plain[1]] * 2)
        self.assertEqual([r["text"] for r in prepared], list(texts))
        words = ["dog"] * 40
        long = (" ".join(words), " ".join(words + ["cat", "red"]))
        given = [argument for text in long for argument in ("--text", text)]
        whole = [r["probability"] for r in self.nlvr(left, right, *given, "--json").objects]
        self.assertNotEqual(whole[0], whole[1])
        cut = self.nlvr(left, right, *given, "--json", "--prepare-text").objects
        self.assertEqual([r["probability"] for r in cut], [whole[0]] * 2)

    def test_what_is_refused(self):
        left, right = pictures(CASES[0])
        for code, message, arguments in (
            (
                2,
                "nlvr needs two pictures, the left and the right one, not 1",
                (left, "--text", "x"),
            ),
            (2, "not 3", (left, right, left, "--text", "x")),
            (2, "nlvr needs a text", (left, right)),
            (2, "--text must not be empty", (left, right, "--text", " ")),
            (2, "--text has no effect with PAIRS.jsonl", ("x.jsonl", "--text", "x")),
            (2, "--images has no effect", (left, right, "--text", "x", "--images", "/")),
            (2, "--images: there is no folder /no", ("x.jsonl", "--images", "/no")),
            (
                2,
                "--output has no effect without PAIRS",
                (left, right, "--text", "x", "-o", "o.csv"),
            ),
            (2, "--shard has no effect", ("x.jsonl", "--shard", "1/2")),
            (2, "files that end with .jsonl, .csv or .parquet", ("x.jsonl", "-o", "x.json")),
            (2, "up to 64 tokens", (left, right, "--text", "x", "--max-text-length", 65)),
        ):
            self.fails(code, message, "nlvr", "--model", MODEL, *arguments)
        for rows, message in (
            ("no.jsonl", "cannot read the list no.jsonl"),
            (left, "is no file of rows such as PAIRS.jsonl"),
        ):
            result = run("nlvr", "--model", MODEL, self.write("l.jsonl", ""), rows)
            self.assertEqual((result.code, result.out), (1, ""))
            self.assertIn(message, result.err)
        self.fails(
            3,
            "cannot judge statements about two pictures (NLVR2); it can: caption, match",
            *("nlvr", scene_path(scenes()[0]), scene_path(scenes()[0]), "--text", "x"),
        )
        for command in ("caption", "match"):
            text = ("--text", "x") if command == "match" else ()
            self.fails(3, "it can: nlvr", command, left, *text, "--model", MODEL)

    def test_pictures_that_cannot_be_read(self):
        left = pictures(CASES[0])[0]
        result = run("nlvr", "--model", MODEL, left, "gone.png", "--text", "x", "--json")
        self.assertEqual(result.code, 1)
        (row,) = result.objects
        self.assertEqual(row["images"], [left, "gone.png"])
        self.assertIn("gone.png", row["error"])
        both = run("nlvr", "--model", MODEL, "gone.png", "lost.png", "--text", "x")
        self.assertRegex(both.err, "gone.png and lost.png: .*gone.png: .*; .*lost.png: ")

    def test_a_name_that_is_not_utf8(self):
        left, right = pictures(CASES[0])
        odd = os.fsencode(str(self.folder)) + b"/\xff.png"
        os.symlink(left, odd)
        (row,) = self.nlvr(odd, right, "--text", "a dog", "--json").objects
        self.assertEqual(len(row["images_bytes"]), 2)
        self.assertIsNone(row["images_bytes"][1])

    def test_info_tells_the_task(self):
        told = self.ok("info", "--model", MODEL)
        self.assertIn("tasks       nlvr\n", told.out)
        self.assertRegex(told.out, r"nlvr_encoder +8 +16 +1 +32 ")
        (info,) = self.ok("info", "--model", MODEL, "--json").objects
        self.assertEqual([task for task, can in info["tasks"].items() if can], ["nlvr"])
        self.assertEqual((info["text_length"], info["max_text_length"]), (64, 64))


if __name__ == "__main__":
    unittest.main()
