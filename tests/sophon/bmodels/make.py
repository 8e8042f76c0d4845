#!/usr/bin/env python3
"""Makes compiled.tar.xz: the checkpoints of tests/data/parity, compiled for the three chips by
tools/sophon/build-bmodels.

    tests/sophon/bmodels/make.py --toolchain DIR [--work DIR]

CHIP-DTYPE/{caption,match,vqa} are folders for `blip --model`; what they must say is in
tests/data/parity/*/golden.json, as transformers gave it. The chip's own program, 5 MB in each
bmodel, is taken out: an emulator has it. With --work, folders that are there are not built again.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PARITY = ROOT / "tests/data/parity"
MODELS = ("caption", "match", "vqa")
SETS = (
    ("bm1684", "f32", 1),
    ("bm1684", "int8", 1),
    ("bm1684x", "f32", 1),
    ("bm1684x", "f16", 1),
    ("bm1684x", "bf16", 1),
    ("bm1684x", "w8f16", 1),
    ("bm1684x", "int8", 1),
    ("bm1688", "f32", 1),
    ("bm1688", "f16", 2),
    ("bm1688", "int8", 2),
)


def build(toolchain, work, chip, dtype, cores):
    for model in MODELS:
        folder = work / f"{chip}-{dtype}" / model
        if (folder / "manifest.json").is_file():
            continue
        command = [
            sys.executable,
            ROOT / "tools/sophon/build-bmodels",
            "--toolchain",
            toolchain,
            "--model",
            PARITY / model,
            "--chip",
            chip,
            "--dtype",
            dtype,
            "--cores",
            cores,
            "--slots",
            24,
            "--out",
            folder,
        ]
        if dtype == "int8":
            command += ["--calibration", *sorted((PARITY / "images").iterdir())]
        subprocess.run(list(map(str, command)), check=True)


def strip(toolchain, folder):
    """Takes the chip's program out; the manifest says the new sizes, and no digests."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for file in sorted({network["file"] for network in manifest["networks"]}):
        subprocess.run(
            [str(toolchain / "bin/tpu-mlir"), "model_tool", "--kernel_remove", str(folder / file)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    for network in manifest["networks"]:
        network["bytes"] = (folder / network["file"]).stat().st_size
        for digest in ("sha256", "head_sha256"):
            network.pop(digest, None)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def pack(folder, target):
    def plain(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    part = target.with_suffix(".part")
    with tarfile.open(part, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder), recursive=False, filter=plain)
    part.replace(target)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--toolchain", type=Path, required=True, help="folder of tools/sophon/install-toolchain"
    )
    parser.add_argument(
        "--work", type=Path, help="folder to build in and keep (default: a temporary one)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work, stripped = args.work or Path(temporary) / "built", Path(temporary) / "stripped"
        for chip, dtype, cores in SETS:
            build(args.toolchain, work, chip, dtype, cores)
            for model in MODELS:
                target = stripped / f"{chip}-{dtype}" / model
                target.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(
                    ["cp", "-r", str(work / f"{chip}-{dtype}" / model), str(target)], check=True
                )
                if chip != "bm1684":  # has none
                    strip(args.toolchain, target)
        pack(stripped, HERE / "compiled.tar.xz")
    print(f"{HERE / 'compiled.tar.xz'}: {(HERE / 'compiled.tar.xz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
