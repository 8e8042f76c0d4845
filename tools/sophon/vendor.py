"""What the installers of this folder share: which release of the vendor's compiler, how to get it,
and its runtime per chip.

The vendor publishes compiler, runtime and emulators as one PyPI package for x86-64 Linux, under a
2-clause BSD licence.
"""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

PACKAGE = "tpu_mlir"
VERSION = "1.30.2"
PYTHON = "3.10"  # of the wheel; no such Python is needed to use the libraries
WHEEL_SHA256 = "542807361c9eeb0777a7bd35e501d8c71cce767e4bce021a3cb3a7c25c35f909"
CHIPS = ("bm1684", "bm1684x", "bm1688")
# The runtime, its library of host operators and one emulator per chip.
LIBRARIES = ("libbmrt.so", "libbmlib.so.0", "libcpuop.so")
EMULATOR = "libcmodel_{chip}.so"
LINKS = {  # name in a chip's folder -> library
    "libbmrt.so": "libbmrt.so",
    "libbmrt.so.1.0": "libbmrt.so",
    "libbmlib.so": "libbmlib.so.0",
    "libbmlib.so.0": "libbmlib.so.0",
    "libcpuop.so": "libcpuop.so",
}
# The package carries these of an older system. A program that picks them up beside the machine's
# own loader crashes.
STALE = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libgcc_s.so.1", "libstdc++.so.6")


class InstallError(Exception):
    """What stopped an installation, in words for its user."""


def require_host(what):
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise InstallError(
            f"{what} for Linux on x86-64; this is {sys.platform} on {platform.machine()}"
        )


def cache_folder(name):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "blip" / name


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_digest(path, expected, what):
    got = sha256(path)
    if got != expected:
        raise InstallError(f"{path} is not {what}: its SHA-256 is {got}, expected {expected}")


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown reason"


def download_wheel(folder, python=sys.executable):
    """The wheel, through pip and whatever index it is set up to use."""
    command = [
        str(python),
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        PYTHON,
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        f"{PACKAGE}=={VERSION}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(Path(folder).glob(f"{PACKAGE}-{VERSION}-*.whl"))
    if done.returncode != 0 or not wheels:
        raise InstallError(
            f"pip cannot download {PACKAGE} {VERSION}: {last_line(done.stderr or done.stdout)}\n"
            "  needed: python3-pip and a package index; or pass a downloaded wheel with --wheel "
            "FILE"
        )
    check_digest(wheels[0], WHEEL_SHA256, f"{PACKAGE} {VERSION}")
    return wheels[0]


def remove_stale(folder):
    for name in STALE:
        (Path(folder) / name).unlink(missing_ok=True)


def link_chips(libraries, root):
    """One folder per chip: a process emulates the chip whose library libcmodel.so is."""
    for chip in CHIPS:
        folder = root / chip
        folder.mkdir(parents=True, exist_ok=True)
        for name, library in {**LINKS, "libcmodel.so": EMULATOR.format(chip=chip)}.items():
            place = folder / name
            if place.is_symlink() or place.exists():
                place.unlink()
            place.symlink_to(os.path.relpath(libraries / library, folder))


def chips_linked(root):
    """Links are made last, so that a whole set of them says that everything is there."""
    return all((root / chip / name).exists() for chip in CHIPS for name in [*LINKS, "libcmodel.so"])
