"""Captions in files beside the pictures, and the command that is a drop-in for a script."""

import resource
import shutil
import unittest
from pathlib import Path

from harness import SOURCE, png, run
from job_harness import FAST, JobTest, captions_of


class Sidecars(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(4)
        self.expected = captions_of(self.names)
        self.job = ("caption", self.folder / "pictures", *FAST)

    def text(self, i, ending=".txt"):
        return (self.folder / "pictures" / f"{i:04}{ending}").read_text("utf-8")

    def left(self):
        return sorted(
            p.name for p in (self.folder / "pictures").iterdir() if p.suffix not in (".png", ".txt")
        )

    def test_beside_each_picture(self):
        result = self.ok(*self.job, "--sidecar", "txt")
        self.assertEqual(result.out, "")
        for i, name in enumerate(self.names):
            self.assertEqual(self.text(i), self.expected[name] + "\n")
        self.assertEqual(self.left(), [])

    def test_what_exists(self):
        caption = self.expected[self.names[1]]
        for existing, expected in (
            ("skip", "mine\n"),
            ("append", f"mine, {caption}\n"),
            ("prepend", f"{caption}, mine\n"),
            ("overwrite", caption + "\n"),
        ):
            with self.subTest(existing):
                self.write("pictures/0001.txt", "mine\n")
                self.write("pictures/0002.txt", "")
                self.ok(*self.job, "--sidecar", ".txt", "--existing", existing)
                self.assertEqual(self.text(1), expected)
                self.assertEqual(self.text(2), self.expected[self.names[2]] + "\n")
                self.assertEqual(self.left(), [])

    def test_with_rows(self):
        self.write("pictures/0001.txt", "mine\n")
        for _ in range(2):
            self.ok(*self.job, "--sidecar", ".txt", "-o", self.path())
            self.assertEqual([row["image"] for row in self.rows()], self.names)
            self.assertEqual(self.text(1), "mine\n")
            self.assertEqual(self.text(3), self.expected[self.names[3]] + "\n")

    def test_two_pictures_of_one_sidecar(self):
        other = self.write("pictures/0001.bmp", png(9, 9))
        result = run(*self.job, "--sidecar", ".txt")
        self.assertEqual(result.code, 1)
        self.assertIn(
            f"{self.names[1]}: its sidecar {other[:-4]}.txt is another picture's", result.err
        )

    def test_a_picture_that_is_named_again(self):
        name, caption = self.names[0], self.expected[self.names[0]]
        self.write("pictures/0000.txt", "mine\n")
        options = ("--sidecar", ".txt", "--existing", "append")
        self.ok("caption", name, name, "-o", self.path(), *options, *FAST)
        self.assertEqual([row["image"] for row in self.rows()], [name, name])
        self.assertEqual(self.text(0), f"mine, {caption}\n")
        spelled = f"{self.folder}/pictures/../pictures/0001.png"
        result = run("caption", self.names[1], spelled, *options, *FAST)
        self.assertEqual(result.code, 1)
        self.assertIn(f"{spelled}: its sidecar {spelled[:-4]}.txt is another picture's", result.err)
        self.assertEqual(self.text(1), self.expected[self.names[1]] + "\n")

    def test_one_that_cannot_be_written(self):
        (self.folder / "pictures/0002.txt").mkdir()
        result = run(*self.job, "--sidecar", ".txt", "--existing", "overwrite", "-o", self.path())
        self.assertEqual(result.code, 1)
        (error,) = self.rows("out.errors.jsonl")
        self.assertEqual(error["image"], self.names[2])
        self.assertIn("Is a directory", error["error"])
        self.assertEqual(len(self.rows()), 3)

    def test_refusals(self):
        for options, message in (
            (("--sidecar", ".png"), ".png is the ending of pictures"),
            (("--sidecar", "a/b"), "is no ending such as .txt"),
            (("--existing", "append"), "--existing has no effect"),
            (("--shard", "1/2"), "--shard has no effect"),
            (("-o", self.path(), "--existing", "append"), "--existing has no effect"),
            (("--sidecar", ".txt", "--retry-errors"), "--retry-errors has no effect"),
            (("-o", self.path(), "--json"), "--json has no effect"),
            (("-o", self.path("out.txt")), "cannot tell the format"),
            (("-o", self.path(), "--shard", "0/2"), '"0/2" is no I/N'),
            (("-o", self.path(), "--shard", "3/2"), '"3/2" is no I/N'),
            (("-o", self.path(), "--template", "{x}"), "{x} is no field"),
            (("--tags", ".x"), "--tags has no effect without {tags}"),
        ):
            with self.subTest(options=options):
                self.fails(2, message, *self.job, *options, env={"BLIP_MODEL": "/nonexistent"})
        self.fails(1, "there is no folder", *self.job, "-o", self.path("none/out.csv"))
        self.fails(2, "no name to remember", "caption", "-", "-o", self.path())
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["pictures"])


BMP = (SOURCE / "tests/data/image/bmp_h40_b24.bmp").read_bytes()


class Metadata(JobTest):
    """Captions in the pictures themselves."""

    def setUp(self):
        super().setUp()
        self.names = self.pictures(3)
        self.expected = captions_of(self.names)
        self.job = ("caption", self.folder / "pictures", "--write-metadata", *FAST)
        result = run(*self.job, env={"BLIP_MODEL": "/nonexistent"})
        if "lacks exiv2" in result.err:
            self.skipTest("this build lacks exiv2")

    def vectors(self):
        return [o["embedding"] for o in self.ok("embed", self.folder / "pictures").objects]

    def bytes(self, i):
        return Path(self.names[i]).read_bytes()

    def test_descriptions(self):
        jpeg = self.folder / "pictures" / "ü.jpg"  # with an orientation
        shutil.copy(SOURCE / "tests/data/image/jpeg_exif6.jpg", jpeg)
        self.names.append(str(jpeg))
        self.expected = captions_of(self.names)
        before = self.vectors()
        self.ok(*self.job)
        self.assertEqual(self.vectors(), before)
        for i, name in enumerate(self.names):
            caption = self.expected[name].encode()
            described = b'<rdf:li xml:lang="x-default">' + caption + b"</rdf:li>"
            self.assertIn(described, self.bytes(i))
        self.assertIn(caption + b"\0", self.bytes(3))  # of EXIF
        self.assertEqual(len(list((self.folder / "pictures").iterdir())), 4)
        # It is there already; another is written where it is asked for.
        whole = self.bytes(0)
        self.assertIn("0 pictures in", self.ok(*self.job, "--trigger", "sks").err)
        self.assertEqual(self.bytes(0), whole)
        self.ok(*self.job, "--trigger", "lang=<ü>", "--existing", "overwrite", "--sidecar", "txt")
        self.assertIn("lang=&lt;ü&gt;, ".encode(), self.bytes(0))
        self.assertNotIn(whole[whole.index(b"<rdf:li") :][:60], self.bytes(0))
        self.assertEqual(self.vectors(), before)
        self.assertIn("lang=<ü>", (self.folder / "pictures/0000.txt").read_text("utf-8"))

    def test_a_format_without_it(self):
        bad = self.write("pictures/x.bmp", BMP)
        result = run(*self.job, "-o", self.path())
        self.assertEqual(result.code, 1)
        (error,) = self.rows("out.errors.jsonl")
        self.assertEqual(error["image"], bad)
        self.assertIn(f"cannot write a description into {bad}: ", error["error"])
        self.assertEqual([row["image"] for row in self.rows()], self.names)
        self.assertEqual(Path(bad).read_bytes(), BMP)

    def test_a_full_disk(self):
        before = [self.bytes(i) for i in range(3)]
        limit = len(before[0]) // 2
        small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        result = run(*self.job, preexec=small)
        self.assertEqual(result.code, 1)
        self.assertIn("File too large", result.err)
        self.assertEqual([self.bytes(i) for i in range(3)], before)
        self.ok(*self.job)
        self.assertIn(self.expected[self.names[2]].encode(), self.bytes(2))

    def test_refusals(self):
        for options, message in (
            (("--existing", "append"), "--existing append adds to sidecars, not to metadata"),
            (("--json",), "--json has no effect with --output, --sidecar or --write-metadata"),
        ):
            self.fails(2, message, *self.job, *options)


class MakeCaptions(JobTest):
    """The flags of the script, which say themselves what they mean."""

    def setUp(self):
        super().setUp()
        self.names = self.pictures(3)
        self.pictures(1, "pictures/below")

    def captions(self, *arguments, ending=".caption"):
        for path in self.folder.rglob("*" + ending):
            path.unlink()
        result = self.ok("make-captions", self.folder / "pictures", *arguments)
        self.assertEqual(result.out, "")
        found = sorted(self.folder.rglob("*" + ending))
        return {
            str(p.relative_to(self.folder / "pictures")): p.read_text("utf-8") for p in found
        }, result.err

    def printed(self, *options):
        lines = self.ok("caption", *self.names, *options).lines
        return [line.split("\t")[1] + "\n" for line in lines]

    def test_defaults(self):
        captions, _ = self.captions()
        self.assertEqual(list(captions), ["0000.caption", "0001.caption", "0002.caption"])
        self.assertEqual(
            list(captions.values()),
            self.printed(
                "--sample",
                "--top-p",
                0.9,
                "--repetition-penalty",
                1.1,
                "--seed",
                42,
                "--min-length",
                5,
                "--max-length",
                64,
            ),
        )

    def test_options(self):
        beams, _ = self.captions(
            "--beam_search",
            "--num_beams",
            4,
            "--max_length",
            12,
            "--min_length",
            3,
            "--top_p",
            0.5,
            "--batch_size",
            2,
            "--caption_extension",
            ".txt",
            "--max_data_loader_n_workers",
            2,
            "--pin_memory",
            ending=".txt",
        )
        self.assertEqual(
            list(beams.values()), self.printed("--beams", 4, "--max-length", 12, "--min-length", 3)
        )
        greedy, _ = self.captions("--beam_search")
        self.assertEqual(list(greedy.values()), self.printed("--beams", 1, "--max-length", 64))
        sampled, _ = self.captions("--seed", 7, "--top_p", 0.8)
        self.assertEqual(
            list(sampled.values()),
            self.printed(
                "--sample",
                "--top-p",
                0.8,
                "--seed",
                7,
                "--max-length",
                64,
                "--repetition-penalty",
                1.1,
            ),
        )

    def test_recursive_debug_and_the_old_spelling(self):
        captions, err = self.captions(
            "--recursive",
            "--debug",
            "--caption_extention",
            ".cap",
            "--caption_extension",
            ".txt",
            "--beam_search",
            ending=".cap",
        )
        self.assertEqual(list(captions), ["0000.cap", "0001.cap", "0002.cap", "below/0000.cap"])
        self.assertIn(f"{self.names[0]} {captions['0000.cap']}", err)

    def test_captions_that_exist_are_replaced(self):
        first, _ = self.captions("--beam_search")
        self.write("pictures/0000.caption", "mine\n")
        self.ok("make-captions", self.folder / "pictures", "--beam_search")
        self.assertEqual((self.folder / "pictures/0000.caption").read_text(), first["0000.caption"])

    def test_weights(self):
        for weights, advice in (
            (
                "https://example.org/model_large_caption.pth",
                "--model Salesforce/blip-image-captioning-large",
            ),
            ("large.pth", "--model large.pth"),
        ):
            self.fails(
                2,
                f"--caption_weights is not read here; give {advice}",
                "make-captions",
                self.folder,
                "--caption_weights",
                weights,
            )


if __name__ == "__main__":
    unittest.main()
