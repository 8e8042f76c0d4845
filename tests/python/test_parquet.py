"""blipcpp.parquet, and the program that reads and writes by it (where BLIP_PROGRAM is one)."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import blipcpp
from blipcpp import parquet

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])
SCENES = sorted((SOURCE / "demo/scenes").glob("*.png"))
PICTURES = [path.read_bytes() for path in SCENES]
PROGRAM = os.environ.get("BLIP_PROGRAM")
FAST = ("--beams", "1", "--max-length", "8")
NO_COLUMN = "no column holds pictures as bytes or as {bytes, path}; the columns are "


class Missing(unittest.TestCase):
    @unittest.skipIf(pa, "pyarrow is installed")
    def test_what_to_install(self):
        with self.assertRaises(blipcpp.UnsupportedError) as caught:
            list(parquet.images("a.parquet"))
        self.assertIn("pip install 'blipcpp[parquet]'", str(caught.exception))


class ParquetTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="blip-parquet-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, columns, **options):
        pq.write_table(pa.table(columns), self.folder / name, **options)
        return str(self.folder / name)

    def plain(self, name="plain.parquet"):
        return self.write(name, {"image": pa.array(PICTURES, pa.binary())}, row_group_size=3)

    def structs(self, name="structs.parquet"):
        rows = [{"bytes": b, "path": p.name} for b, p in zip(PICTURES, SCENES)]
        return self.write(name, {"text": ["t"] * len(rows), "image": rows}, row_group_size=5)

    def mixed(self):
        rows = [
            {"bytes": PICTURES[0], "path": None},
            {"bytes": None, "path": "missing.png"},
            None,
            {"bytes": b"no", "path": "bad.png"},
            {"bytes": PICTURES[1], "path": "again.png"},
            {"bytes": PICTURES[2], "path": "again.png"},
            {"bytes": b"", "path": "empty.png"},
        ]
        return self.write("mixed.parquet", {"image": rows})


@unittest.skipUnless(pa, "needs pyarrow")
class Module(ParquetTest):
    def test_pictures_and_their_names(self):
        numbers = [str(i) for i in range(len(PICTURES))]
        names = [path.name for path in SCENES]
        self.assertEqual(list(parquet.images(self.plain())), list(zip(numbers, PICTURES)))
        self.assertEqual(list(parquet.images(self.structs())), list(zip(names, PICTURES)))
        large = self.write("large.parquet", {"x": pa.array(PICTURES, pa.large_binary())})
        self.assertEqual([b for _, b in parquet.images(large)], PICTURES)
        self.assertEqual(
            [(name, len(b)) for name, b in parquet.images(self.mixed())],
            [("0", len(PICTURES[0])), ("missing.png", 0), ("2", 0), ("bad.png", 2)]
            + [("again.png", len(PICTURES[1])), ("again.png", len(PICTURES[2]))]
            + [("empty.png", 0)],
        )

    def test_more_rows_than_are_told_at_once(self):
        rows = [b"%d" % i for i in range(5000)]
        for size in (7, 3000, 9000):
            path = self.write("x.parquet", {"x": pa.array(rows)}, row_group_size=size)
            self.assertEqual(
                list(parquet.images(path)), [(str(i), row) for i, row in enumerate(rows)]
            )

    def test_some_rows_alone_are_read(self):
        path = self.write("x.parquet", {"x": pa.array([b"%d" % i for i in range(3000)])})
        chosen = random.Random(3)
        with parquet.Reader(path) as reader:
            for names, fetch in reader.batches():
                wanted = [chosen.random() < 0.1 for _ in names]
                got = [bytes(memoryview(one)).decode() for one in fetch(wanted)]
                self.assertEqual(got, [name for name, one in zip(names, wanted) if one])

    def test_columns(self):
        two = self.write("two.parquet", {"a": PICTURES, "b": PICTURES[::-1], "c": ["x"] * 8})
        for column, message in (
            (None, "several columns hold bytes: a (binary), b (binary); say which"),
            (
                "c",
                "column 'c' holds no pictures; the columns are a (binary), b (binary), c (string)",
            ),
            ("d", "column 'd' is none of a (binary), b (binary), c (string)"),
        ):
            with self.assertRaises(blipcpp.UsageError) as caught:
                list(parquet.images(two, column))
            self.assertIn("two.parquet: " + message, str(caught.exception))
        self.assertEqual([b for _, b in parquet.images(two, "b")], PICTURES[::-1])
        for columns, shown in (
            ({"image": ["a.png"]}, "image (string)"),
            ({"image": [1], "x": [[b"a"]]}, "image (int64), x (list<"),
            ({"image": [{"bytes": "text"}]}, "image (struct<bytes: string>)"),
            ({}, "none"),
        ):
            with self.assertRaises(blipcpp.UsageError) as caught:
                list(parquet.images(self.write("none.parquet", columns)))
            self.assertIn(NO_COLUMN + shown, str(caught.exception))

    def test_files_that_are_none(self):
        whole = pathlib.Path(self.plain()).read_bytes()
        for name, data in (
            ("zero", b""),
            ("text", b"no Parquet" * 100),
            ("half", whole[: len(whole) // 2]),
            ("footer", whole[:-108] + bytes(100) + whole[-8:]),
            ("length", whole[:-8] + b"\xff\xff\xff\x7f" + whole[-4:]),
        ):
            path = self.folder / (name + ".parquet")
            path.write_bytes(data)
            with self.subTest(name), self.assertRaises(blipcpp.IoError) as caught:
                list(parquet.images(path))
            self.assertIn("cannot read %s: " % path, str(caught.exception))
        with self.assertRaises(blipcpp.IoError) as caught:
            list(parquet.images("/nonexistent.parquet"))
        self.assertEqual(
            str(caught.exception), "cannot open /nonexistent.parquet: No such file or directory"
        )

    def test_damaged_files_raise_nothing_else(self):
        whole = bytearray(pathlib.Path(self.structs()).read_bytes())
        chosen = random.Random(8)
        path = self.folder / "damaged.parquet"
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(chosen.randrange(1, 30)):
                # Most of them where the pages' headers and the footer are.
                at = chosen.randrange(len(data) - 1500, len(data))
                data[at if chosen.random() < 0.8 else chosen.randrange(len(data))] ^= 1 << (
                    chosen.randrange(8)
                )
            path.write_bytes(data)
            try:
                for _ in parquet.images(path):
                    pass
            except blipcpp.BlipError as problem:
                self.assertIn("damaged.parquet", str(problem))

    def rows(self, objects):
        path = self.folder / "rows.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")
        return path

    def written(self, objects):
        parquet.write(self.rows(objects), self.folder / "out.parquet")
        return pq.read_table(self.folder / "out.parquet")

    def test_rows(self):
        table = self.written(
            [{"image": "a.png", "caption": "ä cat", "token_ids": [1, 2], "score": -0.5}] * 3
        )
        self.assertEqual(
            str(table.schema).replace("element", "item"),
            "image: string\ncaption: string\ntoken_ids: list<item: int64>\n"
            "  child 0, item: int64\nscore: double",
        )
        self.assertEqual(table.num_rows, 3)
        self.assertEqual(table.to_pylist()[2]["caption"], "ä cat")
        self.assertEqual(self.written([]).num_rows, 0)

    def test_columns_of_several_kinds(self):
        many = [{"image": str(i), "late": None, "list": []} for i in range(9000)]
        objects = many + [{"image": "x", "late": 7, "list": ["a"], "new": {"a": 1}}]
        table = self.written(objects)
        self.assertEqual(table.num_rows, 9001)
        self.assertEqual(table.slice(9000).to_pylist(), [{**objects[-1], "late": 7, "list": ["a"]}])
        table = self.written(
            [{"m": 1, "f": 1, "n": None, "big": 1 << 70}, {"m": "t", "f": 2.5}, {"m": [1]}]
        )
        self.assertEqual(
            table.to_pydict(),
            {
                "m": ["1", '"t"', "[1]"],
                "f": [1.0, 2.5, None],
                "n": [None, None, None],
                "big": ["1180591620717411303424", None, None],
            },
        )

    def test_nothing_is_left_of_what_failed(self):
        rows = self.folder / "bad.jsonl"
        rows.write_text('{"a": 1}\nbad\n')
        with self.assertRaises(blipcpp.IoError):
            parquet.write(rows, self.folder / "out.parquet")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["bad.jsonl"])

    def test_memory_does_not_grow_with_the_file(self):
        # One row group of 320 MB, which a reader of whole columns would hold, in pages of 16.
        path = self.folder / "large.parquet"
        schema = pa.schema([("image", pa.binary())])
        options = {"compression": "none", "use_dictionary": False, "write_batch_size": 16}
        with pq.ParquetWriter(path, schema, **options) as writer:
            batch = [os.urandom(1 << 20) for _ in range(320)]
            writer.write_table(pa.table({"image": batch}, schema))
        del batch
        script = (
            "import sys, resource; from blipcpp import parquet\n"
            "count = sum(len(b) for _, b in parquet.images(sys.argv[1]))\n"
            "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        # A child's peak begins with that of the process it was forked from.
        done = subprocess.run(
            ["sh", "-c", '"$@" & wait', "sh", sys.executable, "-c", script, str(path)],
            stdout=subprocess.PIPE,
            check=True,
        )
        count, kilobytes = map(int, done.stdout.split())
        self.assertEqual(count, 320 << 20)
        self.assertLess(kilobytes, 250_000)


@unittest.skipUnless(pa and PROGRAM, "needs pyarrow and the program")
class Program(ParquetTest):
    def run_program(self, *arguments):
        path = "%s:%s" % (pathlib.Path(sys.executable).parent, os.environ["PATH"])
        return subprocess.run(
            [PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PATH": path},
        )

    def ok(self, *arguments):
        done = self.run_program(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def captions(self):
        lines = self.ok("caption", *SCENES, "--json", *FAST).stdout.splitlines()
        return [json.loads(line)["caption"] for line in lines]

    def table(self, name="out.parquet"):
        return pq.read_table(self.folder / name).to_pylist()

    def test_in_and_out(self):
        captions = self.captions()
        out = self.folder / "out.parquet"
        for source in (self.plain(), self.structs()):
            names = [name for name, _ in parquet.images(source)]
            done = self.ok("caption", source, *FAST)
            expected = ["%s/%s\t%s" % (source, n, c) for n, c in zip(names, captions)]
            self.assertEqual(done.stdout.splitlines(), expected)
            self.ok("caption", source, "-o", out, *FAST)
            rows = self.table()
            self.assertEqual([r["image"] for r in rows], ["%s/%s" % (source, n) for n in names])
            self.assertEqual([r["caption"] for r in rows], captions)
            self.assertEqual(list(rows[0]), ["image", "caption", "token_ids", "score"])
            # Nothing is done twice, and the file is there again.
            before = (self.folder / "out.parquet.rows").read_bytes()
            out.unlink()
            self.ok("caption", source, "-o", out, *FAST)
            self.assertEqual((self.folder / "out.parquet.rows").read_bytes(), before)
            self.assertEqual(self.table(), rows)
            for path in self.folder.glob("out.parquet*"):
                path.unlink()

    def test_pairs_kept_and_dropped(self):
        out, kept, dropped = (self.folder / name for name in ("f.jsonl", "k.parquet", "d.parquet"))
        job = ("capfilt", self.structs(), "-o", out, "--kept", kept, "--dropped", dropped)
        self.ok(*job, "--keep", "itm>0.5", "--beams", "1")
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual(len(rows), 8)
        self.assertEqual(self.table("k.parquet"), [row for row in rows if row["kept"]])
        self.assertEqual(self.table("d.parquet"), [row for row in rows if not row["kept"]])

    def test_rows_that_fail(self):
        source = self.mixed()
        job = ("caption", source, "-o", self.folder / "out.parquet", *FAST)
        self.assertEqual(self.run_program(*job).returncode, 1)
        self.assertEqual(
            [row["image"] for row in self.table()],
            [source + "/0", source + "/again.png", source + "/again.png"],
        )
        errors = (self.folder / "out.errors.jsonl").read_text().splitlines()
        errors = [json.loads(line) for line in errors]
        reasons = {row["image"].split("/")[-1]: row["error"] for row in errors}
        self.assertEqual(sorted(reasons), ["2", "bad.png", "empty.png", "missing.png"])
        self.assertEqual(reasons["2"], source + "/2: the row has no picture's bytes")
        self.assertEqual(self.run_program(*job, "--retry-errors").returncode, 1)
        self.assertEqual(len(self.table()), 3)

    def test_folders_and_options(self):
        (self.folder / "data").mkdir()
        self.structs("data/a.parquet")
        self.plain("data/b.parquet")
        self.write("data/c.parquet", {"caption": ["no picture"]})
        folder = self.folder / "data"
        done = self.ok("caption", folder, "-o", folder / "captions.parquet", *FAST)
        self.assertIn("left out: 4 files that are no pictures", done.stderr)  # three are the job's
        self.assertEqual(len(self.table("data/captions.parquet")), 16)
        # The output is no input.
        self.ok("caption", folder, "-o", folder / "captions.parquet", *FAST)
        self.assertEqual(len(self.table("data/captions.parquet")), 16)
        done = self.ok("caption", folder, "--exclude", "*s.png", "--exclude", "b.parquet", *FAST)
        self.assertEqual(
            sorted(line.split("\t")[0].rsplit("/", 1)[1] for line in done.stdout.splitlines()),
            [path.name for path in SCENES if not path.name.endswith("s.png")],
        )
        done = self.run_program("caption", folder / "b.parquet", "--max-bytes", 30000, *FAST)
        self.assertEqual(done.returncode, 1)
        small = sum(len(picture) <= 30000 for picture in PICTURES)
        self.assertEqual(len(done.stdout.splitlines()), small)
        self.assertIn("b.parquet/3 is larger than the limit of 30000 bytes", done.stderr)

    def test_columns(self):
        (self.folder / "in").mkdir()
        self.write("in/two.parquet", {"a": PICTURES, "b": PICTURES[::-1]})
        done = self.run_program("caption", self.folder / "in", *FAST)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("several columns hold bytes: a (binary), b (binary)", done.stderr)
        two = self.write("two.parquet", {"a": PICTURES, "b": PICTURES[::-1]})
        done = self.run_program("caption", two, *FAST)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("several columns hold bytes: a (binary), b (binary)", done.stderr)
        out = self.folder / "out.jsonl"
        self.ok("caption", two, "--image-column", "b", "-o", out, *FAST)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([row["caption"] for row in rows], self.captions()[::-1])
        done = self.run_program("caption", two, "--image-column", "a", "-o", out, *FAST)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--image-column", done.stderr)

    def test_broken_files_do_not_stop_the_others(self):
        half = self.folder / "half.parquet"
        half.write_bytes(pathlib.Path(self.plain()).read_bytes()[:9999])
        empty = self.write("empty.parquet", {"image": pa.array([], pa.binary())})
        done = self.run_program("caption", half, empty, self.structs(), *FAST)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stdout.splitlines()), 8)
        self.assertIn("cannot read %s: " % half, done.stderr)
        self.assertIn("no row in " + empty, done.stderr)

    def test_near_and_equal_duplicates(self):
        source = self.write("twice.parquet", {"image": PICTURES + PICTURES})
        out = self.folder / "out.parquet"
        self.ok("caption", source, "-o", out, "--dedupe", *FAST)
        rows = self.table()
        self.assertEqual([row["duplicate_of"] for row in rows[:8]], [None] * 8)
        self.assertEqual([r["duplicate_of"] for r in rows[8:]], [r["image"] for r in rows[:8]])

    def test_killed_at_any_moment(self):
        rows = [{"bytes": PICTURES[i % 8], "path": "%d.png" % i} for i in range(150)]
        source = self.write("many.parquet", {"image": rows}, row_group_size=40)
        job = ("caption", source, "-o", self.folder / "out.parquet", *FAST)
        path = "%s:%s" % (pathlib.Path(sys.executable).parent, os.environ["PATH"])
        chosen = random.Random(5)
        for _ in range(15):
            child = subprocess.Popen(
                [PROGRAM, *map(str, job)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PATH": path},
            )
            time.sleep(chosen.uniform(0.2, 2.0))
            child.send_signal(signal.SIGKILL)
            child.wait()
        self.ok(*job)
        self.assertEqual(
            sorted(row["image"] for row in self.table()),
            sorted("%s/%d.png" % (source, i) for i in range(150)),
        )
        self.assertEqual(list(self.folder.glob("*.part")), [])


if __name__ == "__main__":
    unittest.main()
