"""Where the pictures of a command come from: lists, archives and shards; and its progress."""

import io
import json
import shutil
import tarfile
import unittest
import zipfile
from pathlib import Path

from harness import SCENES, SOURCE, run, scene_path, scenes
from job_harness import FAST, JobTest


class Sources(JobTest):
    def test_lists(self):
        names = self.pictures(3)
        with_blanks = self.write(
            "list.txt", "\ufeff" + names[0] + "\r\n\n" + names[1] + "\n" + names[2]
        )
        images = lambda *a, **k: [
            o["image"] for o in self.ok("caption", *a, "--json", *FAST, **k).objects
        ]
        self.assertEqual(images("@" + with_blanks), names)
        self.assertEqual(images("@-", stdin="\n".join(names).encode()), names)
        odd = str(self.folder / "a\nb.png")
        shutil.copy(names[0], odd)
        zeros = self.write(
            "zeros", "\0".join([odd, str(self.folder / "pictures"), names[0]]) + "\0"
        )
        self.assertEqual(images("@" + zeros, "-0"), [odd, *names, names[0]])
        self.assertEqual(
            images("@-", "--null", stdin=Path(zeros).read_bytes()), [odd, *names, names[0]]
        )

    def test_lists_that_are_none(self):
        name = self.pictures(1)[0]
        for content, message in (
            ("a\0b\n", "a name holds a NUL; lists whose names end with NUL are read with -0"),
            (b"\xff\xfea\0", "it is UTF-16; save it as UTF-8"),
            ("x" * 200000, "a name is longer than 64 KiB"),
        ):
            with self.subTest(message):
                listed = self.write("list", content)
                result = run("caption", "@" + listed, name, "--json", *FAST)
                self.assertEqual(result.code, 1)
                self.assertIn(message, result.objects[0]["error"])
                self.assertEqual(result.objects[1]["image"], name)
        result = run("caption", "@/nonexistent", "@" + str(self.folder), *FAST)
        self.assertIn("cannot read the list /nonexistent: No such file", result.err)
        self.assertIn("Is a directory", result.err)

    def test_a_file_of_that_name_is_no_list(self):
        name = self.pictures(1)[0]
        shutil.copy(name, self.folder / "@x.png")
        self.assertEqual(len(self.ok("caption", "@x.png", *FAST, cwd=self.folder).lines), 1)

    def archives(self):
        """Names of archives, and of the pictures in them."""
        good, other = (Path(scene_path(scenes()[i])).read_bytes() for i in (0, 1))
        members = {
            "x/001.png": good,
            "x/001.json": b"{}",
            "x/001.txt": b"a",
            "noending": other,
            "002.png": other,
            ".hidden.png": good,
        }
        names = []
        for kind, mode in (
            ("a.tar", "w"),
            ("b.tar.gz", "w:gz"),
            ("c.tgz", "w:gz"),
            ("d.tar.bz2", "w:bz2"),
            ("e.tar.xz", "w:xz"),
        ):
            with tarfile.open(self.folder / kind, mode) as archive:
                for name, data in members.items():
                    info = tarfile.TarInfo("./" + name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            names.append(self.path(kind))
        with zipfile.ZipFile(self.folder / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return [*names, self.path("f.zip")], ["x/001.png", "noending", "002.png"]

    def test_archives(self):
        archives, members = self.archives()
        captions = [
            self.ok("caption", scene_path(scenes()[i]), *FAST).out.strip() for i in (0, 1, 1)
        ]
        expected = [(f"{a}/{m}", c) for a in archives for m, c in zip(members, captions)]
        shown = self.ok("caption", *archives, "--json", *FAST)
        self.assertEqual([(o["image"], o["caption"]) for o in shown.objects], expected)
        self.assertIn("12 files that are no pictures, 6 hidden files or folders", shown.err)
        listed = self.write("list", "\n".join(archives))
        for arguments in (["@" + listed], archives):
            result = self.ok("caption", *arguments, "-o", self.path(), *FAST)
            self.assertEqual([(r["image"], r["caption"]) for r in self.rows()], expected)
        self.assertIn("0 pictures in", result.err)

    def test_archives_that_are_damaged(self):
        archives, members = self.archives()
        whole = Path(archives[0]).read_bytes()
        cut = self.write("cut.tar", whole[: whole.index(b"./noending") + 5000])
        junk, empty = self.write("junk.zip", "junk"), self.write("empty.tar", "")
        result = run("caption", cut, junk, empty, "/nonexistent.tar", archives[0], "--json", *FAST)
        self.assertEqual(result.code, 1)
        objects = result.objects
        self.assertEqual(objects[0]["image"], f"{cut}/{members[0]}")
        expected = (
            (cut + "/noending", f"cannot read {cut}/noending: Truncated"),
            (cut, "cannot read on in archive"),
            (junk, "cannot open archive"),
            (empty, "no picture in archive"),
            ("/nonexistent.tar", "No such file"),
        )
        for row, (name, message) in zip(objects[1:], expected):
            self.assertEqual(row["image"], name)
            self.assertIn(message, row["error"])
        self.assertEqual([o["image"] for o in objects[6:]], [f"{archives[0]}/{m}" for m in members])
        large = run("caption", archives[-1], "--json", "--max-bytes", 1000, *FAST)
        self.assertIn("is larger than the limit of 1000 bytes", large.objects[0]["error"])
        beside = run("caption", archives[0], "--sidecar", ".txt", *FAST)
        self.assertIn("lies in an archive, which has no files beside; use --output", beside.err)

    def shard(self, name, members, mode="w"):
        with tarfile.open(self.folder / name, mode) as archive:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size, info.mtime = len(data), 1234
                archive.addfile(info, io.BytesIO(data))
        return self.path(name)

    def members(self, name):
        with tarfile.open(self.folder / name) as archive:
            return [(m.name, archive.extractfile(m).read()) for m in archive.getmembers()]

    def test_shards_get_captions(self):
        good, other = (Path(scene_path(scenes()[i])).read_bytes() for i in (0, 1))
        one, two = (self.ok("caption", scene_path(scenes()[i]), *FAST).out.strip() for i in (0, 1))
        plain = [("0.png", good), ("0.json", b"{}"), ("1.txt", b"mine\n"), ("1.z.cls", b"7")]
        members = [*plain, ("1.png", other), ("2.png", b"bad"), ("0.png", other)]
        (self.folder / "out").mkdir()
        for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
            self.shard(name, members, mode)
        for existing, text in (
            ("skip", "mine"),
            ("overwrite", two),
            ("append", f"mine, {two}"),
            ("prepend", f"{two}, mine"),
        ):
            with self.subTest(existing):
                for path in (self.folder / "out").iterdir():
                    path.unlink()
                job = ("caption", self.path("a.tar"), self.path("b.tar.gz"), *FAST)
                job = (*job, "-o", self.path(), "--write-shards", self.path("out"))
                result = run(*job, "--existing", existing)
                self.assertEqual(result.code, 1)  # for the bad one
                self.assertIn("2 shards written", result.err)
                expected = [*members[:1], ("0.txt", f"{one}\n".encode()), *members[1:]]
                expected[3] = ("1.txt", f"{text}\n".encode())
                for name in ("a.tar", "b.tar.gz"):
                    self.assertEqual(self.members("out/" + name), expected)
        self.assertEqual((self.folder / "out/b.tar.gz").read_bytes()[:2], b"\x1f\x8b")
        # What is there is not written again.
        (self.folder / "out/a.tar").write_bytes(b"mine")
        self.assertIn("0 shards written", run(*job).err)
        self.assertEqual((self.folder / "out/a.tar").read_bytes(), b"mine")

    def test_shards_with_objects(self):
        picture = Path(scene_path(scenes()[0])).read_bytes()
        caption = self.ok("caption", scene_path(scenes()[0]), *FAST).out.strip()
        self.shard("a.tar", [("./x/0.png", picture), ("./x/0.jpg", picture)])
        (self.folder / "out").mkdir()
        job = ("caption", self.path("a.tar"), "-o", self.path(), *FAST, "--sidecar", ".json")
        result = self.ok(*job, "--write-shards", self.path("out"))
        added = ("./x/0.json", json.dumps({"caption": caption}, separators=(",", ":")).encode())
        first, second, last = self.members("out/a.tar")
        self.assertEqual(
            (first[0], second, last[0]), ("./x/0.png", (added[0], added[1] + b"\n"), "./x/0.jpg")
        )
        self.assertIn("lacks 1 captions of pictures that share a name", result.err)

    def test_shards_that_cannot_be(self):
        archives, _ = self.archives()
        (self.folder / "out").mkdir()
        (self.folder / "more").mkdir()
        shutil.copy(archives[0], self.folder / "more/a.tar")
        job = ("caption", archives[0], archives[-1], self.path("more/a.tar"), "-o", self.path())
        result = run(*job, "--write-shards", self.path("out"), *FAST)
        self.assertEqual(result.code, 1)
        self.assertIn("zip archives are not copied", result.err)
        self.assertIn(f"its copy {self.folder}/out/a.tar is that of {archives[0]}", result.err)
        self.assertEqual([p.name for p in (self.folder / "out").iterdir()], ["a.tar"])
        for options, code, message in (
            (
                ("-o", self.path("x.csv"), "--write-shards", self.path("out")),
                2,
                "needs --output FILE.jsonl",
            ),
            (("--sidecar", ".txt", "--write-shards", self.path("out")), 2, "needs --output"),
            (("-o", self.path(), "--write-shards", self.path("none")), 1, "there is no folder"),
            (
                ("-o", self.path(), "--sidecar", "json", "--existing", "append"),
                2,
                "not to .json files",
            ),
        ):
            self.fails(code, message, "caption", archives[0], *options, *FAST)

    def test_duplicates(self):
        names = self.pictures(20)  # of eight scenes
        bad = [self.write(f"pictures/{name}.png", "bad") for name in ("x", "y")]
        folder = self.folder / "pictures"
        plain = run("caption", folder, "--json", *FAST)
        result = run("caption", folder, "--json", "--dedupe", "--batch", 3, *FAST)
        self.assertEqual(result.code, 1)
        self.assertEqual(
            [(o["image"], o.get("caption")) for o in result.objects],
            [(o["image"], o.get("caption")) for o in plain.objects],
        )
        self.assertIn("13 pictures had the bytes of others", result.err)
        self.assertIn("8 pictures (2 failed) in", result.err)
        self.assertIn(
            f"its bytes are those of {bad[0]}: {bad[0]}: not a", result.objects[-1]["error"]
        )
        job = ("caption", folder, "-o", self.path(), "--dedupe", "--template", "{caption} {name}")
        self.assertEqual(run(*job, *FAST).code, 1)
        captions = {o["image"]: o.get("caption") for o in plain.objects}
        expected = [f"{captions[n]} {Path(n).stem}" for n in names]
        self.assertEqual([row["caption"] for row in self.rows()], expected)
        self.assertEqual(
            [row.get("duplicate_of") for row in self.rows()], [None] * 8 + (names[:8] * 2)[:12]
        )
        self.assertEqual([row["image"] for row in self.rows("out.errors.jsonl")], bad)

    def copies(self):
        """Names of pictures, and of each that which it is a copy of."""
        looks = SOURCE / "tests" / "data" / "image" / "looks"
        folder = self.folder / "pictures"
        folder.mkdir()
        known = {}
        for i, (source, original) in enumerate(
            (
                (SCENES / "clock.png", None),
                (SCENES / "cat-bus.png", None),
                (looks / "clock-small.png", 0),
                (looks / "cat-bus-q20.jpg", 1),
                (looks / "black.png", None),
                (looks / "flat.png", None),  # looks like nothing either
                (looks / "clock-bright.jpg", 0),
                (looks / "clock-small.png", 0),
                (looks / "clock-mirrored.png", None),
                (looks / "cat-bus-wide.png", 1),
            )
        ):
            path = folder / f"{i}{source.suffix}"
            shutil.copy(source, path)
            known[str(path)] = None if original is None else list(known)[original]
        return folder, known

    def test_near_duplicates(self):
        folder, known = self.copies()
        near = ("--dedupe=near", "--batch", 3, *FAST)
        plain = {o["image"]: o for o in run("caption", folder, "--json", *FAST).objects}
        result = self.ok("caption", folder, "--json", *near)
        self.assertIn("4 pictures looked like others", result.err)
        self.assertIn("1 picture had the bytes of others", result.err)
        self.assertIn("5 pictures in", result.err)
        keys = ("caption", "token_ids", "score")
        for row in result.objects:
            original = known[row["image"]]
            self.assertEqual(row.get("duplicate_of"), original)
            first = plain[original or row["image"]]
            self.assertEqual([row[k] for k in keys], [first[k] for k in keys])
        self.assertEqual([o["image"] for o in result.objects], list(known))
        several = ("--sample", "--num-captions", 2, "--max-length", 8)
        rows = self.ok("caption", folder, "--json", "--dedupe=near", *several).objects
        first = {row["image"]: row["captions"] for row in rows}
        self.assertTrue(all(len(captions) == 2 for captions in first.values()))
        for image, original in known.items():
            self.assertEqual(first[image], first[original or image])

    def test_near_duplicates_in_jobs(self):
        folder, known = self.copies()
        names = {str(path): path.stem for path in map(Path, known)}
        job = ("caption", folder, "-o", self.path(), "--dedupe=near", *FAST)
        self.ok(*job, "--sidecar", ".txt", "--template", "{name} {caption}")
        rows = {row["image"]: row for row in self.rows()}
        self.assertEqual({i: row.get("duplicate_of") for i, row in rows.items()}, known)
        for image, row in rows.items():
            word, caption = row["caption"].split(" ", 1)
            self.assertEqual(word, names[image])
            original = rows[known[image] or image]
            self.assertEqual(caption, original["caption"].split(" ", 1)[1])
            beside = Path(image).with_suffix(".txt").read_text(encoding="utf-8")
            self.assertEqual(beside, row["caption"] + "\n")
        self.ok(*job, "--sidecar", ".txt", "--template", "{name} {caption}")
        self.assertEqual({row["image"]: row for row in self.rows()}, rows)
        # A job that is begun with other pictures knows of what it has looked at itself.
        self.ok("caption", *list(known)[:1], "-o", self.path("b.jsonl"), "--dedupe=near", *FAST)
        self.ok("caption", folder, "-o", self.path("b.jsonl"), "--dedupe=near", *FAST)
        later = [row.get("duplicate_of") for row in self.rows("b.jsonl")]
        first = list(known)[2]
        self.assertEqual(later.count(first), 2)
        self.assertEqual(len(later), len(known))
        self.fails(
            *(2, "--near-distance", "caption", folder, "-o", self.path("b.jsonl")),
            *("--dedupe=near", "--near-distance", 5, *FAST),
        )
        self.ok("caption", folder, "-o", self.path("c.csv"), "--dedupe=near", *FAST)
        header = (self.folder / "c.csv").read_text(encoding="utf-8").splitlines()[0]
        self.assertEqual(header, "image,caption")

    def test_how_near(self):
        folder, known = self.copies()

        def duplicates(*options):
            objects = self.ok("caption", folder, "--json", *options, *FAST).objects
            return [o["image"] for o in objects if "duplicate_of" in o]

        copies = [image for image, original in known.items() if original]
        self.assertEqual(duplicates("--dedupe=near", "--near-distance", 16), copies)
        # Some copies have the very hash of another.
        exact = [copies[0], copies[3], copies[4]]
        self.assertEqual(duplicates("--dedupe=near", "--near-distance", 0), exact)
        self.assertEqual(duplicates("--dedupe"), copies[3:4])
        self.assertEqual(duplicates("--dedupe=exact"), copies[3:4])
        self.assertEqual(duplicates(), [])
        for options, message in (
            (("--dedupe=alike",), "--dedupe"),
            (("--near-distance", 3), "--near-distance has no effect without --dedupe=near"),
            (("--dedupe", "--near-distance", 3), "no effect without --dedupe=near"),
            (("--dedupe=near", "--near-distance", 17), "must be a whole number from 0 to 16"),
        ):
            self.fails(2, message, "caption", folder, *options)

    def test_near_duplicates_of_what_failed(self):
        folder, known = self.copies()
        impossible = ("--force-words", "clock", "--forbid-words", "clock")
        result = run("caption", folder, "--dedupe=near", "--json", *impossible)
        self.assertEqual((result.code, len(result.objects)), (1, len(known)))
        for row in result.objects:
            original = known[row["image"]]
            if original:
                again = row["error"].startswith("its bytes are those of ")
                self.assertTrue(again or f"it looks like {original}: " in row["error"])
            else:
                self.assertNotIn("looks like", row["error"])

    def test_shards_share_the_pictures(self):
        names = self.pictures(30)
        rows = []
        for i in range(1, 5):
            output = f"part{i}.jsonl"
            self.ok(
                "caption",
                self.folder / "pictures",
                "-o",
                self.path(output),
                "--shard",
                f"{i}/4",
                *FAST,
            )
            part = [row["image"] for row in self.rows(output)]
            self.assertGreater(len(part), 0)
            self.assertLess(len(part), 20)
            rows += part
        self.assertEqual(sorted(rows), names)

    def test_progress(self):
        self.pictures(300)
        job = ("caption", self.folder / "pictures", "--progress", "json", "--batch", 1)
        shown = [json.loads(l) for l in self.ok(*job).err.splitlines() if l.startswith("{")]
        last = shown[-1]
        self.assertEqual(
            (last["progress"], last["done"], last["failed"], last["total"]),
            ("pictures", 300, 0, 300),
        )
        self.assertGreater(last["per_second"], 0)
        self.assertEqual(last["seconds_left"], 0)
        self.assertNotIn("{", self.ok(*job[:2], "--progress", "none", *FAST).err)


if __name__ == "__main__":
    unittest.main()
