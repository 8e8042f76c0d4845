"""Where the pictures of a command come from: lists, archives and shards; and its progress."""

import io
import json
import shutil
import tarfile
import unittest
import zipfile
from pathlib import Path

from harness import run, scene_path, scenes
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
        self.assertEqual([row["image"] for row in self.rows("out.errors.jsonl")], bad)

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
