"""Pictures in every form of argument, and bad ones among good ones."""

import base64
import os
import re
import signal
import socket
import subprocess
import time
import unittest
import zlib
from pathlib import Path

from harness import PROGRAM, TIMEOUT, CliTest, png, png_file, run, scene_path, scenes


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
        self.assertEqual(
            self.images(self.folder),
            [f"{self.folder}/{name}" for name in ("a.PNG", "b.png", "sub/c.png")],
        )

    def test_pattern_the_shell_did_not_expand(self):
        self.assertEqual(self.images(f"{self.folder}/*.png"), [f"{self.folder}/b.png"])
        self.assertEqual(
            self.images(f"{self.folder}/[ab].*"), [f"{self.folder}/a.PNG", f"{self.folder}/b.png"]
        )

    def test_pattern_without_a_match_is_one_failed_input(self):
        result = run("caption", f"{self.folder}/*.webp", f"{self.folder}/b.png", "--json")
        self.assertEqual(result.code, 1)
        self.assertIn("no file matches", result.objects[0]["error"])
        self.assertIn("caption", result.objects[1])

    def test_names_that_look_like_patterns_or_lists(self):
        self.write("[2020]/x.png", png(9, 9))
        self.write("a*b.png", png(9, 9))
        self.assertEqual(
            self.images("[2020]", "a*b.png", cwd=self.folder), ["./[2020]/x.png", "a*b.png"]
        )

    def test_standard_input(self):
        data = Path(scene_path(scenes()[0])).read_bytes()
        result = run("caption", "-", "--json", stdin=data)
        self.assertEqual((result.code, result.objects[0]["image"]), (0, "-"))
        self.assertEqual(
            result.objects[0]["caption"] + "\n", self.ok("caption", scene_path(scenes()[0])).out
        )
        self.assertIn("standard input is empty", run("caption", "-").err)

    def test_standard_input_once(self):
        result = run("caption", "-", "-", "--json", stdin=png(8, 8))
        self.assertEqual(result.code, 1)
        self.assertIn("caption", result.objects[0])
        self.assertIn("twice", result.objects[1]["error"])

    def test_options_may_stand_among_the_pictures(self):
        a, b = f"{self.folder}/a.PNG", f"{self.folder}/b.png"
        result = self.ok("match", a, "--text", "a cat", b, "--text", "a dog", "--json")
        self.assertEqual(
            [(o["image"], o["text"]) for o in result.objects],
            [(a, "a cat"), (a, "a dog"), (b, "a cat"), (b, "a dog")],
        )

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
        self.assertEqual(
            (result.code, result.objects[0]["image"]), (0, f"{self.folder}/caf\ufffd.png")
        )
        self.assertEqual(base64.b64decode(result.objects[0]["image_bytes"]), name)
        self.assertNotIn(
            "image_bytes", self.ok("caption", f"{self.folder}/b.png", "--json").objects[0]
        )

    def test_names_can_be_told_apart_and_do_nothing_to_a_terminal(self):
        folder = os.fsencode(self.folder) + b"/names"
        os.mkdir(folder)
        names = [
            b"a\tb.png",
            b"a\nb.png",
            b"a\\nb.png",
            b"l-\xe8.png",
            b"l-\xe9.png",
            b"c\xc2\x9b31m.png",
            b"r\xe2\x80\xaegnp.png",
        ]
        for name in names:
            with open(folder + b"/" + name, "wb") as file:
                file.write(png(9, 9))
        done = run("caption", folder, "-q")
        shown = [line.split("\t")[0].rsplit("/", 1)[1] for line in done.out.split("\n")[:-1]]
        self.assertEqual(
            sorted(shown),
            sorted(
                [
                    r"a\tb.png",
                    r"a\nb.png",
                    r"a\\nb.png",
                    r"l-\xe8.png",
                    r"l-\xe9.png",
                    r"c\xc2\x9b31m.png",
                    r"r\xe2\x80\xaegnp.png",
                ]
            ),
        )
        back = [
            re.sub(
                rb"\\(x..|.)",
                lambda m: {b"t": b"\t", b"n": b"\n", b"\\": b"\\"}.get(m[1])
                or bytes([int(m[1][1:], 16)]),
                s.encode(),
            )
            for s in shown
        ]
        self.assertEqual(sorted(back), sorted(names))
        rows = run("caption", folder, "-q", "--json")
        exact = [
            base64.b64decode(o["image_bytes"]) if "image_bytes" in o else o["image"].encode()
            for o in rows.objects
        ]
        self.assertEqual(sorted(n.rsplit(b"/", 1)[1] for n in exact), sorted(names))
        for text in (done.out, rows.out):
            self.assertNotRegex(text, "[\u0080-\u009f\u202e]")


class Folders(CliTest):
    def test_what_cannot_be_read_is_named_and_the_rest_is_counted(self):
        self.write("a.jpg", png(9, 9))
        self.write("b.tif", b"II\x2a\0" + bytes(20))
        self.write("c", b"\0\0\0\x1cftypheic" + bytes(20))
        self.write("d", png(9, 9))
        self.write("e.mpo", png(9, 9))
        self.write("f.mp4", b"\0\0\0\x1cftypisom" + bytes(20))
        self.write("notes.txt", "BM is no bitmap, just a text")
        self.write(".hidden.png", png(9, 9))
        os.mkfifo(self.folder / "g.png")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.folder / "h.png"))
            result = run("caption", self.folder, "--json")
        self.assertEqual(result.code, 1)
        self.assertEqual(
            [(o["image"].rsplit("/", 1)[1], "caption" in o) for o in result.objects],
            [("a.jpg", True), ("b.tif", False), ("c", False), ("d", True), ("e.mpo", True)],
        )
        self.assertIn("TIFF", result.objects[1]["error"])
        self.assertIn(
            "left out: 2 files that are no pictures, 1 hidden file or folder, 2 pipes, "
            "sockets or devices",
            result.err,
        )

    def test_links_are_followed_once(self):
        self.write("real/a.png", png(9, 9))
        self.write("real/sub/b.png", png(9, 9))
        self.write("top/c.png", png(9, 9))
        os.symlink(self.folder / "real", self.folder / "top" / "link")
        os.symlink(self.folder / "top", self.folder / "real" / "loop")
        result = self.ok("caption", self.folder / "top", "--json")
        self.assertEqual(
            [os.path.relpath(o["image"], self.folder / "top") for o in result.objects],
            ["c.png", "link/a.png", "link/sub/b.png"],
        )
        self.assertIn("1 link to a folder searched already", result.err)


class Lists(CliTest):
    def test_encodings(self):
        picture = scene_path(scenes()[0])
        for name, data in (
            ("le", "\ufeffa clock\r\ntwo d\u00f6gs \U0001f431\n".encode("utf-16-le")),
            ("be", "\ufeffa clock\ntwo d\u00f6gs \U0001f431".encode("utf-16-be")),
        ):
            texts = [
                o["text"]
                for o in self.ok(
                    "match", picture, "--texts", self.write(name, data), "--json"
                ).objects
            ]
            self.assertEqual(texts, ["a clock", "two d\u00f6gs \U0001f431"], name)
        self.fails(
            2,
            "line 2: bytes that are not UTF-8",
            "match",
            picture,
            "--texts",
            self.write("latin", b"a\ncaf\xe9\n"),
        )
        self.fails(
            2,
            "line 1: a NUL byte",
            "match",
            picture,
            "--texts",
            self.write("nul", "a cat\n".encode("utf-16-le")),
        )
        self.fails(
            2,
            "not UTF-8",
            "ask",
            picture,
            "--question",
            "a",
            "--answers",
            self.write("half", b"\xff\xfea\0\x00\xd8b\0"),
        )
        self.fails(2, "--text is not UTF-8", "match", picture, "--text", b"caf\xe9")
        self.fails(2, "--prompt is not UTF-8", "caption", picture, "--prompt", b"caf\xe9")

    def test_a_list_from_a_pipe(self):
        done = subprocess.run(
            [
                "bash",
                "-c",
                '"$0" match "$1" --texts <(printf "a cat\\ntwo dogs\\n") -q',
                PROGRAM,
                scene_path(scenes()[0]),
            ],
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        self.assertEqual(
            [line.split(b"\t")[2] for line in done.stdout.splitlines()], [b"a cat", b"two dogs"]
        )


class Interrupted(CliTest):
    def ends(self, number, *arguments, after=1.5):
        process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        time.sleep(after)
        self.assertIsNone(process.poll())
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + number, err)

    def test_waiting_for_a_pipe(self):
        pipe = self.folder / "pipe.png"
        os.mkfifo(pipe)
        picture = scene_path(scenes()[0])
        self.ends(signal.SIGTERM, "caption", pipe, "-q")
        self.ends(signal.SIGINT, "match", picture, "--texts", pipe, "-q")
        self.ends(
            signal.SIGINT,
            "dump",
            "--stage",
            "pixels",
            "--image",
            pipe,
            "--output",
            self.folder / "x.npy",
        )
        self.ends(signal.SIGTERM, "caption", "-", "-q")

    def test_long_work(self):
        texts = self.write("texts.txt", "".join(f"a clock number {i}\n" for i in range(60000)))
        self.ends(
            signal.SIGTERM, "embed", "-q", "--texts", texts, "--output", self.folder / "x.npy"
        )
        self.assertFalse((self.folder / "x.npy").exists())
        self.ends(signal.SIGINT, "bench", "--runs", "1000")

    def test_a_second_signal_ends_it_at_once(self):
        pipe = self.folder / "pipe.png"
        os.mkfifo(pipe)
        process = subprocess.Popen(
            [PROGRAM, "caption", pipe, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(1)
        # Both are there before it can look.
        for number in (
            signal.SIGSTOP,
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGCONT,
        ):
            process.send_signal(number)
        process.communicate(timeout=60)
        self.assertIn(process.returncode, (-signal.SIGINT, -signal.SIGTERM))


class BadTexts(CliTest):
    """A text without a token (a zero-width space) among good ones fails alone."""

    BAD = "\u200b"

    def failing(self, *arguments):
        result = run(*arguments)
        self.assertEqual(result.code, 1, result.err)
        return result

    def test_match(self):
        first, second = map(scene_path, scenes()[:2])
        texts = self.write("texts.txt", f"a cat\n{self.BAD}\ntwo dogs\n")
        objects = self.failing("match", first, second, "--texts", texts, "--json").objects
        self.assertEqual(
            [(o["image"], o["text"], "error" in o) for o in objects],
            [
                (p, t, t == self.BAD)
                for p in (first, second)
                for t in ("a cat", self.BAD, "two dogs")
            ],
        )
        alone = self.ok("match", first, "--text", "a cat", "--text", "two dogs", "--json").objects
        self.assertEqual([objects[0], objects[2]], alone)
        self.assertIn("empty", objects[1]["error"])
        result = self.failing("match", first, "--texts", texts)
        self.assertEqual([line.split("\t")[2] for line in result.lines], ["a cat", "two dogs"])
        self.assertIn("empty", result.err)

    def test_ask(self):
        picture = scene_path(scenes()[0])
        objects = self.failing(
            "ask", picture, "--question", "is there a clock?", "--question", self.BAD, "--json"
        ).objects
        self.assertEqual(
            [(o["question"], "answer" in o) for o in objects],
            [("is there a clock?", True), (self.BAD, False)],
        )
        answers = self.write("answers.txt", f"yes\n{self.BAD}\nno\n")
        bad, good = self.failing(
            "ask", picture, "--question", "is there a clock?", "--answers", answers, "--json"
        ).objects
        self.assertEqual(list(bad), ["answer", "error"])
        self.assertEqual(sorted(a["answer"] for a in good["answers"]), ["no", "yes"])

    def test_embed(self):
        output = self.folder / "x.npy"
        texts = ("--text", "a cat", "--text", self.BAD, "--text", "two dogs")
        objects = self.failing("embed", *texts, "--output", output, "--json").objects
        self.assertEqual(objects[0], {"text": "a cat", "row": 0})
        self.assertEqual(list(objects[1]), ["text", "error"])
        self.assertEqual(objects[2], {"text": "two dogs", "row": 1})


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
        self.check(
            Path(scene_path(scenes()[0])).read_bytes()[:3000],
            "(?i)truncated|damaged|end|incomplete|not enough|read error",
        )

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
