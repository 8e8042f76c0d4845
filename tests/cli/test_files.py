"""convert, info, devices and dump: files written whole or not at all."""

import os
import resource
import shutil
import stat
import subprocess
import unittest
from pathlib import Path

from harness import PROGRAM, SOURCE, CliTest, png, read_npy, run, scene_path, scenes

PICTURE = scene_path(scenes()[0])
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class Convert(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.ok("info", "--json").objects[0]["path"]

    def files(self):
        return sorted(p.name for p in self.folder.iterdir())

    def test_every_type(self):
        sizes = {}
        caption = self.ok("caption", PICTURE).out
        for kind in ("f32", "f16", "bf16", "q8_0"):
            target = self.folder / f"{kind}.gguf"
            (report,) = self.ok("convert", self.model, target, "--type", kind, "--json").objects
            sizes[kind] = target.stat().st_size
            self.assertEqual(
                (report["destination"], report["type"], report["bytes"]),
                (str(target), kind, sizes[kind]),
            )
            (info,) = self.ok("info", "--model", target, "--json").objects
            self.assertEqual(info["format"], "gguf")
            self.assertTrue(
                all(part["type"] in (kind, "mixed") for part in info["parts"]), info["parts"]
            )
            self.assertEqual(self.ok("caption", PICTURE, "--model", target).out, caption)
        self.assertLess(sizes["q8_0"], sizes["f16"])
        self.assertEqual(sizes["f16"], sizes["bf16"])
        self.assertLess(sizes["f16"], sizes["f32"])
        self.assertEqual(self.files(), ["bf16.gguf", "f16.gguf", "f32.gguf", "q8_0.gguf"])

    def test_full_disk_leaves_the_old_file_and_nothing_else(self):
        target = self.write("model.gguf", "the old file")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        result = run("convert", self.model, target, preexec=limit)
        self.assertEqual(result.code, 1, result.err)
        self.assertIn("model.gguf", result.err)
        self.assertEqual(Path(target).read_text(), "the old file")
        self.assertEqual(self.files(), ["model.gguf"])

    def test_destinations_that_cannot_be(self):
        self.fails(1, "no folder", "convert", self.model, self.folder / "none" / "x.gguf")
        self.fails(1, "it is a folder", "convert", self.model, self.folder)
        self.fails(1, "not a plain file", "convert", self.model, "/dev/full")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        self.assertEqual(self.files(), [])

    def test_source_and_destination_the_same(self):
        link = self.folder / "link.gguf"
        link.symlink_to(os.path.abspath(self.model))
        self.fails(2, "same file", "convert", self.model, link)

    def test_the_source_is_never_replaced(self):
        """Named by its folder, through a hard link, or by the settings that it is read with."""
        folder = self.folder / "model"
        shutil.copytree(SOURCE / "tests" / "data" / "parity" / "caption", folder)
        os.link(folder / "model.safetensors", self.folder / "hard.gguf")
        only = self.folder / "only"
        only.mkdir()
        shutil.copy(self.model, only / "m.gguf")
        for source, target in (
            (folder, folder / "model.safetensors"),
            (folder, self.folder / "hard.gguf"),
            (folder, folder / "config.json"),
            (only, only / "m.gguf"),
            (only / "m.gguf", only / ".." / "only" / "m.gguf"),
        ):
            with self.subTest(source=source, target=target):
                before = Path(target).read_bytes()
                self.fails(2, "source and destination are the same file", "convert", source, target)
                self.assertEqual(Path(target).read_bytes(), before)
        self.ok("convert", folder, folder / "new.gguf")
        self.ok("convert", folder, folder / "new.gguf")  # an older one that nothing is read from

    def test_missing_or_wrong_source(self):
        self.fails(3, "none.pth", "convert", self.folder / "none.pth", self.folder / "x.gguf")
        self.fails(
            3, "bad.pth", "convert", self.write("bad.pth", "no model"), self.folder / "x.gguf"
        )
        self.assertEqual(self.files(), ["bad.pth"])


class Info(CliTest):
    def test_json(self):
        (info,) = self.ok("info", "--json").objects
        tasks = dict.fromkeys(("caption", "match_itm", "match_itc", "ask", "rank"), True)
        self.assertEqual(info["tasks"], {**tasks, "nlvr": False})
        names = [part["name"] for part in info["parts"]]
        self.assertEqual(
            names,
            ["vision", "text_encoder", "caption_decoder", "question_encoder", "answer_decoder"],
        )
        for part in info["parts"]:
            self.assertTrue(
                part["layers"] > 0
                and part["width"] % part["heads"] == 0
                and part["parameters"] > 0,
                part,
            )
        self.assertGreaterEqual(
            info["parameters"], sum(part["parameters"] for part in info["parts"])
        )
        self.assertEqual(info["image_size"] % info["patch_size"], 0)
        self.assertEqual(info["device"], "cpu")

    def test_text(self):
        lines = self.ok("info").lines
        self.assertIn("tasks       caption, match (ITM), match (ITC), embed, ask", lines)
        self.assertTrue(any(line.startswith("vision ") for line in lines))

    def test_threads(self):
        self.assertEqual(self.ok("info", "--json", "--threads", 1).objects[0]["threads"], 1)

    def test_devices(self):
        device, *_ = self.ok("devices", "--json").objects
        self.assertEqual(device["id"], "cpu")
        self.assertTrue(device["description"])
        self.assertEqual(self.ok("devices").lines[0], f"cpu\t{device['description']}")


class Dump(CliTest):
    def dump(self, stage, *arguments):
        output = self.folder / f"{stage}.npy"
        (report,) = self.ok(
            "dump", "--stage", stage, "--output", output, "--json", *arguments
        ).objects
        shape, values = read_npy(output)
        self.assertEqual(tuple(report["shape"]), shape)
        return shape, values

    def test_pixels_of_a_plain_picture_are_its_normalised_colour(self):
        size = self.ok("info", "--json").objects[0]["image_size"]
        colour = (200, 100, 50)
        shape, values = self.dump(
            "pixels", "--image", self.write("plain.png", png(33, 21, lambda x, y: colour))
        )
        self.assertEqual(shape, (1, 3, size, size))
        for channel in range(3):
            expected = (colour[channel] / 255 - MEAN[channel]) / STD[channel]
            plane = values[channel * size * size : (channel + 1) * size * size]
            self.assertAlmostEqual(min(plane), expected, places=5)
            self.assertAlmostEqual(max(plane), expected, places=5)

    def test_shapes_of_the_towers(self):
        (info,) = self.ok("info", "--json").objects
        width = {part["name"]: part["width"] for part in info["parts"]}
        shape, values = self.dump("vision", "--image", PICTURE)
        self.assertEqual(
            shape, (1, (info["image_size"] // info["patch_size"]) ** 2 + 1, width["vision"])
        )
        self.assertTrue(all(abs(v) < 1000 for v in values))
        shape, _ = self.dump("text", "--image", PICTURE, "--text", "a cat")
        self.assertEqual((shape[0], shape[2]), (1, width["text_encoder"]))
        shape, question = self.dump("question", "--image", PICTURE, "--text", "a cat")
        self.assertEqual((shape[0], shape[2]), (1, width["question_encoder"]))
        self.assertNotEqual(question, self.dump("text", "--image", PICTURE, "--text", "a cat")[1])

    def test_to_standard_output(self):
        done = subprocess.run(
            [PROGRAM, "dump", "--stage", "pixels", "--image", PICTURE, "--output", "-"],
            capture_output=True,
            check=True,
        )
        self.assertEqual(done.stdout, self.pixels_file())

    def pixels_file(self):
        self.dump("pixels", "--image", PICTURE)
        return (self.folder / "pixels.npy").read_bytes()

    def test_what_is_no_npy_file_is_never_replaced(self):
        picture, model, texts = (
            self.folder / "p.png",
            self.folder / "m.gguf",
            self.write("t.txt", "a clock\n"),
        )
        shutil.copy(PICTURE, picture)
        shutil.copy(SOURCE / "models" / "blip-demo.gguf", model)
        for arguments in (
            ("embed", picture, "--output", picture),
            ("embed", picture, "--model", model, "--output", model),
            ("embed", "--texts", texts, "--output", texts),
            ("embed", self.folder, "--exclude", "*.gguf", "--output", picture),
            ("dump", "--stage", "vision", "--image", picture, "--output", picture),
        ):
            with self.subTest(arguments=arguments):
                before = Path(arguments[-1]).read_bytes()
                self.fails(2, "it exists and is no .npy file", *arguments)
                self.assertEqual(Path(arguments[-1]).read_bytes(), before)
        self.ok("embed", picture, "--output", self.folder / "v.npy")
        self.ok("embed", picture, "--output", self.folder / "v.npy")  # an older result

    def test_failures(self):
        result = run(
            "dump",
            "--stage",
            "pixels",
            "--image",
            self.write("bad.png", "x"),
            "--output",
            self.folder / "x.npy",
        )
        self.assertEqual(result.code, 1)
        self.assertIn("bad.png", result.err)
        self.fails(
            1,
            "No space left",
            "dump",
            "--stage",
            "pixels",
            "--image",
            PICTURE,
            "--output",
            "/dev/full",
        )
        self.fails(
            1,
            "no folder",
            "dump",
            "--stage",
            "pixels",
            "--image",
            PICTURE,
            "--output",
            self.folder / "none" / "x.npy",
        )
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["bad.png"])


if __name__ == "__main__":
    unittest.main()
