#!/usr/bin/env python3
"""The perceptual hashes that the package imagehash gives for the committed pictures and for copies
of them: resized, compressed anew, brightened, cut.

    pip install pillow imagehash
    python3 tests/reference/looks.py    # rewrites tests/data/image/looks and looks.txt

A line is the file, seen from tests/data/image, and imagehash.phash in hexadecimal digits.
"""

import argparse
import os
import warnings
from pathlib import Path

import imagehash
from PIL import Image, ImageEnhance, ImageOps

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "image"
KINDS = (".bmp", ".gif", ".jpg", ".png", ".webp")


def upright(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def write_copies(folder):
    """What people make of a picture, small."""
    folder.mkdir(exist_ok=True)
    for name in ("cat-bus", "clock"):
        picture = upright(ROOT / "demo" / "scenes" / f"{name}.png")
        width, height = picture.size
        copies = {
            "small.png": picture.resize((width // 3, height // 3), Image.BICUBIC),
            "wide.png": picture.resize((width // 2, height // 4), Image.BILINEAR),
            "q20.jpg": picture,
            "bright.jpg": ImageEnhance.Brightness(picture).enhance(1.2),
            "cut.jpg": picture.crop((8, 5, width - 3, height - 6)),
            "mirrored.png": ImageOps.mirror(picture).resize((64, 64), Image.LANCZOS),
        }
        for ending, copy in copies.items():
            quality = 20 if ending == "q20.jpg" else 85
            copy.save(folder / f"{name}-{ending}", optimize=True, quality=quality)
    for name, picture in (
        ("flat", Image.new("RGB", (40, 30), (9, 200, 3))),
        ("black", Image.new("RGB", (5, 7))),
        ("linear", Image.linear_gradient("L")),
        ("radial", Image.radial_gradient("L").resize((99, 99))),
        ("tall", Image.radial_gradient("L").resize((3, 700))),
        ("size", Image.radial_gradient("L").resize((32, 32)).rotate(30)),
    ):
        picture.save(folder / f"{name}.png", optimize=True)


def files():
    for path in sorted(DATA.glob("*")) + sorted((DATA / "looks").glob("*")):
        if path.suffix not in KINDS:
            continue
        try:
            yield path, upright(path)
        except (OSError, SyntaxError, ValueError):
            continue  # a damaged one
    for path in sorted((ROOT / "demo" / "scenes").glob("*.png")):
        yield path, upright(path)


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    warnings.simplefilter("ignore")
    write_copies(DATA / "looks")
    lines = []
    for path, picture in files():
        name = os.path.relpath(path, DATA)
        lines.append(f"{name} {imagehash.phash(picture)}\n")
    (DATA / "looks.txt").write_text("".join(lines))
    print(len(lines), "pictures")


if __name__ == "__main__":
    main()
