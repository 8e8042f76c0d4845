"""The folder that build-bmodels makes: under construction beside its place, and in it when it is
whole.
"""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from .errors import BuildError

FORMAT = "blip-bmodels"


def progress(message):
    print(f"build-bmodels: {message}", file=sys.stderr, flush=True)


def file_digests(bmodel):
    """What the manifest says of a bmodel: the digest of all of it, and of what comes before the
    weights, which the vendor's loader trusts: 64 bytes and a description, whose length they hold.
    """
    whole, head = hashlib.sha256(), hashlib.sha256()
    with open(bmodel, "rb") as file:
        start = file.read(64)
        start += file.read(int.from_bytes(start[8:12], "little"))
        head.update(start)
        whole.update(start)
        while block := file.read(1 << 20):
            whole.update(block)
    return {
        "bytes": bmodel.stat().st_size,
        "sha256": whole.hexdigest(),
        "head_sha256": head.hexdigest(),
    }


class Staging:
    """The folder under construction: beside the target, and in its place only when it is whole.

    Its builder holds a lock on it, which goes with the process however that ends: what is not
    locked is of a build that was killed, and goes before the next one starts.
    """

    def __init__(self, target):
        self.target = Path(target).absolute()
        if self.target.exists() and not self._replaceable():
            raise BuildError(
                f"{self.target} exists and is no folder of compiled networks; name another, or "
                "remove it"
            )

    def _replaceable(self):
        if not self.target.is_dir():
            return False
        if not any(self.target.iterdir()):
            return True
        try:
            manifest = json.loads((self.target / "manifest.json").read_text(encoding="utf-8"))
            return manifest.get("format") == FORMAT
        except (OSError, ValueError, AttributeError):
            return False

    def _lock(self, folder):
        """Whether nobody else is at work in the folder; then it is ours while the file is open."""
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(place)
            return None
        return place

    def _clear_killed(self):
        for left in self.target.parent.glob(f".{glob.escape(self.target.name)}.*.part"):
            if not left.is_dir() or left.is_symlink():
                continue
            place = self._lock(left)
            if place is None:
                continue
            progress(f"removing {left}, which a build that was killed has left")
            shutil.rmtree(left, ignore_errors=True)
            os.close(place)

    def _temporary(self):
        return Path(
            tempfile.mkdtemp(prefix=f".{self.target.name}.", suffix=".part", dir=self.target.parent)
        )

    def __enter__(self):
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._clear_killed()
        self.folder = self._temporary()
        self.place = self._lock(self.folder)
        return self.folder

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._put_in_place()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.place is not None:
                os.close(self.place)

    def _put_in_place(self):
        """An older folder moves aside first: it is never there by halves."""
        self.folder.chmod(0o755)
        aside = self._temporary()
        if self.target.exists():
            self.target.rename(aside / "replaced")
        try:
            self.folder.rename(self.target)
        except OSError:
            if (aside / "replaced").exists():
                (aside / "replaced").rename(self.target)
            raise
        shutil.rmtree(aside, ignore_errors=True)


class SampleStaging(Staging):
    """The same for models in the vendor's form, which have no manifest: the folder holds them, the
    vocabulary and their digests, and one that holds anything else is left alone.
    """

    SUMS = "SHA256SUMS"

    def _replaceable(self):
        if not self.target.is_dir():
            return False
        names = {path.name for path in self.target.iterdir()}
        try:
            sums = (self.target / self.SUMS).read_text(encoding="utf-8") if names else ""
        except (OSError, ValueError):
            return False
        listed = {line.split(maxsplit=1)[1] for line in sums.splitlines() if len(line.split()) > 1}
        return names <= {*listed, self.SUMS, "vocab.txt"}
