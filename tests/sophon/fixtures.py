"""What the tests need from outside the tree: tiny models in the form of the vendor's samples, and
emulated chips.

The models are an archive beside the checkout, ../shared/sophon/seed-form-tiny.tar.zst, or what
$BLIP_SOPHON_FIXTURES names: the archive or a folder with its contents. The emulators are installed
once into the build folder by tools/sophon/install-emulator; $BLIP_SOPHON_EMULATOR names a folder
where that was done already.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

SKIPPED = 77  # as tests/sophon/CMakeLists.txt tells ctest
SOURCE = Path(os.environ["BLIP_SOURCE"])
WORK = Path(os.environ["BLIP_SOPHON_WORK"])
ARCHIVE = Path("shared/sophon/seed-form-tiny.tar.zst")


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def _unpack(archive, folder):
    """Appears under its name only when it is complete."""
    if folder.is_dir():
        return
    if shutil.which("zstd") is None:
        skip(f"zstd is needed to unpack {archive}")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with subprocess.Popen(
        ["zstd", "-d", "--long=30", "-c", str(archive)], stdout=subprocess.PIPE
    ) as zstd:
        subprocess.run(["tar", "-x", "-C", str(partial)], stdin=zstd.stdout, check=True)
    if zstd.returncode != 0:
        raise RuntimeError(f"zstd cannot read {archive}")
    partial.rename(folder)


def models():
    """The folder with bmodels/, images/ and expected.json."""
    given = os.environ.get("BLIP_SOPHON_FIXTURES")
    source = Path(given) if given else SOURCE.parent / ARCHIVE
    if not source.exists():
        skip(
            f"no models: {source} is absent; set BLIP_SOPHON_FIXTURES to seed-form-tiny.tar.zst or "
            "its contents"
        )
    if source.is_dir():
        root = source
    else:
        root = WORK / "models"
        _unpack(source, root)
    found = sorted(root.glob("**/expected.json"))
    if not found:
        raise RuntimeError(f"{root} holds no expected.json")
    return found[0].parent


def emulator(chip):
    """The folder for $BLIP_BMRT_DIR."""
    if platform.machine() != "x86_64":
        skip("the vendor's emulators are programs for x86-64")
    root = Path(os.environ.get("BLIP_SOPHON_EMULATOR") or WORK / "emulator")
    command = [
        sys.executable,
        str(SOURCE / "tools" / "sophon" / "install-emulator"),
        "--quiet",
        "--out",
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        skip(done.stderr.strip())
    return root / chip


def folders(chip):
    """Our own compiled networks for the chip, {"f16": folder}: the sets CHIP-TYPE of
    tests/sophon/bmodels/compiled.tar.xz, or of the folder $BLIP_SOPHON_BMODELS."""
    given = os.environ.get("BLIP_SOPHON_BMODELS")
    root = Path(given) if given else WORK / "bmodels"
    if not given:
        archive = SOURCE / "tests" / "sophon" / "bmodels" / "compiled.tar.xz"
        if not archive.exists():
            skip(
                f"no compiled networks: {archive} is absent; set BLIP_SOPHON_BMODELS to a folder "
                "of them"
            )
        with _alone():
            stamp = root / "of"  # of which archive they are
            of = f"{archive.stat().st_size} {archive.stat().st_mtime_ns}"
            if not stamp.is_file() or stamp.read_text(encoding="utf-8") != of:
                shutil.rmtree(root, ignore_errors=True)
                with tarfile.open(archive) as tar:
                    tar.extractall(root)
                stamp.write_text(of, encoding="utf-8")
    found = {path.name.removeprefix(f"{chip}-"): path for path in sorted(root.glob(f"{chip}-*"))}
    if not found:
        skip(f"no compiled networks for {chip} in {root}")
    return found


@contextlib.contextmanager
def _alone():
    """One process at a time makes what the others use."""
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare_emulator(chip):
    with _alone():
        return emulator(chip)


def prepare(chip):
    """(models, emulator)"""
    with _alone():
        return models(), emulator(chip)
