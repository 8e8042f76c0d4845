"""tools/sophon/download from a web server of this machine and from a stand-in for the vendor's
client, and what build-bmodels does with folders of builds that were killed.
"""

import contextlib
import fcntl
import hashlib
import http.server
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "sophon"
sys.path.insert(0, str(TOOLS))
from blip_sophon.errors import BuildError  # noqa: E402
from blip_sophon.staging import Staging, file_digests  # noqa: E402

PARTS = ("cap", "itm", "vqa_venc", "vqa_tenc", "vqa_tdec")


def bmodel(chip, weights):
    table = b"table of " + chip.upper().encode()
    return struct.pack("<IIII48x", 0xFF55AAEE, 64, len(table), len(weights)) + table + weights


def archive(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as out:
        for name, text in files.items():
            out.writestr(name, text)
    return data.getvalue()


def sample_files(chip="bm1684x"):
    files = {
        f"blip_{part}_{chip}_f32_1b.bmodel": bmodel(chip, part.encode() * 50_000) for part in PARTS
    }
    files["datasets.zip"] = archive({"datasets/test/a.jpg": "jpeg", "datasets/b.txt": "b"})
    files["bert-base-uncased.zip"] = archive({"bert-base-uncased/vocab.txt": "[PAD]\n"})
    return files


class Server:
    """Gives out files, pieces of files, and what a test wants to go wrong."""

    def __init__(self, files):
        self.files, self.requests, self.broken_after = dict(files), [], {}
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[1]
                owner.requests.append((name, self.headers.get("Range")))
                data = owner.files.get(name)
                if data is None:
                    return self.send_error(404)
                tag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
                begin = 0
                if self.headers.get("Range") and self.headers.get("If-Range") == tag:
                    begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if begin else 200)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", str(len(data) - begin))
                self.end_headers()
                end = owner.broken_after.pop(name, len(data))
                self.wfile.write(data[begin:end])
                return None

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/blip"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Downloads(unittest.TestCase):
    def setUp(self):
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.server = Server(sample_files())
        self.addCleanup(self.server.close)

    def run_tool(self, *arguments, code=0, mirror=True, **variables):
        command = [sys.executable, "-B", TOOLS / "download", *arguments, "--out", self.out]
        if mirror:
            command += ["--mirror", self.server.url]
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **variables},
        )
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def left_over(self):
        return [p.name for p in self.out.rglob("*") if p.name.startswith(".")]

    def test_the_samples_files_come_to_their_places(self):
        self.run_tool("bm1684x")
        for part in PARTS:
            name = f"blip_{part}_bm1684x_f32_1b.bmodel"
            got = (self.out / "models/BM1684X" / name).read_bytes()
            self.assertEqual(got, self.server.files[name])
        self.assertEqual((self.out / "datasets/test/a.jpg").read_text(), "jpeg")
        self.assertEqual((self.out / "models/bert-base-uncased/vocab.txt").read_text(), "[PAD]\n")
        self.assertEqual(self.left_over(), [])
        self.server.requests.clear()
        self.run_tool("bm1684x")
        self.assertEqual(self.server.requests, [], "what is there is not fetched again")
        sums = subprocess.run(
            ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=self.out, check=False
        )
        self.assertEqual(sums.returncode, 0)

    def test_a_file_that_broke_off_goes_on_where_it_was(self):
        name = "blip_cap_bm1684x_f32_1b.bmodel"
        self.server.broken_after[name] = 100_000
        failed = self.run_tool("bm1684x", "--only", "models", code=1)
        self.assertIn("the connection ended after", failed.stderr)
        self.assertIn("go on where it was", failed.stderr)
        self.assertFalse((self.out / "models/BM1684X" / name).exists())
        self.run_tool("bm1684x", "--only", "models")
        self.assertIn((name, "bytes=100000-"), self.server.requests)
        got = (self.out / "models/BM1684X" / name).read_bytes()
        self.assertEqual(got, self.server.files[name])
        self.assertEqual(self.left_over(), [])

    def test_a_file_that_changed_meanwhile_is_fetched_whole(self):
        name = "blip_cap_bm1684x_f32_1b.bmodel"
        self.server.broken_after[name] = 100_000
        self.run_tool("bm1684x", "--only", "models", code=1)
        self.server.files[name] = bmodel("bm1684x", b"other" * 40_000)
        self.run_tool("bm1684x", "--only", "models")
        got = (self.out / "models/BM1684X" / name).read_bytes()
        self.assertEqual(got, self.server.files[name])

    def test_what_is_not_whole_or_not_of_the_chip_gets_no_name(self):
        name = "blip_cap_bm1684x_f32_1b.bmodel"
        good = self.server.files[name]
        for data, message in (
            (good[:-1], f"is not whole: it has {len(good) - 1} bytes of {len(good)}"),
            (good + b"x", "is not whole"),
            (b"<html>", "is no bmodel"),
            (b"", "is no bmodel"),
            (bmodel("bm1688", b"x" * 9), "is not for bm1684x"),
        ):
            with self.subTest(message):
                self.server.files[name] = data
                failed = self.run_tool("bm1684x", "--only", "models", code=1)
                self.assertIn(message, failed.stderr)
                self.assertEqual(list((self.out / "models/BM1684X").iterdir()), [])
        self.server.files.pop(name)
        self.assertIn("404", self.run_tool("bm1684x", "--only", "models", code=1).stderr)

    def test_archives(self):
        good = self.server.files["datasets.zip"]
        at = good.index(b"datasets/test/a.jpg") + len(b"datasets/test/a.jpg")
        garbled = good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]
        for data, message in (
            (good[:40], "is not whole"),
            (garbled, "datasets.zip is "),
            (archive({"../out.txt": "x"}), "would be written elsewhere"),
            (archive({"/tmp/out.txt": "x"}), "would be written elsewhere"),
            (archive({"x/y": "x"}), "datasets.zip holds no folder datasets but x"),
        ):
            with self.subTest(message):
                self.server.files["datasets.zip"] = data
                failed = self.run_tool("bm1684x", "--only", "pictures", code=1)
                self.assertIn(message, failed.stderr)
                self.assertFalse((self.out / "datasets").exists())

    def test_check(self):
        self.run_tool("bm1684x")
        done = self.run_tool("--check", mirror=False)
        self.assertEqual(done.stdout.count("good\t"), 8)
        name = "models/BM1684X/blip_itm_bm1684x_f32_1b.bmodel"
        path = self.out / name
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        (self.out / "datasets/b.txt").unlink()
        lines = self.run_tool("--check", "--json", code=1, mirror=False).stdout.splitlines()
        results = {r["file"]: r["result"] for r in map(json.loads, lines)}
        self.assertEqual((results.pop(name), results.pop("datasets/b.txt")), ("changed", "missing"))
        self.assertEqual(set(results.values()), {"good"})
        self.run_tool("bm1684x", "--only", "models")
        self.assertEqual(path.read_bytes(), self.server.files[path.name], "mended")

    def test_sums_that_are_none(self):
        (self.out / "SHA256SUMS").write_bytes(b"\xff\xfe\0 " * 20)
        failed = self.run_tool("--check", code=1, mirror=False)
        self.assertIn("SHA256SUMS, line 1: expected a SHA-256 and a file name", failed.stderr)

    def test_a_mirror_is_a_web_server(self):
        for address in ("files.example/blip", "file:///etc", "http://"):
            failed = self.run_tool("bm1684x", "--mirror", address, code=1, mirror=False)
            self.assertIn(f"--mirror {address}: expected http://HOST/", failed.stderr)

    def test_check_without_anything(self):
        self.assertIn("nothing was fetched", self.run_tool("--check", code=1, mirror=False).stderr)

    def test_which_chip(self):
        for arguments, message in (
            (("cv186x",), "runs those of BM1688"),
            (("bm1690",), "bm1684, bm1684x, bm1688"),
            ((), "which chip"),
            (("bm1684x", "--json"), "--json goes with --check"),
        ):
            self.assertIn(message, self.run_tool(*arguments, code=2).stderr)

    def client(self, body):
        """A package dfss as the vendor's is called: python -m dfss --url=ADDRESS"""
        package = self.out / "client" / "dfss"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(
            "import sys\nurl = sys.argv[1].removeprefix('--url=')\n"
            "assert url.startswith('open@sophgo.com:sophon-demo/BLIP/'), url\n"
            f"name = url.rsplit('/', 1)[1]\n{body}\n"
        )
        return str(package.parent)

    def test_the_vendors_client(self):
        files = self.out / "there"
        files.mkdir()
        for name, data in self.server.files.items():
            (files / name).write_bytes(data)
        path = self.client(f"import shutil\nshutil.copy({str(files)!r} + '/' + name, name)")
        self.run_tool("bm1684x", mirror=False, PYTHONPATH=path)
        got = (self.out / "models/BM1684X/blip_cap_bm1684x_f32_1b.bmodel").read_bytes()
        self.assertEqual(got, self.server.files["blip_cap_bm1684x_f32_1b.bmodel"])
        self.assertEqual((self.out / "datasets/test/a.jpg").read_text(), "jpeg")

    def test_the_vendors_client_fails(self):
        path = self.client("print('find sftp server')\nprint('no server answers')\nsys.exit(1)")
        failed = self.run_tool("bm1684x", mirror=False, code=1, PYTHONPATH=path)
        self.assertIn("dfss cannot fetch", failed.stderr)
        self.assertIn("no server answers", failed.stderr)
        path = self.client("pass")  # says that all went well
        self.run_tool("bm1684x", mirror=False, code=1, PYTHONPATH=path)


class KilledBuilds(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def build(self, text="new"):
        with contextlib.redirect_stderr(io.StringIO()) as said, Staging(self.folder / "out") as out:
            (out / "manifest.json").write_text('{"format": "blip-bmodels"}')
            (out / "text").write_text(text)
        return said.getvalue()

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())

    def killed(self, name):
        left = self.folder / name
        (left / "blip-compile-x").mkdir(parents=True)
        (left / "blip-compile-x" / "weights.npz").write_text("gigabytes")
        return left

    def test_what_they_left_goes_before_the_next(self):
        self.killed(".out.abc.part")
        self.killed(".other.abc.part")
        said = self.build()
        self.assertEqual(self.names(), [".other.abc.part", "out"])
        self.assertIn("which a build that was killed has left", said)
        self.build("newer")
        self.assertEqual((self.folder / "out/text").read_text(), "newer")
        self.assertEqual(self.names(), [".other.abc.part", "out"])

    def test_a_build_at_work_is_left_alone(self):
        left = self.killed(".out.abc.part")
        place = os.open(left, os.O_RDONLY)
        fcntl.flock(place, fcntl.LOCK_EX)
        self.build()
        self.assertTrue((left / "blip-compile-x" / "weights.npz").exists())
        os.close(place)
        self.build()
        self.assertEqual(self.names(), ["out"])

    def test_a_process_that_is_killed(self):
        code = (
            "import sys, os, signal\n"
            f"sys.path.insert(0, {str(TOOLS)!r})\n"
            "from blip_sophon.staging import Staging\n"
            f"with Staging({str(self.folder / 'out')!r}) as out:\n"
            "    (out / 'weights').write_text('gigabytes')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        subprocess.run([sys.executable, "-B", "-c", code], check=False)
        self.assertEqual(len(self.names()), 1)
        self.assertNotEqual(self.names(), ["out"])
        self.build()
        self.assertEqual(self.names(), ["out"])

    def test_a_build_that_fails_leaves_the_older_one(self):
        self.build("old")
        with self.assertRaises(BuildError), Staging(self.folder / "out"):
            raise BuildError("the compiler fails")
        self.assertEqual((self.folder / "out/text").read_text(), "old")
        self.assertEqual(self.names(), ["out"])

    def test_digests(self):
        file = self.folder / "a.bmodel"
        file.write_bytes(bmodel("bm1688", b"weights"))
        data = file.read_bytes()
        self.assertEqual(
            file_digests(file),
            {
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "head_sha256": hashlib.sha256(data[:-7]).hexdigest(),
            },
        )


if __name__ == "__main__":
    unittest.main()
