"""blipcpp.eval against the public scorers and the official code (tests/reference/eval_scores.py and
eval_official.py), and what it does with files that are not as they should be.
"""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy as np

import blipcpp
from blipcpp import eval as evaluation
from blipcpp.eval import __main__ as command
from blipcpp.eval import _scorers
from blipcpp.eval._progress import Progress

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])
DATA = SOURCE / "tests/data/python/eval"
SCENES = SOURCE / "demo/scenes"
SCORES = json.loads((DATA / "scores.json").read_text())
OFFICIAL = json.loads((DATA / "official.json").read_text())
JUDGE = (
    *("vqa", DATA / "vqa_questions.json", "--annotations", DATA / "vqa_annotations.json"),
    "--predictions",
)


class EvalTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="blip-eval-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, name, value):
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    def run_command(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command.main([str(argument) for argument in arguments])
        return code, out.getvalue(), err.getvalue()

    def ok(self, *arguments):
        code, out, err = self.run_command(*arguments)
        self.assertEqual(code, 0, err)
        return out

    def fails(self, expected, *arguments, code=1):
        got, out, err = self.run_command(*arguments)
        self.assertEqual((got, out), (code, ""), err)
        self.assertRegex(err, expected)
        return err


class Reference(EvalTest):
    def test_retrieval_is_that_of_the_official_evaluation(self):
        model = blipcpp.Model.load(SOURCE / "tests/data/parity/match", dtype="f32")
        pictures = evaluation.read_pictures(DATA / "retrieval.json", by_name=True)
        with evaluation.Journal(None, {}) as journal:
            run = evaluation.Retrieval(model, pictures, SOURCE, journal, 4)
            figures = run.run(OFFICIAL["top_k"])
        self.assertEqual(figures, OFFICIAL["figures"])
        texts = [run.text_scores(i) for i in range(len(pictures))]
        images = [run.image_scores(i) for i in range(len(run.pairs.texts))]
        np.testing.assert_allclose(texts, OFFICIAL["score_matrix_i2t"], atol=1e-4)
        np.testing.assert_allclose(images, OFFICIAL["score_matrix_t2i"], atol=1e-4)
        with evaluation.Journal(None, {}) as journal:
            other = evaluation.Retrieval(model, pictures, SOURCE, journal, 4, "cls")
            other.run(OFFICIAL["top_k"])
        self.assertGreater(np.abs(other.text_scores(0) - texts[0]).max(), 0.01)

    def test_answers_are_those_of_the_official_evaluation(self):
        checkpoint = SOURCE / "tests/data/parity/vqa"
        expected = OFFICIAL["vqa"]
        results = self.folder / "results.json"
        arguments = (
            *("vqa", DATA / "questions.json", "--images", SOURCE, "--model", checkpoint),
            *("--dtype", "f32", "--results", results),
        )
        answers = self.write("answers.json", expected["answers"])
        ranked = ("--answers", answers, "--candidates", expected["candidates"])
        for how, more in (("generate", ()), ("rank", ranked)):
            with self.subTest(how):
                self.ok(*arguments, *more)
                got = sorted(
                    json.loads(results.read_text()), key=lambda answer: answer["question_id"]
                )
                self.assertEqual(got, expected[how])

    def test_captions_are_those_of_pycocoevalcap(self):
        if _scorers.missing():
            self.skipTest(_scorers.missing())
        expected = dict(SCORES["captions"])
        told = json.loads(self.ok("caption", DATA / "captions_gt.json", "--json",
                                  "--predictions", DATA / "captions.json"))  # fmt: skip
        self.assertEqual((told.pop("task"), told.pop("images")), ("caption", 8))
        self.assertEqual(told, expected)
        printed = self.ok(
            *("caption", DATA / "captions_gt.json", "--predictions", DATA / "captions.json"),
            *("--metrics", "bleu,cider"),
        )
        domains = expected.pop("domains")
        names = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "CIDEr")
        lines = ["%s: %0.3f" % (name, expected[name]) for name in names]
        for domain in ("in-domain", "near-domain", "out-domain"):
            lines += ["%s %s: %0.3f" % (domain, name, domains[domain][name]) for name in names]
        self.assertEqual(printed.splitlines(), lines)

    def test_captions_that_hold_nothing_or_strange_letters(self):
        if _scorers.missing():
            self.skipTest(_scorers.missing())
        given = [
            ["a dog"],
            ["b\r\nc", "d\x0be\x85f"],
            ["\u2028x", ""],
            ["..."],
            ["Zug \u00fcber"],
            [""],
        ]
        words = [["a dog"], ["b c", "d e f"], ["x", ""], [""], ["zug \u00fcber"], [""]]
        self.assertEqual(_scorers.tokenized(given), words)

    def test_java_that_fails(self):
        if _scorers.missing():
            self.skipTest(_scorers.missing())
        java = shutil.which("java")
        path = "%s:%s" % (self.folder, os.environ["PATH"])
        for fails, message in (
            ("true", r"error: the tokenizer's java failed \(3\): broken"),
            ("[ $1 = -jar ]", r"error: METEOR's java ended \(.*broken; it needs 2 GB"),
        ):
            script = '#!/bin/sh\nif %s; then echo broken >&2; exit 3; fi\nexec %s "$@"\n'
            self.write("java", script % (fails, java)).chmod(0o755)
            with mock.patch.dict(os.environ, {"PATH": path}):
                self.fails(message, "caption", DATA / "captions_gt.json", "--predictions",
                           DATA / "captions.json", "--metrics", "meteor")  # fmt: skip

    def test_answers_are_judged_as_by_the_official_code(self):
        arguments = (*JUDGE, DATA / "vqa_results.json")
        told = json.loads(self.ok(*arguments, "--json"))
        for name in ("overall", "perQuestionType", "perAnswerType"):
            self.assertEqual(told[name], SCORES["vqa"][name])
        self.assertEqual(told["questions"], 17)
        self.assertEqual(
            self.ok(*arguments).splitlines()[:3],
            ["overall: 78.24", "number: 80.00", "other: 71.00"],
        )
        questions = evaluation.read_questions(DATA / "vqa_annotations.json")
        answers = evaluation.given_answers(questions, DATA / "vqa_results.json", "x")
        self.assertEqual(evaluation.vqa_figures(questions, answers).each, SCORES["vqa"]["each"])

    def test_words_are_prepared_as_by_the_official_code(self):
        for word, expected in SCORES["vqa"]["words"].items():
            self.assertEqual(evaluation.normalised_answer(word), expected)
        for text, expected in OFFICIAL["captions"]:
            self.assertEqual(evaluation.prepared_caption(text), expected)
        for text, expected in OFFICIAL["questions"]:
            self.assertEqual(evaluation.prepared_question(text), expected)


class Runs(EvalTest):
    """With the bundled model and its scenes."""

    def scenes(self):
        return json.loads((SCENES / "scenes.json").read_text())

    def questions(self):
        rows = [
            {"question_id": 10 * i + j, "image": scene["image"], "question": one["question"],
             "answer": [one["answer"]] * 10}
            for i, scene in enumerate(self.scenes())
            for j, one in enumerate(scene["questions"])
        ]  # fmt: skip
        return self.write("questions.json", rows), rows

    def test_questions_go_on_where_they_were_stopped(self):
        path, rows = self.questions()
        predictions, results = self.folder / "answers.jsonl", self.folder / "results.json"
        arguments = ("vqa", path, "--images", SCENES, "--predictions", predictions)
        ask, asked = blipcpp.Model.ask, []

        def ask_twice(model, *given, **options):
            if len(asked) == 2:
                raise KeyboardInterrupt
            asked.append(given)
            return ask(model, *given, **options)

        with mock.patch.object(blipcpp.Model, "ask", ask_twice):
            code, out, err = self.run_command(*arguments)
        self.assertEqual((code, out), (130, ""))
        self.assertIn("the same command goes on", err)
        begun = predictions.read_text()
        self.assertEqual(len(begun.splitlines()), sum(len(texts) for _, texts in asked))
        # What is there is not asked again; a row that was cut short is.
        changed = begun.replace('"yes"', '"perhaps"', 1)
        predictions.write_text(changed + '{"question_id": "7')
        out = self.ok(*arguments, "--results", results, "--json")
        self.assertTrue(predictions.read_text().startswith(changed))
        said = {one["question_id"]: one["answer"] for one in json.loads(results.read_text())}
        self.assertEqual(sorted(said), sorted(row["question_id"] for row in rows))
        wrong = [row for row in rows if said[row["question_id"]] not in row["answer"]]
        self.assertEqual([said[row["question_id"]] for row in wrong], ["perhaps"])
        right = round(100 * (len(rows) - 1) / len(rows), 2)
        self.assertEqual(json.loads(out)["overall"], right)
        # The file is judged without a model, too; and with other options it is not added to.
        self.assertEqual(json.loads(self.ok("vqa", path, "--predictions", results, "--json")),
                         json.loads(out))  # fmt: skip
        self.fails("was begun with beams missing, not 1", *arguments, "--beams", "1")

    def test_the_best_of_given_answers(self):
        path, rows = self.questions()
        answers = self.write(
            "list.json", sorted({row["answer"][0] for row in rows} | {"xylophone"})
        )
        told = json.loads(self.ok("vqa", path, "--images", SCENES, "--answers", answers, "--json"))
        self.assertEqual(told["overall"], 100.0)
        self.fails("--beams has no effect", "vqa", path, "--images", SCENES, "--answers", answers,
                   "--beams", "2", code=2)  # fmt: skip

    def test_a_picture_that_cannot_be_read(self):
        images = self.folder / "images"
        shutil.copytree(SCENES, images)
        (images / "clock.png").write_bytes(b"no picture")
        path, _ = self.questions()
        predictions = self.folder / "answers.jsonl"
        arguments = ("vqa", path, "--images", images, "--predictions", predictions)
        told = self.fails("1 of 8 pictures failed, so there are no figures", *arguments)
        self.assertIn("questions.json row 1: ", told)
        self.assertIn("clock.png", told)
        others = len(predictions.read_text().splitlines())
        shutil.copy(SCENES / "clock.png", images)
        self.assertIn("overall: 100.00", self.ok(*arguments))
        self.assertGreater(len(predictions.read_text().splitlines()), others)

    def test_captions(self):
        rows = [{"image": scene["image"], "image_id": i} for i, scene in enumerate(self.scenes())]
        annotations = self.write("images.json", rows)
        predictions, results = self.folder / "captions.jsonl", self.folder / "results.json"
        code, out, err = self.run_command(
            *("caption", annotations, "--images", SCENES, "--predictions", predictions),
            *("--results", results, "--prompt", "a picture of", "--max-length", "30"),
        )
        self.assertEqual((code, out), (0, ""), err)
        self.assertIn("images.json has no captions to compare with: there are no figures", err)
        self.assertEqual(
            json.loads(results.read_text()),
            [{"image_id": i, "caption": s["caption"]} for i, s in enumerate(self.scenes())],
        )

    def test_retrieval_goes_on_and_takes_another_k(self):
        rows = [{"image": s["image"], "caption": [s["caption"]]} for s in self.scenes()]
        annotations = self.write("pairs.json", rows)
        predictions = self.folder / "pairs.jsonl"
        arguments = ("retrieval", annotations, "--images", SCENES, "--predictions", predictions)
        few = json.loads(self.ok(*arguments, "--top-k", "2", "--json"))
        self.assertEqual((few["txt_r1"], few["img_r1"], few["texts"]), (100.0, 100.0, 8))
        lines = predictions.read_text().splitlines()
        self.assertEqual(len(lines), 8 + 8 + 8)
        predictions.write_text("\n".join(lines[:18]) + "\n")
        with mock.patch.object(blipcpp.Model, "embed", side_effect=AssertionError("again")):
            self.assertEqual(json.loads(self.ok(*arguments, "--top-k", "2", "--json")), few)
            self.assertEqual(predictions.read_text().splitlines(), lines)
            everything = json.loads(self.ok(*arguments, "--json"))
        self.assertEqual((everything["r_mean"], everything["top_k"]), (100.0, 256))
        self.write("pairs.json", rows[:7])
        self.fails("was begun with data", *arguments)
        self.write("pairs.json", rows)
        for damage in (lines[0][:-9] + '"}', '{"image": 8, "vector": ""}', '{"text": true}'):
            predictions.write_text(damage + "\n")
            self.fails(r"pairs.jsonl line 1: ", *arguments)

    def test_files_of_others_are_not_added_to(self):
        path, _ = self.questions()
        other = self.write("mine.jsonl", '{"question_id": 1, "answer": "no"}')
        self.fails("mine.jsonl was not made by this command", "vqa", path, "--images", SCENES,
                   "--predictions", other)  # fmt: skip
        self.assertEqual(other.read_text(), '{"question_id": 1, "answer": "no"}')
        self.fails("go into a .jsonl file", "vqa", path, "--images", SCENES, "--predictions",
                   self.folder / "x.json")  # fmt: skip
        with evaluation.Journal(self.folder / "busy.jsonl", {}):
            self.fails("busy.jsonl is in use", "vqa", path, "--images", SCENES, "--predictions",
                       self.folder / "busy.jsonl")  # fmt: skip


class Files(EvalTest):
    """Forms of annotations, and what is wrong with them."""

    def test_forms_of_annotations(self):
        karpathy = self.write("dataset_coco.json", {"images": [
            {"filename": "COCO_val2014_000000000042.jpg", "filepath": "val2014", "cocoid": 42,
             "split": "test", "sentences": [{"raw": "A dog."}, {"raw": "One dog"}]},
            {"filename": "7.jpg", "split": "train", "sentences": [{"raw": "A cat."}]},
        ]})  # fmt: skip
        (picture,) = evaluation.read_pictures(karpathy, "test")
        self.assertEqual(
            (picture.id, picture.captions, picture.names[0]),
            ("42", ["A dog.", "One dog"], "val2014/COCO_val2014_000000000042.jpg"),
        )
        with self.assertRaisesRegex(evaluation.DataError, "has the splits test, train: choose one"):
            evaluation.read_pictures(karpathy)
        blip = self.write("list.json", [
            {"image": "val2014/COCO_val2014_000000391895.jpg", "caption": ["A man.", "He"]},
            {"image": "flickr30k-images/1007129816.jpg", "caption": "one"},
            {"image": "val/0013ea2087020901.jpg", "img_id": 0},
            {"image": "clock.png"},
        ])  # fmt: skip
        pictures = evaluation.read_pictures(blip)
        self.assertEqual([p.id for p in pictures], ["391895", "1007129816", "0", "clock"])
        self.assertEqual([len(p.captions) for p in pictures], [2, 1, 0, 0])
        truth = self.write("gt.json", {
            "images": [{"id": id} for id in (0, "clock", 1007129816, 391895)],
            "annotations": [{"id": i, "image_id": id, "caption": "text %d" % i}
                            for i, id in enumerate((0, "clock", 1007129816, 391895))],
        })  # fmt: skip
        joined = evaluation.read_pictures(blip, references=truth)
        self.assertEqual([p.id for p in joined], ["0", "clock", "1007129816", "391895"])
        self.assertEqual(joined[0].names, ["val/0013ea2087020901.jpg"])
        self.assertEqual(joined[1].captions, ["text 1"])
        questions = evaluation.read_questions(
            DATA / "vqa_questions.json", DATA / "vqa_annotations.json"
        )
        self.assertEqual(questions[0].names[0], "val2014/COCO_val2014_000000000011.jpg")
        self.assertEqual(questions[0].answers, ["yes"] * 10)

    def test_damaged_annotations_name_the_row(self):
        good = json.loads((DATA / "captions_gt.json").read_text())

        def changed(part, index, **fields):
            value = json.loads(json.dumps(good))
            value[part][index].update(fields)
            return value

        for value, message in (
            ("", "a.json is empty"),
            ("{", "a.json is no JSON: .*line 1 column 2"),
            ("[" * 100000, "a.json: nested too deeply|a.json is no JSON"),
            ("[]", "a.json is empty: there is nothing to evaluate"),
            ('"x"', "a.json is neither a list"),
            ("[3]", "a.json row 1 is 3, not an object"),
            ('[{"caption": ["a"]}]', 'a.json row 1: "image" is missing, not a text'),
            ('[{"image": "a", "caption": []}]', 'row 1: "caption" is empty'),
            ('[{"image": "a", "caption": ["b", " "]}]', 'row 1, caption 2: "caption" is blank'),
            ('[{"image": "a"}, {"image": "b/a"}]', "row 2: image a is there already, in .*row 1"),
            (changed("images", 2, id=None), 'images row 3: "id" is missing, not an id'),
            (changed("images", 2, id=1.5), 'images row 3: "id" is 1.5, not an id'),
            (changed("images", 2, id=11), "images row 3: image 11 is there already, in .*row 1"),
            (changed("images", 2, id=34), "annotations row .*: image 33 is not among the images"),
            (changed("annotations", 4, id=1), "annotations row 5: annotation 1 is there already"),
            (changed("annotations", 4, caption=""), 'annotations row 5: "caption" is blank'),
            (
                {**good, "annotations": good["annotations"][:4]},
                "images row .*: image .* has no caption to compare with",
            ),
        ):  # fmt: skip
            path = self.write("a.json", value)
            with self.subTest(message=message):
                self.fails(message, "caption", path, "--predictions", DATA / "captions.json")
        (self.folder / "a.json").write_bytes(b"[\xff]")
        self.fails(r"a.json is no text in UTF-8 \(byte 1\)", "vqa", path, "--predictions", "x.json")
        self.fails("cannot read /nonexistent: No such file", "vqa", "/nonexistent",
                   "--predictions", "x.json")  # fmt: skip

    def test_damaged_predictions_name_the_row(self):
        good = json.loads((DATA / "vqa_results.json").read_text())
        first = good[0]
        jsonl = "".join(json.dumps(row) + "\n" for row in good)
        arguments = JUDGE
        self.ok(*arguments, self.write("p.jsonl", jsonl))
        for name, value, message in (
            ("p.json", good[1:], "p.json has no prediction for 1 of 17 questions, the first of them"
             " 187000 .*vqa_questions.json, questions row 17.*--images FOLDER"),
            ("p.json", [*good, first],
             "row 18: question 187000 has a prediction already, in .*p.json row 1"),
            ("p.json", [*good, {"question_id": "187000", "answer": "x"}], "has a prediction"),
            ("p.json", [*good, {"question_id": 5, "answer": "x"}], "row 18: question 5 is unknown"),
            ("p.json", [{"question_id": 187000}], 'row 1: "answer" is missing, not a text'),
            ("p.json", [{"question_id": 187000, "answer": 3}], 'row 1: "answer" is 3, not a text'),
            ("p.json", [{"answer": "x"}], 'row 1: "question_id" is missing, not an id'),
            ("p.json", {}, r"p.json is \{\}, not a list"),
            ("p.jsonl", jsonl + "{broken\n", "p.jsonl line 18 is no JSON"),
            ("p.jsonl", "\n" + jsonl + "[1]\n", r"p.jsonl line 19 is \[1\], not an object"),
        ):  # fmt: skip
            with self.subTest(message=message):
                self.fails(message, *arguments, self.write(name, value))

    def test_questions_and_annotations_that_do_not_fit(self):
        answers = json.loads((DATA / "vqa_annotations.json").read_text())
        results = DATA / "vqa_results.json"
        for rows, message in (
            (answers["annotations"][1:], "questions row 1: question 11000 has no answers in"),
            (answers["annotations"] + [{"question_id": 3, "answers": ["x"]}],
             "annotations row 18: question 3 is not in"),
            ([{"question_id": 11000, "answers": []}], "annotations row 1.* is empty"),
        ):  # fmt: skip
            path = self.write("annotations.json", {"annotations": rows})
            self.fails(message, "vqa", DATA / "vqa_questions.json", "--annotations", path,
                       "--predictions", results)  # fmt: skip
        few = self.write("few.json", [{"question_id": 1, "answer": "two"}])
        said = self.write("said.json", [{"question_id": 1, "answer": "two"}])
        code, out, err = self.run_command("vqa", few, "--predictions", said)
        self.assertEqual((code, out), (0, "overall: 0.00\n"))
        self.assertIn("1 of 1 questions have fewer than 4 answers", err)

    def test_rows_of_the_program_are_predictions(self):
        truth = {
            "images": [{"id": 5, "file_name": "clock.png"}, {"id": 42}],
            "annotations": [{"image_id": id, "caption": "x"} for id in (5, 42)],
        }
        pictures = evaluation.read_pictures(self.write("gt.json", truth))
        rows = self.write("captions.jsonl", '{"image":"./clock.png","caption":"a","score":1}\n'
                          '{"image":"COCO_val2014_000000000042.jpg","caption":"b"}\n')  # fmt: skip
        self.assertEqual(
            evaluation.given_captions(pictures, rows, "gt.json"), {"5": "a", "42": "b"}
        )

    def test_usage(self):
        self.fails("required: ANNOTATIONS.*`blip eval caption --help`", "caption", code=2)
        self.fails("give --images FOLDER, and a model makes", "vqa", DATA / "vqa_questions.json",
                   code=2)  # fmt: skip
        self.fails("retrieval needs the pictures", "retrieval", DATA / "retrieval.json", code=2)
        self.fails("SPICE is left out", "caption", "x", "--metrics", "spice", code=2)
        self.fails("no metric 'bleurt'", "caption", "x", "--metrics", "bleurt", code=2)
        self.fails("'0' is not a whole number of 1 or more", "retrieval", "x", "--top-k", "0",
                   code=2)  # fmt: skip
        self.fails("a name must not be empty", "vqa", "", code=2)
        self.fails("--images /nonexistent is no folder", "retrieval", DATA / "retrieval.json",
                   "--images", "/nonexistent")  # fmt: skip
        self.fails("no ITM and ITC heads", "retrieval", DATA / "retrieval.json", "--images", SOURCE,
                   "--model", SOURCE / "tests/data/parity/caption", code=3)  # fmt: skip

    def test_without_java_nothing_is_begun(self):
        with mock.patch.dict(os.environ, {"PATH": str(self.folder)}):
            self.fails(r"pip install 'blipcpp\[eval\]'", "caption", DATA / "captions_gt.json",
                       "--predictions", DATA / "captions.json", code=3)  # fmt: skip

    def test_progress(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        now = [0.0]
        with mock.patch("time.monotonic", lambda: now[0]):
            for stream in (Terminal(), io.StringIO()):
                with Progress("captions", 100, 20, stream) as progress:
                    for _ in range(40):
                        now[0] += 0.5
                        progress.step()
                lines = stream.getvalue()
                self.assertIn("20 of 100 captions are done already\n", lines)
                self.assertIn("40/100 captions, 2.0/s, 30 s left", lines)
                self.assertEqual(lines.endswith("\r\x1b[K"), stream.isatty())


class Documents(EvalTest):
    def test_examples(self):
        """Those of docs/EVALUATION.md, in a copy of the scenes, print what is shown."""
        program = self.write("blip", '#!/bin/sh\nshift\nexec "$PYTHON" -m blipcpp.eval "$@"\n')
        program.chmod(0o755)
        scenes = self.folder / "scenes"
        shutil.copytree(SCENES, scenes)
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "PATH": "%s:%s" % (self.folder, os.environ["PATH"]),
        }
        text = (SOURCE / "docs/EVALUATION.md").read_text()
        run = 0
        for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            # A command over several lines has a backslash at their ends.
            parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", block, flags=re.MULTILINE)[1:]
            for line, expected in zip(parts[::2], parts[1::2]):
                if line.startswith("pip ") or ("eval caption" in line and _scorers.missing()):
                    continue
                with self.subTest(command=line):
                    done = subprocess.run(
                        ["bash", "-c", line], cwd=scenes, env=environment, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, universal_newlines=True,
                    )  # fmt: skip
                    self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)
                    run += 1
        self.assertGreaterEqual(run, 4)


if __name__ == "__main__":
    unittest.main()
