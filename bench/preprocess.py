#!/usr/bin/env python3
"""Reading a 12-megapixel JPEG, resizing and normalising it: blip against Pillow and numpy, as
transformers' slow processor does it.

    bench/.venv/bin/python bench/preprocess.py --blip build/release/bin/blip
"""

import pathlib
import statistics
import tempfile
import time

import numpy
from PIL import Image

import arguments
from program import bench

MEAN, DEVIATION = numpy.array([0.48145466, 0.4578275, 0.40821073], "f"), numpy.array(
    [0.26862954, 0.26130258, 0.27577711], "f"
)


def make_picture(path):
    """Soft shapes with film grain, about as large as a camera's file."""
    noise = numpy.random.default_rng(1)
    small = Image.fromarray(noise.integers(0, 256, (30, 40, 3), dtype="uint8")).resize(
        (4000, 3000), Image.Resampling.BICUBIC
    )
    grain = noise.normal(0, 6, (3000, 4000, 1))
    Image.fromarray(numpy.clip(numpy.asarray(small) + grain, 0, 255).astype("uint8")).save(
        path, quality=92
    )


def pillow_ms(path, size):
    start = time.perf_counter()
    picture = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    values = (numpy.asarray(picture, dtype="f") * numpy.float32(1 / 255) - MEAN) / DEVIATION
    values.transpose(2, 0, 1).copy()
    return 1e3 * (time.perf_counter() - start)


def blip_ms(blip, path, model):
    settings = ("--image", path, "--runs", 15, "--dtype", "f32")
    return bench(blip, model, ["preprocess"], *settings)[0]["median_ms"]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", type=arguments.program, required=True)
    parser.add_argument(
        "--model", help="a model whose picture size is --size; default: the bundled one"
    )
    parser.add_argument("--size", type=arguments.count, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "photo.jpg"
        make_picture(path)
        pillow = statistics.median([pillow_ms(path, options.size) for _ in range(16)][1:])
        blip = blip_ms(options.blip, path, options.model)
    print(
        f"12 megapixels to {options.size} x {options.size}: Pillow {pillow:.1f} ms, blip "
        f"{blip:.1f} ms, {blip / pillow:.2f} of it"
    )


if __name__ == "__main__":
    main()
