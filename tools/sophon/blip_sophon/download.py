"""Fetching the files of the vendor's BLIP sample: what is fetched, from where, and whether it came
whole.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .errors import BuildError

CHIPS = ("bm1684", "bm1684x", "bm1688")  # that the sample has models for
PARTS = ("cap", "itm", "vqa_venc", "vqa_tenc", "vqa_tdec")
DFSS = "dfss==1.10.9"  # the vendor's client on PyPI
ADDRESS = "open@sophgo.com:sophon-demo/BLIP/"
SUMS = "SHA256SUMS"
MAGIC = 0xFF55AAEE
STALLED = 120  # seconds in which a download gets no byte


def progress(message):
    print(f"download: {message}", file=sys.stderr, flush=True)


def bmodels(chip):
    return [f"blip_{part}_{chip}_f32_1b.bmodel" for part in PARTS]


# ---- is a file whole


def check_bmodel(path, name, chip):
    """A header of 64 bytes, a description and the weights, of lengths that the header says."""
    with open(path, "rb") as file:
        head = file.read(64)
        numbers = [int.from_bytes(head[i : i + 4], "little") for i in (0, 4, 8, 12)]
        if len(head) < 64 or numbers[0] != MAGIC or numbers[1] != 64:
            raise BuildError(f"{name} is no bmodel: it does not start as one")
        expected, got = 64 + numbers[2] + numbers[3], path.stat().st_size
        if got != expected:
            raise BuildError(f"{name} is not whole: it has {got} bytes of {expected}")
        if chip.upper().encode() not in file.read(numbers[2]):
            raise BuildError(f"{name} is not for {chip}: it does not name that chip")


def check_zip(path, name):
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            names = archive.namelist()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError) as error:
        raise BuildError(f"{name} is not whole: {error}") from None
    if bad:
        raise BuildError(f"{name} is damaged: {bad} in it does not have its checksum")
    for member in names:
        if member.startswith("/") or ".." in PurePosixPath(member).parts or "\\" in member:
            raise BuildError(f"{name} holds {member!r}, which would be written elsewhere")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Sums:
    """SHA256SUMS of a folder, as sha256sum has it: what was fetched and found whole."""

    def __init__(self, folder):
        self.path = Path(folder) / SUMS
        self.known = {}
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            digest, _, name = line.partition("  ")
            if len(digest) != 64 or not name:
                raise BuildError(f"{self.path}, line {number}: expected a SHA-256 and a file name")
            self.known[name] = digest

    def add(self, digests):
        """digests: file name -> its SHA-256."""
        self.known.update(digests)
        text = "".join(f"{self.known[name]}  {name}\n" for name in sorted(self.known))
        partial = self.path.with_name(f".{SUMS}.part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path)

    def check(self):
        """One line per file: (name, "good" | "changed" | "missing")"""
        for name, digest in sorted(self.known.items()):
            path = self.path.parent / name
            if not path.is_file():
                yield name, "missing"
            else:
                yield name, "good" if sha256(path) == digest else "changed"


# ---- where files come from


class Mirror:
    """A plain web server with the files under one address. A download that broke off goes on where
    it was, if the file there is still the same.
    """

    def __init__(self, address):
        if not re.match(r"https?://[^/]", address):
            raise BuildError(f"--mirror {address}: expected http://HOST/... or https://HOST/...")
        self.address = address.rstrip("/") + "/"

    def fetch(self, name, part):
        tag = part.with_name(part.name + ".tag")  # which version the part is of
        have = part.stat().st_size if part.exists() and tag.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
        request = urllib.request.Request(self.address + name, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=STALLED) as answer:
                self._keep(answer, part, tag, have)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing is left to fetch
                tag.unlink()
                return
            raise BuildError(f"{self.address}{name}: {error.code} {error.reason}") from None
        except (OSError, urllib.error.URLError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise BuildError(
                f"{self.address}{name}: {reason}; start it again to go on where it was"
            ) from None

    def _keep(self, answer, part, tag, have):
        resumed = answer.status == 206
        if resumed:
            progress(f"{part.name}: going on after {have / 1e6:.1f} MB")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version and not version.startswith("W/"):
            tag.write_text(version)
        else:
            tag.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        with open(part, "ab" if resumed else "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
            got = file.tell()
        expected = int(length) + (have if resumed else 0) if length else got
        if got < expected:
            raise OSError(f"the connection ended after {got} of {expected} bytes")
        tag.unlink(missing_ok=True)


class Dfss:
    """The vendor's own client, which looks for the fastest of its servers. It cannot go on with a
    file that broke off; whole files are not fetched again.
    """

    def __init__(self, cache):
        self.cache = Path(cache) / "dfss"

    def _environment(self):
        if importlib.util.find_spec("dfss"):
            return os.environ
        done = self.cache / "done"
        if not done.exists():
            progress(f"installing {DFSS}, the vendor's client, in {self.cache}")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command = [*pip, "--no-deps", "--upgrade", "--target", str(self.cache), DFSS]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                last = (run.stderr or run.stdout).strip().splitlines()[-1:] or ["unknown reason"]
                raise BuildError(
                    f"pip cannot install {DFSS}: {last[0]}; needed: python3-pip and a package "
                    "index; or name a web server that has the files with --mirror"
                )
            done.touch()
        return {**os.environ, "PYTHONPATH": str(self.cache)}

    def fetch(self, name, part):
        environment = self._environment()
        with tempfile.TemporaryDirectory(prefix=".dfss.", dir=part.parent) as folder:
            command = [sys.executable, "-m", "dfss", f"--url={ADDRESS}{name}"]
            log = Path(folder) / "dfss.log"
            with open(log, "wb") as output:
                client = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                try:
                    stalled = self._stalled(client, folder)
                finally:
                    if client.poll() is None:
                        os.killpg(client.pid, 9)
                        client.wait()
            fetched = Path(folder) / name
            if stalled or client.returncode != 0 or not fetched.is_file():
                text = log.read_text(encoding="utf-8", errors="replace").strip()
                last = text.splitlines()[-1] if text else "it says nothing"
                why = f"no byte came for {STALLED} s" if stalled else last
                raise BuildError(f"dfss cannot fetch {ADDRESS}{name}: {why}")
            fetched.replace(part)

    @staticmethod
    def _stalled(client, folder):
        """Waits for the client; true where it gets nothing any more."""
        size, since = -1, time.monotonic()
        while client.poll() is None:
            time.sleep(0.2)
            now = sum(file.stat().st_size for file in Path(folder).iterdir() if file.is_file())
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > STALLED:
                return True
        return False


# ---- the sample's files in their places


class Download:
    def __init__(self, source, out):
        self.source, self.out = source, Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.sums = Sums(self.out)

    def file(self, name, place, check):
        """out/place/name, unless it is there and whole."""
        target = self.out / place / name
        known = self.sums.known.get(f"{place}/{name}")
        if target.is_file() and known and sha256(target) == known:
            progress(f"{target}: there already")
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{name}.part")
        progress(f"{target}")
        self.source.fetch(name, part)
        try:
            check(part, name)
        except BuildError:
            part.unlink(missing_ok=True)  # going on with it would not mend it
            raise
        digest = sha256(part)
        part.replace(target)
        self.sums.add({f"{place}/{name}": digest})
        return target

    def archive(self, name, place, folder):
        """A zip with one folder in it, or its files, unpacked as out/place/folder."""
        target = self.out / place / folder
        if target.is_dir():
            progress(f"{target}: there already")
            return
        archive = self.file(name, place, check_zip)
        partial = target.with_name(f".{folder}.part")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(partial)
        inside = partial / folder
        if not inside.is_dir() and not any(path.is_file() for path in partial.iterdir()):
            held = ", ".join(sorted(path.name for path in partial.iterdir())) or "nothing"
            shutil.rmtree(partial)
            archive.unlink()
            raise BuildError(f"{name} holds no folder {folder} but {held}: it is another archive")
        (inside if inside.is_dir() else partial).rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        self.sums.known.pop(f"{place}/{name}", None)
        files = [path for path in target.rglob("*") if path.is_file()]
        self.sums.add({path.relative_to(self.out).as_posix(): sha256(path) for path in files})
        archive.unlink()

    def models(self, chip):
        for name in bmodels(chip):
            self.file(name, f"models/{chip.upper()}", lambda *file: check_bmodel(*file, chip))


def check_only(out, json_lines):
    """Compares what is there with what was fetched; how many files are not good."""
    sums = Sums(out)
    if not sums.known:
        raise BuildError(f"{sums.path} is missing or empty: nothing was fetched there")
    bad = 0
    for name, state in sums.check():
        bad += state != "good"
        print(json.dumps({"file": name, "result": state}) if json_lines else f"{state}\t{name}")
    return bad
