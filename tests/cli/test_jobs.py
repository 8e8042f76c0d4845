"""Jobs: captions into files, which go on where they were ended, whatever ended them.

BLIP_JOB_KILLS says how many times the jobs of the kill tests are killed.
"""

import csv
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tarfile
import time
import unittest
import zipfile
from collections import Counter
from pathlib import Path

from harness import PROGRAM, SCENES, TIMEOUT, CliTest, png, run, scene_path, scenes

KILLS = int(os.environ.get("BLIP_JOB_KILLS", "10"))
FAST = ("--beams", 1, "--max-length", 8)


def captions_of(paths):
    """What the pictures are captioned with, by the command without a job."""
    out = run("caption", *paths, "/nonexistent", "--json", *FAST).objects
    return {o["image"]: o["caption"] for o in out if "caption" in o}


def sidecar_of(name, ending=".txt"):
    return Path(name).with_suffix(ending)


class JobTest(CliTest):
    def pictures(self, count, folder="pictures"):
        names = []
        for i in range(count):
            source = scenes()[i % len(scenes())]
            target = self.folder / folder / f"{i:04}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(scene_path(source), target)
            names.append(str(target))
        return names

    def rows(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def path(self, name="out.jsonl"):
        return str(self.folder / name)


class Formats(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(3, "a")
        os.rename(self.names[2], self.folder / "a" / 'x,"y.png')
        self.names[2] = str(self.folder / "a" / 'x,"y.png')
        self.expected = captions_of(self.names)

    def job(self, output, *more):
        result = self.ok("caption", self.folder / "a", "--output", self.path(output), *FAST, *more)
        self.assertEqual(result.out, "")
        return (self.folder / output).read_bytes().decode("utf-8")

    def test_jsonl_is_what_the_command_prints(self):
        lines = self.job("out.jsonl").splitlines()
        printed = self.ok("caption", self.folder / "a", "--json", *FAST).objects
        for line, shown in zip(lines, printed, strict=True):
            del shown["timings_ms"]
            self.assertEqual(line, json.dumps(shown, separators=(",", ":"), ensure_ascii=False))

    def test_csv(self):
        text = self.job("out.csv")
        quoted = self.names[2].replace('"', '""')
        rows = [f"{name},{self.expected[name]}\n" for name in self.names[:2]]
        last = f'"{quoted}",{self.expected[self.names[2]]}\n'
        self.assertEqual(text, "image,caption\n" + "".join(rows) + last)
        read = list(csv.reader(io.StringIO(text)))
        self.assertEqual(read[1:], [[name, self.expected[name]] for name in self.names])

    def test_metadata_of_an_image_folder(self):
        self.job("a/metadata.jsonl")
        self.assertEqual(
            self.rows("a/metadata.jsonl"),
            [{"file_name": os.path.basename(n), "text": self.expected[n]} for n in self.names],
        )

    def test_coco_results(self):
        text = self.job("out.json")
        ids = [0, 1, 'x,"y']
        results = [{"image_id": i, "caption": self.expected[n]} for i, n in zip(ids, self.names)]
        self.assertEqual(json.loads(text), results)
        self.assertEqual(self.job("out.json"), text)
        self.pictures(4, "a")
        self.job("out.json")
        self.assertEqual(
            [r["image_id"] for r in json.loads((self.folder / "out.json").read_text())],
            [*ids, 2, 3],
        )

    def test_several_captions(self):
        self.ok("caption", self.folder / "a", "-o", self.path(), "--num-captions", 2)
        for row in self.rows():
            self.assertEqual(len(row["captions"]), 2)
        for output in (("--output", self.path("x.csv")), ("--sidecar", ".txt")):
            self.fails(
                2,
                "several captions a picture fit into a .jsonl file alone",
                "caption",
                self.folder / "a",
                *output,
                "--num-captions",
                2,
            )

    def test_wording(self):
        self.write("a/0000.txt", "red, small\n")
        wording = (
            "--trigger",
            "sks",
            "--template",
            "{caption} ({tags}) in {folder}/{name}",
            "--prefix",
            "<",
            "--suffix",
            ">",
            "--include-prompt",
        )
        self.job("out.jsonl", *wording)
        first = f"<sks, a picture of {self.expected[self.names[0]]} (red, small) in a/0000>"
        self.assertEqual(self.rows()[0]["caption"], first)
        printed = self.ok("caption", self.names[0], *FAST, *wording)
        self.assertEqual(printed.out, first + "\n")

    def test_names_that_are_not_utf8(self):
        name = os.fsencode(self.folder) + b"/a/\xff.png"
        shutil.copy(self.names[0], name)
        self.job("out.jsonl")
        self.assertEqual(sum("image_bytes" in row for row in self.rows()), 1)
        result = run("caption", self.folder / "a", "-o", self.path("out.csv"), *FAST)
        self.assertEqual(result.code, 1)
        (error,) = self.rows("out.errors.jsonl")
        self.assertIn("CSV cannot hold its name", error["error"])
        self.assertEqual(len((self.folder / "out.csv").read_text().splitlines()), 4)


class Resuming(JobTest):
    def setUp(self):
        super().setUp()
        self.names = self.pictures(6)
        self.begun = ("caption", self.folder / "pictures", "-o", self.path())
        self.job = (*self.begun, *FAST)

    def test_nothing_is_done_twice(self):
        self.ok(*self.job)
        before = (self.folder / "out.jsonl").read_bytes()
        again = self.ok(*self.job)
        self.assertIn("6 pictures done, 0 failed", again.err)
        self.assertIn("0 pictures in", again.err)
        self.assertEqual((self.folder / "out.jsonl").read_bytes(), before)
        more = self.pictures(8)
        self.ok(*self.job)
        self.assertEqual([row["image"] for row in self.rows()], more)

    def test_a_name_given_twice_has_two_rows(self):
        listed = self.write("list.txt", "\n".join([self.names[0]] * 3 + self.names[:2]) + "\n")
        for _ in range(2):
            self.ok("caption", "@" + listed, "-o", self.path(), *FAST)
            self.assertEqual(
                [r["image"] for r in self.rows()], [self.names[0]] * 4 + self.names[1:2]
            )

    def test_other_options_are_an_error(self):
        self.ok(*self.job)
        before = (self.folder / "out.jsonl").read_bytes()
        for options, what in (
            (("--beams", 1, "--max-length", 9), "--max-length 8, not 9"),
            (("--beams", 2, "--max-length", 8), "--beams 1, not 2"),
            ((*FAST, "--prompt", "a"), '--prompt null, not "a"'),
            ((*FAST, "--trigger", "sks"), '--trigger "", not "sks"'),
            ((*FAST, "--background", "red"), "--background null, not [255,0,0]"),
            ((*FAST, "--sidecar", ".txt"), '--sidecar null, not ".txt"'),
        ):
            with self.subTest(options=options):
                self.fails(
                    2, f"was begun with {what}; give what it was begun with", *self.begun, *options
                )
        self.assertEqual((self.folder / "out.jsonl").read_bytes(), before)
        # What changes no caption may change.
        self.ok(*self.job, "--batch", 2, "--threads", 1)

    def test_files_that_no_job_wrote(self):
        for output in ("out.jsonl", "out.json"):
            self.write(output, "[]\n")
            self.fails(
                2,
                f"{self.path(output)} exists",
                "caption",
                self.folder / "pictures",
                "-o",
                self.path(output),
                *FAST,
            )
            self.assertEqual((self.folder / output).read_text(), "[]\n")
            self.assertFalse((self.folder / (output + ".job")).exists())

    def test_failures(self):
        bad = self.write("pictures/0001a.png", "no picture")
        result = run(*self.job)
        self.assertEqual((result.code, result.out), (1, ""))
        (error,) = self.rows("out.errors.jsonl")
        self.assertEqual(error["image"], bad)
        self.assertIn("not a picture that can be read", error["error"])
        self.assertEqual([row["image"] for row in self.rows()], self.names)
        # It is not tried again, but told.
        again = run(*self.job)
        self.assertEqual(again.code, 1)
        self.assertNotIn("error:", again.err)
        self.assertIn("6 pictures done, 1 failed", again.err)
        retried = run(*self.job, "--retry-errors")
        self.assertEqual(retried.code, 1)
        self.assertEqual(self.rows("out.errors.jsonl"), [error])
        shutil.copy(self.names[0], bad)
        self.ok(*self.job, "--retry-errors")
        self.assertEqual((self.folder / "out.errors.jsonl").read_text(), "")
        self.assertEqual([row["image"] for row in self.rows()], [*self.names, bad])

    def test_ctrl_c_keeps_what_is_done(self):
        self.names = self.pictures(40)
        for number in (signal.SIGINT, signal.SIGTERM) * 2:
            process = subprocess.Popen(
                [PROGRAM, *map(str, self.job), "--batch", "1"], stderr=subprocess.PIPE
            )
            time.sleep(random.uniform(0.05, 0.4))
            process.send_signal(number)
            _, err = process.communicate(timeout=TIMEOUT)
            # -number: it came before the program could catch it.
            self.assertIn(process.returncode, (0, 128 + number, -number), err)
        self.ok(*self.job)
        self.assertEqual([row["image"] for row in self.rows()], self.names)

    def test_a_full_disk(self):
        """A limit on the size of files, under which the job gets on piece by piece."""
        self.names = self.pictures(60)
        for limit in (2000, 4000, 8000):
            small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            result = run(*self.job, preexec=small)
            self.assertEqual(result.code, 1, result.err)
            self.assertIn("File too large", result.err)
            for row in self.rows():
                self.assertIn("caption", row)
        self.ok(*self.job)
        self.assertEqual(sorted(row["image"] for row in self.rows()), self.names)


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


class Killed(JobTest):
    """Killed at random moments and started again, each picture has one row in the end."""

    def setUp(self):
        super().setUp()
        self.names = self.pictures(24)
        bad = [self.write(f"pictures/{i:04}x.png", "bad") for i in range(0, 24, 8)]
        self.random = random.Random(7)
        self.bad = sorted(bad)
        self.expected = captions_of(self.names)

    def start(self, *job):
        return subprocess.Popen(
            [PROGRAM, *map(str, job), "--threads", "1", "--batch", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def kill_and_finish(self, workers, kills, *job):
        """Kills one worker after the other; a job that is complete before is not killed."""
        running = [self.start(*job) for _ in range(workers)]
        slowest = 0.3 * workers
        for _ in range(kills):
            time.sleep(self.random.uniform(0, slowest))
            victim = self.random.randrange(workers)
            running[victim].kill()
            running[victim].communicate(timeout=TIMEOUT)
            if all(p.poll() is not None for p in running):
                break
            running[victim] = self.start(*job)
        ends = [(p.communicate(timeout=TIMEOUT)[1], p.returncode) for p in running]
        last = self.start(*job)
        err = last.communicate(timeout=TIMEOUT)[1]
        self.assertEqual(last.returncode, 1, (err, ends))

    def check_rows(self):
        counts = Counter(row["image"] for row in self.rows())
        self.assertEqual(counts, Counter(self.names))
        for row in self.rows():
            self.assertEqual(row["caption"], self.expected[row["image"]])
        errors = Counter(row["image"] for row in self.rows("out.errors.jsonl"))
        self.assertEqual(errors, Counter(self.bad))

    def rounds(self, workers):
        killed = 0
        while killed < KILLS:
            for name in ("out.jsonl", "out.jsonl.job", "out.errors.jsonl"):
                (self.folder / name).unlink(missing_ok=True)
            kills = min(5, KILLS - killed)
            self.kill_and_finish(
                workers, kills, "caption", self.folder / "pictures", "-o", self.path(), *FAST
            )
            self.check_rows()
            killed += kills

    def test_one_worker(self):
        self.rounds(1)

    def test_three_workers(self):
        self.rounds(3)

    def test_sidecars_that_are_added_to(self):
        for path in self.bad:
            os.unlink(path)
        for name in self.names:
            self.write(name[:-4] + ".txt", "mine\n")
        job = (
            "caption",
            self.folder / "pictures",
            "--sidecar",
            ".txt",
            "--existing",
            "append",
            *FAST,
        )
        journal = self.folder / "pictures" / ".blip-caption.txt.job"
        for _ in range(KILLS):
            process = self.start(*job)
            time.sleep(self.random.uniform(0, 0.4))
            process.kill()
            process.communicate(timeout=TIMEOUT)
            if not journal.exists() and sidecar_of(self.names[-1]).read_text() != "mine\n":
                break  # complete: started again, it would append again
        else:
            self.ok(*job)
        for name in self.names:
            self.assertEqual(sidecar_of(name).read_text("utf-8"), f"mine, {self.expected[name]}\n")
        self.assertEqual(
            [p.name for p in (self.folder / "pictures").iterdir() if p.name.endswith(".job")], []
        )


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
