"""Archives with names in UTF-8, with damage and with links."""

import gzip
import io
import struct
import tarfile
import unicodedata
import unittest
import zipfile
from pathlib import Path

from harness import run, scene_path, scenes
from job_harness import FAST, JobTest

# The last is "é" as macOS writes it, of two characters.
NAMES = ("日本.png", "été.png", ".日本.png", "ordner/ü.png", unicodedata.normalize("NFD", "é.png"))


class Archives(JobTest):
    def setUp(self):
        super().setUp()
        self.picture, self.other = (Path(scene_path(scenes()[i])).read_bytes() for i in (0, 1))

    def zip(self, name, members, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(self.folder / name, "w", compression) as archive:
            for member, data in members:
                archive.writestr(member, data)
        return self.path(name)

    def tar(self, name, members, form=tarfile.PAX_FORMAT):
        """Members that are no bytes are links: ("hard" or "symbolic", what they lead to)."""
        with tarfile.open(self.folder / name, "w", format=form) as archive:
            for member, data in members:
                info = tarfile.TarInfo(member)
                if isinstance(data, tuple):
                    info.type = tarfile.LNKTYPE if data[0] == "hard" else tarfile.SYMTYPE
                    info.linkname = data[1]
                    archive.addfile(info)
                else:
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        return self.path(name)

    def damage_header(self, path, member):
        """Makes the checksum of a tar's member wrong."""
        data = bytearray(Path(path).read_bytes())
        with tarfile.open(path) as archive:
            data[archive.getmember(member).offset] ^= 0x20
        Path(path).write_bytes(data)

    def told(self, *arguments, code=0):
        """The names of the pictures, and what failed with its reason."""
        result = run("caption", *arguments, "--json", *FAST)
        self.assertEqual(result.code, code, result.err)
        good = [o["image"] for o in result.objects if "caption" in o]
        return good, [(o["image"], o["error"]) for o in result.objects if "error" in o], result.err

    def test_names_in_zip_are_utf8(self):
        path = self.zip("u.zip", [(n, self.picture) for n in NAMES])
        good, failed, err = self.told(path, "--exclude", "日*")
        composed = [f"{path}/{name}" for name in (NAMES[1], NAMES[3], "é.png")]
        self.assertEqual((good, failed), (composed, []))
        self.assertIn("left out: 1 hidden file or folder, 1 excluded file or folder", err)
        # Names that differ are told apart by jobs and their shards.
        for i in (1, 2):
            self.ok("caption", path, "-o", self.path(f"{i}.jsonl"), "--shard", f"{i}/2", *FAST)
        parts = [[row["image"] for row in self.rows(f"{i}.jsonl")] for i in (1, 2)]
        self.assertEqual(sorted(parts[0] + parts[1]), sorted([f"{path}/{NAMES[0]}", *composed]))

    def test_names_in_zip_that_are_not_said_to_be_utf8(self):
        path = Path(self.zip("latin.zip", [("a#.png", self.picture)]))
        path.write_bytes(path.read_bytes().replace(b"a#.png", b"a\xe9.png"))
        shown = self.ok("caption", str(path), *FAST)
        self.assertIn("latin.zip/a\\xe9.png\t", shown.out)

    def test_members_without_names(self):
        path = Path(self.zip("n.zip", [("a.png", self.picture), ("é", self.picture)]))
        path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
        good, failed, _ = self.told(path, code=1)
        self.assertEqual(good, [f"{path}/a.png"])
        message = f"member 2 of archive {path} has no name that can be read; it is left out"
        self.assertEqual(failed, [(str(path), message)])

    def test_names_in_tar_keep_their_bytes(self):
        names = [*NAMES[:2], NAMES[4], "x\udcff.png", "ö" * 80 + ".png"]
        (self.folder / "out").mkdir()
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            with self.subTest(form):
                links = [("日l.png", ("symbolic", "日本.png")), ("日h.png", ("hard", "日本.png"))]
                path = self.tar(f"{form}.tar", [*((n, self.picture) for n in names), *links], form)
                shown = self.ok("caption", path, *FAST)
                expected = [f"{path}/{n}".replace("\udcff", "\\xff") for n in names]
                self.assertEqual([line.split("\t")[0] for line in shown.lines], expected)
                self.assertIn("left out: 2 links in archives\n", shown.err)
                output = self.path(f"{form}.jsonl")
                self.ok("caption", path, "-o", output, "--write-shards", self.path("out"), *FAST)
                with tarfile.open(self.folder / "out" / f"{form}.tar") as copy:
                    members = [(m.name, m.linkname) for m in copy.getmembers()]
                texts = [(n, n.removesuffix(".png") + ".txt") for n in names]
                self.assertEqual(
                    members,
                    [
                        *((n, "") for pair in texts for n in pair),
                        *((n, to) for n, (_, to) in links),
                    ],
                )

    def test_links_are_counted(self):
        members = [("a.png", self.picture), ("b.png", ("hard", "a.png"))]
        path = self.tar("l.tar", [*members, ("c.png", ("symbolic", "a.png"))])
        self.assertIn("left out: 2 links in archives\n", self.told(path)[2])
        one = self.tar("one.tar", members)
        self.assertIn("left out: 1 link in an archive\n", self.told(one)[2])
        only = self.tar("only.tar", members[1:])
        message = f"no picture in archive {only}"
        self.assertEqual(self.told(only, code=1)[1], [(only, message)])

    def test_damaged_headers_in_tar(self):
        names = [f"{i}.png" for i in range(5)]
        path = self.tar("d.tar", [(n, self.picture) for n in names])
        for name in ("3.png", "1.png"):
            self.damage_header(path, name)
        expected = [
            (
                path,
                f"archive {path}: the member after {name} (member {number}) is damaged and left "
                "out: Damaged tar archive",
            )
            for name, number in (("0.png", 1), ("2.png", 3))
        ]
        good = [f"{path}/{i}.png" for i in (0, 2, 4)]
        self.assertEqual(self.told(path, code=1)[:2], (good, expected))
        job = ("caption", path, "-o", self.path(), *FAST)
        for _ in range(2):
            self.assertEqual(run(*job).code, 1)
            self.assertEqual([r["image"] for r in self.rows()], good)
            errors = [(r["image"], r["error"]) for r in self.rows("out.errors.jsonl")]
            self.assertEqual(errors, expected)
        # A copy would lack them.
        (self.folder / "out").mkdir()
        result = run(*job, "--write-shards", self.path("out"))
        self.assertEqual(result.code, 1)
        self.assertIn(f"cannot copy {path}: {expected[0][1]}", result.err)
        self.assertEqual(list((self.folder / "out").iterdir()), [])

    def test_a_damaged_header_at_the_end(self):
        path = self.tar("d.tar", [("0.png", self.picture), ("1.png", self.picture)])
        self.damage_header(path, "1.png")
        good, failed, _ = self.told(path, code=1)
        message = (
            f"archive {path}: the member after 0.png (member 1) is damaged; it and what may follow "
            "it are left out: Damaged tar archive"
        )
        self.assertEqual((good, failed), ([f"{path}/0.png"], [(path, message)]))

    def test_damaged_attributes_in_tar(self):
        path = Path(self.tar("p.tar", [("a.png", self.picture), ("日.png", self.picture)]))
        data = path.read_bytes()
        at = data.index(b" path=")
        path.write_bytes(data[: at - 2] + b"x9" + data[at:])
        good, failed, _ = self.told(path, code=1)
        self.assertEqual((good, len(failed)), ([f"{path}/a.png"], 1))
        self.assertIn("Ignoring malformed pax extended attribute", failed[0][1])
        (self.folder / "out").mkdir()
        job = ("caption", path, "-o", self.path(), "--write-shards", self.path("out"), *FAST)
        self.assertIn("Ignoring malformed pax extended attribute", run(*job).err)
        self.assertEqual(list((self.folder / "out").iterdir()), [])

    def test_damage_in_compressed_tars(self):
        plain = Path(self.tar("p.tar", [(f"{i}.png", self.picture) for i in range(8)])).read_bytes()
        data = bytearray(gzip.compress(plain, 0))
        # Behind the header of gzip come blocks that are stored as they are, each behind its length.
        at = 10
        for _ in range(4):
            at += 5 + struct.unpack_from("<H", data, at + 1)[0]
        data[at + 1] ^= 0xFF
        path = self.write("c.tar.gz", bytes(data))
        good, failed, _ = self.told(path, code=1)
        self.assertEqual(good, [f"{path}/{i}.png" for i in range(len(good))])
        self.assertIn(len(good), range(1, 8))
        picture = f"{path}/{len(good)}.png"
        self.assertEqual(
            failed[0], (picture, f"cannot read {picture}: gzip: invalid stored block lengths")
        )
        self.assertEqual(failed[1][0], path)
        self.assertIn(f"cannot read on in archive {path}: ", failed[1][1])

    def test_checksum_of_gzip(self):
        plain = Path(self.tar("p.tar", [(f"{i}.png", self.picture) for i in range(2)])).read_bytes()
        whole = gzip.compress(plain)
        for data, reason in (
            (whole[:-8] + b"1234" + whole[-4:], "incorrect data check"),
            (whole[:-4], "the file ends too early"),
        ):
            path = self.write("c.tar.gz", data)
            good, failed, _ = self.told(path, code=1)
            self.assertEqual(good, [f"{path}/{i}.png" for i in range(2)])
            self.assertEqual(failed[0][0], path)
            self.assertIn(f"archive {path} is damaged, and with it", failed[0][1])
            self.assertIn(reason, failed[0][1])
        path = self.write("d.tar.gz", gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]))
        self.assertEqual(len(self.told(path)[0]), 2)

    def test_a_header_of_zeros_in_tar(self):
        path = self.tar("z.tar", [(f"{i}.png", self.picture) for i in range(3)])
        data = bytearray(Path(path).read_bytes())
        at = data.index(b"1.png")
        data[at : at + 512] = bytes(512)
        Path(path).write_bytes(data)
        good, failed, _ = self.told(path, code=1)
        self.assertEqual(good, [f"{path}/0.png", f"{path}/2.png"])
        self.assertEqual(len(failed), 1)
        self.assertIn("the member after 0.png (member 1) is damaged and left out", failed[0][1])

    def test_shards_without_tars(self):
        (self.folder / "out").mkdir()
        picture, path = self.pictures(1)[0], self.zip("a.zip", [("a.png", self.picture)])
        job = ("-o", self.path(), "--write-shards", self.path("out"), *FAST)
        message = "--write-shards copies tar archives, and none is among the inputs"
        for argument in (picture, path, str(Path(picture).parent)):
            self.fails(2, message, "caption", argument, *job)
        self.assertFalse(Path(self.path()).exists())
        # What a list names comes out later.
        result = self.ok("caption", "@" + self.write("list", picture), *job)
        self.assertIn("no tar archive with pictures was among the inputs", result.err)

    def test_shards_in_their_own_place(self):
        (self.folder / "out").mkdir()
        path = self.tar("a.tar", [("a.png", self.picture)])
        before = Path(path).read_bytes()
        (self.folder / "link").symlink_to(self.folder)
        for folder in (self.folder, self.folder / "link", self.folder / "out/.."):
            job = ("-o", self.path(), "--write-shards", folder, *FAST)
            message = f"--write-shards: {path} lies in {folder} itself; name another folder"
            self.fails(2, message, "caption", path, *job)
            self.assertFalse(Path(self.path()).exists())
            result = run("caption", "@" + self.write("list", path), *job)
            self.assertEqual(result.code, 1)
            self.assertIn("its copy would lie in its own place; name another folder", result.err)
            self.assertEqual(Path(path).read_bytes(), before)
            Path(self.path()).unlink()
            Path(self.path("out.jsonl.job")).unlink()

    def test_a_shard_that_fails_leaves_the_others(self):
        bad = self.tar("a.tar", [("0.png", self.picture), ("1.png", self.picture)])
        self.damage_header(bad, "1.png")
        good = self.tar("b.tar", [("0.png", self.picture)])
        (self.folder / "out").mkdir()
        result = run(
            "caption", bad, good, "-o", self.path(), "--write-shards", self.path("out"), *FAST
        )
        self.assertEqual(result.code, 1)
        self.assertIn(f"cannot copy {bad}: archive {bad}: the member after 0.png", result.err)
        self.assertIn("1 shard written", result.err)
        self.assertEqual([p.name for p in (self.folder / "out").iterdir()], ["b.tar"])

    def test_wrong_checksums_in_zip(self):
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with self.subTest(compression):
                members = [("0.png", self.picture), ("noending", self.picture)]
                path = Path(self.zip("c.zip", [*members, ("2.png", self.other)], compression))
                data = bytearray(path.read_bytes())
                central = data.index(b"PK\1\2")
                for member in (b"0.png", b"noending"):
                    local, there = data.index(member) - 30, data.index(member, central) - 46
                    struct.pack_into("<I", data, local + 14, 1)
                    struct.pack_into("<I", data, there + 16, 1)
                path.write_bytes(data)
                good, failed, _ = self.told(path, code=1)
                self.assertEqual(good, [f"{path}/2.png"])
                self.assertEqual([n for n, _ in failed], [f"{path}/0.png", f"{path}/noending"])
                for name, message in failed:
                    self.assertIn(f"cannot read {name}: ZIP bad CRC: ", message)

    def test_a_member_that_cannot_be_read_may_be_a_picture(self):
        path = Path(self.zip("e.zip", [("noending", self.picture), ("1.png", self.picture)]))
        data = bytearray(path.read_bytes())
        # Encrypted, as the flags say.
        data[6] |= 1
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
        good, failed, _ = self.told(path, code=1)
        self.assertEqual(good, [f"{path}/1.png"])
        message = f"cannot read {path}/noending: Passphrase required for this entry"
        self.assertEqual(failed, [(f"{path}/noending", message)])


if __name__ == "__main__":
    unittest.main()
