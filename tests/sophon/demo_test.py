"""The command lines of the README of SOPHON's BLIP sample, in a folder as its users have it, on a
fake chip: `python3 python/blip_X.py` replaced by `blip X` and nothing else changed.
"""

import base64
import json
import os

import shlex
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import sample_folder
from sample_folder import PICTURES, model

PROGRAM = os.environ["BLIP_PROGRAM"]
TOKENIZER = "models/bert-base-uncased"
DOG, CAT = "a woman sitting on the beach with a dog", "a woman sitting on the beach with a cat"
TEXTS = [DOG, CAT, 'a "quoted" dog\'s life']
QUESTIONS = ["where is the woman", "what are they doing", "what's the color of the clothes"]
VQA = [
    word
    for stage in ("venc", "tenc", "tdec")
    for word in (f"--{stage}_bmodel_path", model(f"vqa_{stage}"))
]
# As the sample's README has them, with its three questions at the prompt.
README = {
    "cap": "blip cap --image_path datasets/test --bmodel_path "
    "models/BM1684X/blip_cap_bm1684x_f32_1b.bmodel --tokenizer_path models/bert-base-uncased "
    "--dev_id 0",
    "itm": 'blip itm --image_path datasets/test/demo.jpg --text "a woman sitting on the beach with '
    'a dog" "a woman sitting on the beach with a cat" --bmodel_path '
    "models/BM1684X/blip_itm_bm1684x_f32_1b.bmodel --tokenizer_path models/bert-base-uncased "
    "--dev_id 0",
    "vqa": "blip vqa --image_path datasets/test/demo.jpg --venc_bmodel_path "
    "models/BM1684X/blip_vqa_venc_bm1684x_f32_1b.bmodel --tenc_bmodel_path "
    "models/BM1684X/blip_vqa_tenc_bm1684x_f32_1b.bmodel --tdec_bmodel_path "
    "models/BM1684X/blip_vqa_tdec_bm1684x_f32_1b.bmodel --tokenizer_path "
    "models/bert-base-uncased --dev_id 0",
}
TIMES = {
    "cap": r"""
blip: -------------------Image num 3, Preprocess average time ------------------------
blip: preprocess\(ms\): \d+\.\d\d
blip: ------------------ Image num 3, Predict average time ----------------------
blip: predict\(ms\)   : \d+\.\d\d
$""",
    "itm": r"""blip: ------------------ Text num 2, Preprocess average time ------------------------
blip: preprocess\(ms\): \d+\.\d\d
blip: ------------------ Text num 2, Predict average time ----------------------
blip: predict\(ms\)   : \d+\.\d\d
$""",
    "vqa": r"""
blip: ---------------------------------- Preprocess average time ------------------------
blip: preprocess\(ms\): \d+\.\d\d
blip: INFO - ------------------ Question num 3, Predict average time ----------------------
blip: predict\(ms\)   : \d+\.\d\d
$""",
}
TIMES = {command: times.lstrip() for command, times in TIMES.items()}


class SampleTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        sample_folder.make(self.folder)

    def blip(self, *arguments, code=0, stdin="", **settings):
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            input=stdin,
            cwd=self.folder,
            env=sample_folder.environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def lines(self, *arguments, **keywords):
        return self.blip(*arguments, **keywords).stdout.splitlines()

    def objects(self, *arguments, **keywords):
        return [json.loads(line) for line in self.lines(*arguments, "--json", **keywords)]

    # What our own commands say, whose words the sample's must come to.
    def captions(self, *pictures):
        found = self.objects(
            "caption", "-m", model("cap"), *(f"datasets/test/{p}" for p in pictures)
        )
        return {one["image"]: one["caption"] for one in found}

    def matches(self, picture, *texts):
        words = [word for text in texts for word in ("--text", text)]
        found = self.objects("match", "-m", model("itm"), picture, *words)
        return [(one["text"], one["match_probability"]) for one in found]

    def answers(self, picture, *questions):
        words = [word for question in questions for word in ("--question", question)]
        files = ",".join(model(f"vqa_{stage}") for stage in ("venc", "tenc", "tdec"))
        found = self.objects("ask", "-m", files, picture, *words)
        return [(one["question"], one["answer"]) for one in found]


class Readme(SampleTest):
    def test_captions_of_a_folder(self):
        done = self.blip(*shlex.split(README["cap"])[1:])
        captions = self.captions(*PICTURES)
        self.assertEqual(len(set(captions.values())), 3)
        self.assertEqual(
            done.stdout.splitlines(),
            [f"{image}\t{captions[image]}" for image in sorted(captions)],
        )
        self.assertRegex(done.stderr, TIMES["cap"])

    def test_two_texts(self):
        done = self.blip(*shlex.split(README["itm"])[1:])
        expected = self.matches("datasets/test/demo.jpg", DOG, CAT)
        self.assertNotEqual(expected[0][1], expected[1][1])
        self.assertEqual(
            done.stdout.splitlines(), [f"{value:.4f}\t-\t{text}" for text, value in expected]
        )
        self.assertRegex(done.stderr, TIMES["itm"])

    def test_questions_at_the_prompt(self):
        words = "\n".join([*QUESTIONS, "exit", "never asked"])
        done = self.blip(*shlex.split(README["vqa"])[1:], stdin=words)
        expected = [answer for _, answer in self.answers("datasets/test/demo.jpg", *QUESTIONS)]
        self.assertEqual(len(set(expected)), 3)
        self.assertEqual(done.stdout.splitlines(), expected)
        self.assertRegex(done.stderr, TIMES["vqa"])

    def test_the_picture_alone_of_captions(self):
        (line,) = self.lines("cap", "--image_path", "datasets/test/demo.jpg")
        self.assertEqual(line, self.captions("demo.jpg")["datasets/test/demo.jpg"])


class Texts(SampleTest):
    """What stands behind --text: as argparse's nargs='+' reads it."""

    def texts(self, *arguments):
        return [one["text"] for one in self.objects("itm", *arguments)]

    def test_three_texts(self):
        rest = ["--bmodel_path", model("itm"), "--tokenizer_path", TOKENIZER, "--dev_id", "0"]
        found = self.objects(
            "itm", "--image_path", "datasets/test/demo.jpg", "--text", *TEXTS, *rest
        )
        self.assertEqual(
            [(one["text"], one["match_probability"]) for one in found],
            self.matches("datasets/test/demo.jpg", *TEXTS),
        )

    def test_three_texts_and_a_folder(self):
        found = self.objects("itm", "--text", *TEXTS, "--image_path", "datasets/test")
        self.assertEqual(
            [(one["image"], one["text"]) for one in found],
            [(f"datasets/test/{p}", text) for p in sorted(PICTURES) for text in TEXTS],
        )
        self.assertEqual(len({one["match_probability"] for one in found}), 9)

    def test_words_that_look_like_something_else(self):
        texts = ["-1", "- a dog", "-", "datasets/test/demo.jpg", "a=b", "@list", "[a,b]", "猫和狗"]
        self.assertEqual(self.texts("--text", *texts), texts)
        self.assertEqual(self.texts("--text=--x", "--dev_id", "0"), ["--x"])
        self.assertEqual(self.texts("--text", "one", "--dev_id=0", "--text", "two"), ["one", "two"])

    def test_the_samples_own_texts(self):
        self.assertEqual(self.texts(), [DOG, CAT])

    def test_questions_behind_text_need_no_prompt(self):
        found = self.objects("vqa", "--text", *QUESTIONS, stdin="never asked\n")
        self.assertEqual(
            [(one["question"], one["answer"]) for one in found],
            self.answers("datasets/test/demo.jpg", *QUESTIONS),
        )

    def test_no_text(self):
        for arguments in (("itm", "--text"), ("itm", "--text", "--dev_id", "0"), ("vqa", "--text")):
            with self.subTest(arguments):
                done = self.blip(*arguments, code=2)
                self.assertIn("--text needs a value", done.stderr)
        done = self.blip("itm", "--text", "a dog", "", code=2)
        self.assertIn("--text must not be empty", done.stderr)


class Defaults(SampleTest):
    """What the sample takes where nothing is said, from the folder it is started in."""

    def test_everything(self):
        self.assertEqual(self.lines("cap"), shlex_lines(self, "cap"))
        self.assertEqual(self.lines("itm"), shlex_lines(self, "itm"))
        words = QUESTIONS[0] + "\nexit\n"
        self.assertEqual(self.lines("vqa", stdin=words), shlex_lines(self, "vqa", stdin=words))

    def test_the_vocabulary_beside_the_models_is_read(self):
        words = self.folder / TOKENIZER / "vocab.txt"
        lines = words.read_text(encoding="utf-8").splitlines()
        lines[2000:3000] = [f"word{i}" for i in range(1000)]
        words.write_text("\n".join(lines) + "\n", encoding="utf-8")
        caption = self.lines("cap", "--image_path", "datasets/test/demo.jpg")[0]
        self.assertRegex(caption, r"^(word\d+ ?)+$")

    def test_options_of_ours_leave_the_default_picture(self):
        expected = self.lines("itm")
        for options in (("--batch", 2), ("--progress", "none", "--threads=1"), ("-q",)):
            with self.subTest(options):
                self.assertEqual(self.lines("itm", *options), expected)
        self.assertEqual(self.lines("itm", "--batch", 2, "datasets/test/demo.jpg"), expected)

    def test_one_stage_of_three_is_named(self):
        other = "other.bmodel"
        shutil.move(self.folder / model("vqa_tdec"), self.folder / other)
        found = self.objects("vqa", "--tdec_bmodel_path", other, "--text", QUESTIONS[0])
        self.assertEqual(found[0]["question"], QUESTIONS[0])

    def test_what_is_not_there(self):
        for arguments, wanted in (
            (("cap",), "blip cap needs a compiled model: --bmodel_path FILE; the sample's own, "),
            (("itm",), "blip itm needs a compiled model: --bmodel_path FILE"),
            (("vqa",), "blip vqa needs a compiled model: --venc_bmodel_path FILE"),
        ):
            shutil.rmtree(self.folder / "models", ignore_errors=True)
            done = self.blip(*arguments, code=2)
            self.assertIn(wanted, done.stderr)
        shutil.rmtree(self.folder / "datasets")
        self.assertIn(
            "blip itm needs a picture: --image_path PATH; the sample's own, "
            "datasets/test/demo.jpg, is not in this folder",
            self.blip("itm", code=2).stderr,
        )
        self.assertIn("--bmodel-path", self.blip("itm", "--help").stdout)

    def test_a_value_is_missing(self):
        for arguments in (("--image_path",), ("--dev_id",), ("--bmodel_path", "--dev_id", "0")):
            done = self.blip("cap", *arguments, code=2)
            self.assertIn(arguments[0] + " needs a value", done.stderr)

    def test_files_with_odd_names(self):
        for name in ("-dash.png", "@at.png", "[a,b].png", "a=b.png", "猫.png"):
            shutil.copy(self.folder / "datasets/test/demo.jpg", self.folder / name)
            with self.subTest(name):
                (line,) = self.lines("cap", "--image_path", name)
                self.assertEqual(line, self.captions("demo.jpg")["datasets/test/demo.jpg"])

    def test_a_folder_with_other_things_in_it(self):
        (self.folder / "datasets/test/notes.txt").write_text("no picture")
        (self.folder / "datasets/test/broken.png").write_bytes(b"no picture either")
        done = self.blip("cap", "--image_path", "datasets/test", code=1)
        self.assertEqual(len(done.stdout.splitlines()), len(PICTURES))
        self.assertIn("broken.png", done.stderr)
        self.assertNotIn("notes.txt", done.stderr)


def shlex_lines(test, program, **keywords):
    return test.lines(*shlex.split(README[program])[1:], **keywords)


class OneWayToNameAModel(SampleTest):
    """A model of several files is named the same way by every command."""

    def test_every_command(self):
        commas = ",".join(model(f"vqa_{stage}") for stage in ("tdec", "venc", "tenc"))
        for way in (["--model", commas], ["--bmodel-path", commas], VQA):
            with self.subTest(way[0]):
                done = self.objects("ask", "datasets/test/demo.jpg", "--question", "why", *way)
                self.assertEqual(done[0]["question"], "why")
                (info,) = self.objects("info", *way)
                self.assertEqual(info["tasks"]["ask"], True)
                names = {network["name"] for network in info["networks"]}
                self.assertEqual(names, {"blip_vqa_venc", "blip_vqa_tenc", "blip_vqa_tdec"})
                launched = {one["network"] for one in self.objects("bench", "--runs", 1, *way)}
                self.assertEqual(launched, names)
        (info,) = self.objects("info", BLIP_MODEL=commas)
        self.assertEqual(len(info["networks"]), 3)

    def test_mistakes(self):
        done = self.blip("info", "--model", model("cap"), "--bmodel-path", model("itm"), code=2)
        self.assertIn("exclude each other", done.stderr)
        done = self.blip("info", "--model", model("cap") + "," + model("itm"), code=3)
        self.assertIn("not one model", done.stderr)
        done = self.blip("info", "--model", model("cap") + ",x.bmodel", code=3)
        self.assertIn("x.bmodel", done.stderr)

    def test_a_comma_in_a_files_own_name(self):
        shutil.copy(self.folder / model("cap"), self.folder / "a,b.bmodel")
        (info,) = self.objects("info", "-m", "a,b.bmodel")
        self.assertEqual(info["tasks"]["caption"], True)


@unittest.skipUnless(os.environ.get("BLIP_HAS_SERVER") == "1", "built without blip serve")
class Backends(SampleTest):
    """blip serve in the place of the sample's web_ui/server-backend_X.py."""

    def serve(self, *arguments, folder=""):
        process = subprocess.Popen(
            [PROGRAM, "serve", "--port", "0", "--no-history", "-q", *arguments],
            cwd=self.folder / folder,
            env=sample_folder.environment(),
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 60)
        self.addCleanup(process.terminate)
        return process.stdout.readline().decode().strip().rstrip("/")

    def request(self, address, form=None):
        data = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
        try:
            with urllib.request.urlopen(address, data, timeout=60) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def answer(self, address, name, texts):
        picture = (self.folder / "datasets/test/demo.jpg").read_bytes()
        form = {"id": name, "texts": texts, "image": base64.b64encode(picture)}
        pushed = self.request(address + "/push_data", form)
        self.assertEqual(pushed, (200, {"status": "success"}))
        status, result = 400, None
        while status == 400:
            status, result = self.request(address + f"/get_result?id={name}")
        return result

    def expected(self, task):
        picture = "datasets/test/demo.jpg"
        if task == "caption":
            return {"texts": list(self.captions("demo.jpg").values())}
        if task == "ask":
            return {
                "question": QUESTIONS,
                "texts": [a for _, a in self.answers(picture, *QUESTIONS)],
            }
        similarity = [str(value) for _, value in self.matches(picture, *TEXTS)]
        return {"question": TEXTS, "similarity": similarity}

    def test_with_the_samples_own_models(self):
        """The sample starts its backends in web_ui, beside models."""
        (self.folder / "web_ui").mkdir()
        for task, texts, folder in (
            ("caption", [], "web_ui"),
            ("match", TEXTS, "web_ui"),
            ("ask", QUESTIONS, ""),
        ):
            with self.subTest(task):
                address = self.serve("--sophon-demo", task, folder=folder)
                got = self.answer(address, 1700000000123, texts)
                self.assertEqual(got, {"id": 1700000000123, **self.expected(task)})

    def test_all_three_in_one(self):
        files = ",".join(model(f"vqa_{stage}") for stage in ("venc", "tenc", "tdec"))
        address = self.serve(
            "--model", model("cap"), "--model", model("itm"), "--model", "vqa=" + files
        )
        for task, texts in (("caption", []), ("match", TEXTS), ("ask", QUESTIONS)):
            got = self.answer(f"{address}/{task}", 5, texts)
            self.assertEqual(got, {"id": 5, **self.expected(task)})
        _, models = self.request(address + "/v1/models")
        self.assertEqual(
            [(one["id"], one["tasks"]) for one in models["data"]],
            [
                ("blip_cap_bm1684x_f32_1b", ["caption"]),
                ("blip_itm_bm1684x_f32_1b", ["match"]),
                ("vqa", ["ask"]),
            ],
        )

    def test_the_samples_options(self):
        address = self.serve(*VQA, "--bmodel_path", model("itm"), "--tokenizer_path", TOKENIZER)
        for task, texts in (("match", TEXTS), ("ask", QUESTIONS)):
            got = self.answer(f"{address}/{task}", 5, texts)
            self.assertEqual(got, {"id": 5, **self.expected(task)})

    def test_a_model_of_another_task(self):
        done = self.blip("serve", "--sophon-demo", "ask", "--model", model("cap"), code=2)
        self.assertIn("--sophon-demo ask: no loaded model can ask", done.stderr)


if __name__ == "__main__":
    unittest.main()
