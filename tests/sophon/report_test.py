"""tools/sophon/report on fake chips: whole runs in the vendor's form, the sums of its tables."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake_test import LENGTH, PROGRAM, RUNTIME, SIZE, bmodel, png  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "sophon"))
from blip_sophon import report  # noqa: E402

PICTURE = f"in 0 1,3,{SIZE},{SIZE}"
TEXT = [f"in 0 1,{LENGTH}"] * 2


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.pictures = self.folder / "pictures"
        self.pictures.mkdir()
        for i in range(3):
            (self.pictures / f"{i}.png").write_bytes(png(20, 20, i + 1))

    def model(self, name, network, *ports):
        path = self.folder / f"{name}.bmodel"
        path.write_bytes(bmodel([f"network {name} {network} 1", *ports]))
        return str(path)

    def run_tool(self, *arguments, code=0, written=False, **variables):
        out = self.folder / "out"
        command = [sys.executable, "-B", ROOT / "tools/sophon/report", *arguments]
        for option, value in (("--images", self.pictures), ("--out", out), ("--blip", PROGRAM)):
            command += [option, value] if option not in arguments else []
        environment = {**os.environ, "BLIP_BMRT_DIR": RUNTIME, **variables}
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        if code != 0:
            self.assertEqual(out.with_suffix(".md").exists(), written)
            return done.stderr
        return json.loads(out.with_suffix(".json").read_text()), out.with_suffix(".md").read_text()

    def test_captions(self):
        model = self.model("blip_cap", "caption", PICTURE, f"out 0 1,{LENGTH}")
        result, tables = self.run_tool("--model", model)
        self.assertEqual((result["chip"], list(result["programs"])), ("bm1684x", ["caption"]))
        speed = result["programs"]["caption"]
        self.assertEqual((speed["pictures"], speed["results"]), (3, 3))
        for part in ("decode", "preprocess", "inference"):
            self.assertGreater(speed[f"{part}_ms"], 0, part)
        (network,) = result["networks"]
        self.assertEqual((network["network"], network["launches"]), ("blip_cap", 3))
        self.assertAlmostEqual(network["mean_ms"], speed["inference_ms"], places=9)
        self.assertLessEqual(network["least_ms"], network["median_ms"])
        self.assertIn("Not compared: no checkpoint was given", tables)
        self.assertRegex(tables, r"\| caption \| blip_cap \| 1 \| 3 \|.* - \|")
        self.assertIn("39.15 / 338.35", tables)

    def test_match_and_its_texts(self):
        model = self.model("blip_itm", "vision", PICTURE, *TEXT, "out 0 1,1")
        texts = self.folder / "texts"
        texts.write_text("a cat\n\ntwo dogs | a fence\n")
        result, _ = self.run_tool("--model", model, "--texts", texts)
        self.assertEqual(result["programs"]["match"]["results"], 6)
        self.assertEqual(result["networks"][0]["launches"], 6)

    def test_three_bmodels_of_questions(self):
        states = "1,4,8"
        models = [
            self.model("blip_vqa_venc", "vision", PICTURE, f"out 0 {states}"),
            self.model("blip_vqa_tenc", "vision", f"in 0 {states}", *TEXT, f"out 0 1,{LENGTH},8"),
            self.model("blip_vqa_tdec", "caption", f"in 0 1,{LENGTH},8", f"out 0 1,{LENGTH}"),
        ]
        arguments = [x for model in reversed(models) for x in ("--model", model)]
        said = self.run_tool(*arguments[:4], code=1)
        self.assertIn("these bmodels are not one model", said)
        result, _ = self.run_tool(*arguments)
        launches = {n["network"]: n["launches"] for n in result["networks"]}
        self.assertEqual(launches["blip_vqa_venc"], 3)

    def test_against_a_checkpoint(self):
        """The fake chip's captions are not the bundled model's: every one is told."""
        model = self.model("blip_cap", "caption", PICTURE, f"out 0 1,{LENGTH}")
        result, tables = self.run_tool(
            "--model", model, "--reference", ROOT / "models/blip-demo.gguf"
        )
        captions = result["accuracy"]["captions"]
        self.assertEqual((captions["compared"], captions["same"]), (3, 0))
        self.assertEqual(len(captions["differing"]), 3)
        self.assertIn("| captions | 3 | 0 | 3 | 0 |", tables)
        self.assertIn(captions["differing"][0]["cpu"], tables)

    def test_a_chip_that_fails(self):
        model = self.model("blip_cap", "caption", PICTURE, f"out 0 1,{LENGTH}")
        (self.folder / "faults").write_text("0 launch hang\n")
        faults = {"BLIP_FAKE_FAULTS": str(self.folder / "faults"), "BLIP_SOPHON_TIMEOUT": "1"}
        self.assertIn("it has not answered", self.run_tool("--model", model, code=1, **faults))
        Path(model).write_bytes(Path(model).read_bytes()[:80])
        self.assertIn("truncated bmodel", self.run_tool("--model", model, code=1))
        Path(model).unlink()
        self.assertIn("no such file", self.run_tool("--model", model, code=1))

    def test_pictures_that_fail_are_told(self):
        model = self.model("blip_cap", "caption", PICTURE, f"out 0 1,{LENGTH}")
        (self.pictures / "broken.png").write_bytes(b"no picture")
        said = self.run_tool("--model", model, code=1, written=True)
        self.assertIn("broken.png: ", said)
        self.assertIn("report: 1 of the runs' inputs failed", said)
        tables = (self.folder / "out.md").read_text()
        self.assertRegex(tables, r"\| caption \| 4 \| 3 \| 1 \|")

    def test_wrong_arguments(self):
        model = self.model("blip_cap", "caption", PICTURE, f"out 0 1,{LENGTH}")
        for arguments, message in (
            (("--texts", "nope.txt"), "nope.txt: no such file; expected texts, one a line"),
            (("--blip", "/bin/true"), "it printed no results"),
        ):
            with self.subTest(message):
                self.assertIn(message, self.run_tool("--model", model, *arguments, code=1))
        said = self.run_tool("--model", model, "--limit", "0", code=2)
        self.assertIn("--limit 0: expected 1 or more seconds", said)
        (self.folder / "empty").mkdir()
        arguments = ("--model", model, "--images", self.folder / "empty")
        said = self.run_tool(*arguments, code=1, written=True)
        self.assertIn("1 of the runs' inputs failed", said)


class Sums(unittest.TestCase):
    def test_the_vendors_figures_are_of_its_networks(self):
        network = {"network": "blip_cap_bm1688_f32", "inputs": "f32 [1, 3, 384, 384]"}
        self.assertEqual(report.vendor_time("bm1688", network), 987)
        self.assertEqual(report.vendor_time("bm1684", network), "-")
        small = {**network, "inputs": "f32 [1, 3, 16, 16]"}
        self.assertEqual(report.vendor_time("bm1688", small), "-")
        self.assertEqual(report.vendor_time("bm1688", {**network, "network": "blip_xyz"}), "-")

    def test_texts(self):
        cpu = [{"image": i, "caption": c} for i, c in (("a", "x"), ("b", "y"), ("c", "z"))]
        chip = [
            {"image": "a", "caption": "x"},
            {"image": "b", "caption": "w"},
            {"image": "c", "error": "failed"},
        ]
        result = report.accuracy("caption", chip, cpu)["captions"]
        self.assertEqual((result["compared"], result["same"], result["failed"]), (2, 1, 1))
        self.assertEqual(result["differing"], [{"input": ["b"], "cpu": "y", "chip": "w"}])

    def test_numbers(self):
        def lines(*values):
            inputs = (("a", "s"), ("a", "t"), ("b", "s"), ("b", "t"))
            return [
                {"image": i, "text": t, "match_probability": v} for (i, t), v in zip(inputs, values)
            ]

        result = report.accuracy("match", lines(0.5, 0.4, 0.1, 0.2), lines(0.5, 0.44, 0.1, 0.07))
        self.assertEqual(list(result), ["match probabilities"])
        numbers = result["match probabilities"]
        self.assertAlmostEqual(numbers["largest_error"], 0.13)
        self.assertEqual(numbers["worst"]["input"], ["b", "t"])
        self.assertAlmostEqual(numbers["mean_error"], (0.04 + 0.13) / 4)
        self.assertAlmostEqual(numbers["rms_error"], ((0.04**2 + 0.13**2) / 4) ** 0.5)
        self.assertEqual((numbers["same_best_text"], numbers["pictures"]), (1, 2))

    def test_speed(self):
        times = {
            "read picture": [2.0, 4.0],
            "prepare": [1.0, 1.0],
            "preprocess": [0.5, 0.5],
            "encode": [10.0, 10.0],
            "match": [6.0, 8.0],
            "vision": [9.0, 9.5],
            "text": [5.0, 6.5],
        }
        speed = report.program_speed("match", times, {"vision", "text"}, 2)
        self.assertEqual(
            {k: v for k, v in speed.items() if k.endswith("_ms")},
            {
                "decode_ms": 3.0,
                "preprocess_ms": 1.5,
                "inference_ms": 15.0,
                "postprocess_ms": 2.0,
                "total_ms": 21.5,
            },
        )


if __name__ == "__main__":
    unittest.main()
