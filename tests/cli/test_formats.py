"""Which formats of pictures are read, what lies beneath transparency, and which files of folders
are left out.
"""

import os
import tarfile
import unittest

from harness import SOURCE, CliTest, png, read_npy, run

PICTURES = SOURCE / "tests" / "data" / "image" / "formats"
NAMES = ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG XL"]
MEAN, STD = 0.48145466, 0.26862954  # of red


class Formats(CliTest):
    def test_the_table(self):
        formats = self.ok("formats", "--json").objects
        self.assertEqual([f["name"] for f in formats], NAMES)
        by_name = {f["name"]: f for f in formats}
        self.assertEqual(
            by_name["JPEG"]["endings"], [".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"]
        )
        self.assertEqual(by_name["HEIF"]["media_types"][0], "image/heic")
        for always in ("JPEG", "PNG", "GIF", "BMP"):
            self.assertTrue(by_name[always]["readable"])
        self.assertEqual(by_name["GIF"]["reader"], "blip")
        lines = self.ok("formats").lines
        self.assertEqual([line.split("\t")[0] for line in lines], NAMES)
        self.assertEqual(lines[3], "GIF\tread by blip\t.gif")

    def test_pictures_of_every_format_are_captioned_or_what_lacks_is_named(self):
        formats = {f["name"]: f for f in self.ok("formats", "--json").objects}
        files = {
            "TIFF": "tiff_rgb_strips.tif",
            "AVIF": "avif_420.avif",
            "HEIF": "heif_420.heic",
            "JPEG XL": "jxl_lossy.jxl",
        }
        results = {
            o["image"].rsplit("/", 1)[1]: o
            for o in run("caption", *(PICTURES / f for f in files.values()), "--json").objects
        }
        for name, file in files.items():
            if formats[name]["readable"]:
                self.assertTrue(results[file]["caption"], file)
            else:
                self.assertIn(
                    f"{name}: {formats[name]['reader']}; convert the picture to PNG or JPEG",
                    results[file]["error"],
                )


class Transparency(CliTest):
    def top_left_red(self, *options):
        self.ok(
            "dump",
            "--stage",
            "pixels",
            "--image",
            PICTURES / "over_rgba.png",
            "--output",
            self.folder / "p.npy",
            *options,
        )
        _, values = read_npy(self.folder / "p.npy")
        return (values[0] * STD + MEAN) * 255

    def test_the_top_row_shows_what_it_is_laid_over(self):
        self.assertGreater(self.top_left_red("--background", "white"), 250)
        self.assertLess(self.top_left_red("--background", "#000"), 5)
        plain = self.top_left_red()
        self.assertTrue(10 < plain < 245, plain)

    def test_a_word_that_is_no_colour(self):
        result = run("caption", PICTURES / "over_rgba.png", "--background", "reddish")
        self.assertEqual((result.code, result.out), (2, ""))
        self.assertIn(
            '--background: "reddish" is no colour; write #rrggbb, #rgb, or a basic name', result.err
        )


class Filters(CliTest):
    def setUp(self):
        super().setUp()
        for name in ("a.png", "a_mask.png", "masks/b.png", "new/c.png"):
            self.write(name, png(9, 9))
        os.utime(self.folder / "a.png", (1000, 1000))

    def images(self, *options):
        result = run("caption", self.folder, "--json", *options)
        self.assertEqual(result.code, 0, result.err)
        return [str(o["image"])[len(str(self.folder)) + 1 :] for o in result.objects], result.err

    def test_names_and_paths_are_left_out_and_counted(self):
        images, err = self.images("--exclude", "*_mask.*", "--exclude", "new/*")
        self.assertEqual(images, ["a.png", "masks/b.png"])
        self.assertIn("left out: 2 excluded files or folders", err)

    def test_older_pictures_are_left_out_and_counted(self):
        images, err = self.images("--newer-than", "2001-01-01")
        self.assertEqual(images, ["a_mask.png", "masks/b.png", "new/c.png"])
        self.assertIn("left out: 1 picture that is not newer", err)
        self.assertEqual(self.images("--newer-than", "2990-01-01")[0], [])

    def test_what_is_named_itself_is_filtered_too(self):
        archive = self.folder / "a.tar"
        names = ("a.png", "a_mask.png", "masks/b.png")
        with tarfile.open(archive, "w") as tar:
            for name in names:
                tar.add(self.folder / name, name)
        listed = self.write("list", str(self.folder / "new/c.png"))
        arguments = (self.folder / "a_mask.png", archive, "@" + listed)
        result = self.ok("caption", *arguments, "--json", "--exclude", "*_mask.*", *self.new)
        self.assertEqual(
            [o["image"] for o in result.objects],
            [f"{archive}/masks/b.png", str(self.folder / "new/c.png")],
        )
        self.assertIn(
            "left out: 2 excluded files or folders, 1 picture that is not newer", result.err
        )

    new = ("--newer-than", "2001-01-01")

    def test_a_time_that_is_none(self):
        result = run("caption", self.folder, "--newer-than", "yesterday")
        self.assertEqual((result.code, result.out), (2, ""))
        self.assertIn(
            '--newer-than: "yesterday" is neither a file nor a date such as 2026-01-31', result.err
        )


if __name__ == "__main__":
    unittest.main()
