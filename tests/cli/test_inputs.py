"""Pictures in every form of argument, and bad ones among good ones."""
import os
import unittest
import zlib

from harness import CliTest, png, png_file, run, scene_path, scenes


class Arguments(CliTest):
    def setUp(self):
        super().setUp()
        good = png(40, 30)
        for name in ("b.png", "a.PNG", "sub/c.png", ".hidden.png", ".cache/d.png"):
            self.write(name, good)
        self.write("notes.txt", "no picture")

    def images(self, *arguments, code=0, **keywords):
        result = run("caption", *arguments, "--json", "--beams", 1, **keywords)
        self.assertEqual(result.code, code, result.err)
        return [o["image"] for o in result.objects]

    def test_folder_gives_its_pictures_sorted_without_hidden_ones(self):
        self.assertEqual(self.images(self.folder), [f"{self.folder}/{name}" for name in ("a.PNG", "b.png", "sub/c.png")])

    def test_pattern_the_shell_did_not_expand(self):
        self.assertEqual(self.images(f"{self.folder}/*.png"), [f"{self.folder}/b.png"])
        self.assertEqual(self.images(f"{self.folder}/[ab].*"), [f"{self.folder}/a.PNG", f"{self.folder}/b.png"])

    def test_pattern_without_a_match_is_one_failed_input(self):
        result = run("caption", f"{self.folder}/*.webp", f"{self.folder}/b.png", "--json")
        self.assertEqual(result.code, 1)
        self.assertIn("no file matches", result.objects[0]["error"])
        self.assertIn("caption", result.objects[1])

    def test_names_that_look_like_patterns_or_lists(self):
        self.write("[2020]/x.png", png(9, 9))
        self.write("a*b.png", png(9, 9))
        self.assertEqual(self.images("[2020]", "a*b.png", cwd=self.folder), ["./[2020]/x.png", "a*b.png"])

    def test_standard_input(self):
        data = open(scene_path(scenes()[0]), "rb").read()
        result = run("caption", "-", "--json", stdin=data)
        self.assertEqual((result.code, result.objects[0]["image"]), (0, "-"))
        self.assertEqual(result.objects[0]["caption"] + "\n", self.ok("caption", scene_path(scenes()[0])).out)
        self.assertIn("standard input is empty", run("caption", "-").err)

    def test_standard_input_once(self):
        result = run("caption", "-", "-", "--json", stdin=png(8, 8))
        self.assertEqual(result.code, 1)
        self.assertIn("caption", result.objects[0])
        self.assertIn("twice", result.objects[1]["error"])

    def test_options_may_stand_among_the_pictures(self):
        a, b = f"{self.folder}/a.PNG", f"{self.folder}/b.png"
        result = self.ok("match", a, "--text", "a cat", b, "--text", "a dog", "--json")
        self.assertEqual([(o["image"], o["text"]) for o in result.objects],
                         [(a, "a cat"), (a, "a dog"), (b, "a cat"), (b, "a dog")])

    def test_empty_folder(self):
        (self.folder / "empty").mkdir()
        result = run("caption", self.folder / "empty")
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertIn("no picture in folder", result.err)

    def test_a_name_that_is_not_utf8_does_not_break_the_json(self):
        name = os.fsencode(self.folder) + b"/caf\xe9.png"
        with open(name, "wb") as file:
            file.write(png(12, 12))
        result = run("caption", name, "--json")
        self.assertEqual((result.code, result.objects[0]["image"]), (0, f"{self.folder}/caf\ufffd.png"))


class BadPictures(CliTest):
    def check(self, bad, message, *options):
        """The bad picture stands between two good ones; they are done, it is reported, in order."""
        path = self.write("bad.png", bad)
        first, last = self.write("first.png", png(20, 20)), self.write("last.png", png(30, 20))
        for batch in (1, 8):
            result = run("caption", first, path, last, "--json", "--batch", batch, *options)
            self.assertEqual(result.code, 1, result.err)
            objects = result.objects
            self.assertEqual([o["image"] for o in objects], [first, path, last])
            self.assertEqual(list(objects[1]), ["image", "error"])
            self.assertRegex(objects[1]["error"], message)
            self.assertTrue("caption" in objects[0] and "caption" in objects[2], objects)
        text = run("caption", first, path, last, "-q", *options)
        self.assertEqual((text.code, len(text.lines)), (1, 2))
        self.assertRegex(text.err, message)
        self.assertIn("bad.png", text.err)
        self.assertEqual(text.err.count("bad.png"), 1)

    def test_truncated(self):
        self.check(open(scene_path(scenes()[0]), "rb").read()[:3000], "(?i)truncated|damaged|end|incomplete|not enough|read error")

    def test_empty(self):
        self.check(b"", "(?i)empty")

    def test_no_picture(self):
        self.check(b"just some text, no picture at all", "(?i)jpeg|format")

    def test_bomb(self):
        self.check(png_file(60000, 60000, zlib.compress(b"\0" * 1000)), "(?i)pixels")

    def test_pixel_limit(self):
        self.check(png(50, 50), "(?i)pixels", "--max-pixels", "2000")

    def test_byte_limit(self):
        self.check(png(20, 20) + b"\0" * 5000, "(?i)bytes", "--max-bytes", "4000")

    def test_missing_file(self):
        result = run("caption", self.folder / "none.png", scene_path(scenes()[0]), "--json")
        self.assertEqual(result.code, 1)
        self.assertIn("No such file", result.objects[0]["error"])
        self.assertIn("caption", result.objects[1])

    def test_all_bad(self):
        result = run("match", self.write("x.png", "x"), "--text", "a cat")
        self.assertEqual((result.code, result.out), (1, ""))


if __name__ == "__main__":
    unittest.main()
