#!/usr/bin/env python3
"""A folder of photographs captioned beside what its pictures alone take in the vision tower, and
beside transformers. Prints a Markdown table of milliseconds a picture.

    bench/setup.sh
    bench/.venv/bin/python bench/folder.py --blip build/release/bin/blip [--rounds 5]

The photographs are JPEGs of 1632 x 1224 pixels, quality 90; the model is BLIP-base with random
weights (peers.py makes it), greedy to 20 tokens. A round times, one after another, `blip caption
FOLDER` (the difference between a folder of all and of a quarter of them, so that loading does not
count), the tower and the whole caption of `blip bench` with the same batch, and transformers in
bfloat16 in batches of 8, which is given the same files. The table has the medians of the rounds,
and ratios made within a round. Everything else on the machine should be still.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import arguments
from program import bench, run

HERE = pathlib.Path(__file__).resolve().parent
SIZE = (1632, 1224)
STAGES = ("vision", "caption, greedy to 20")
TRANSFORMERS = """
import sys, time
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipImageProcessor

torch.set_num_threads(int(sys.argv[2]))
model = BlipForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
processor = BlipImageProcessor()
prompt = torch.tensor([[30522, 1037, 3861, 1997, 102]])
print("ready", flush=True)
for line in sys.stdin:
    paths = line.split()
    begun = time.perf_counter()
    with torch.inference_mode():
        for i in range(0, len(paths), 8):
            pictures = [Image.open(path).convert("RGB") for path in paths[i:i + 8]]
            pixels = processor(pictures, return_tensors="pt").pixel_values.to(torch.bfloat16)
            model.generate(
                pixels,
                input_ids=prompt.expand(len(pixels), -1),
                num_beams=1,
                do_sample=False,
                min_length=20,
                max_length=20,
            )
    print((time.perf_counter() - begun) / len(paths), flush=True)
"""


def make_photographs(folder, count):
    """Smooth colours with some noise, as photographs compress."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(count):
        rough = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        pixels = np.asarray(rough.resize(SIZE, Image.BICUBIC), dtype=np.int16)
        pixels = pixels + random.integers(-6, 7, pixels.shape, dtype=np.int16)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        for name in ("all", *(("quarter",) if i % 4 == 0 else ())):
            (folder / name).mkdir(exist_ok=True)
            picture.save(folder / name / f"{i:03}.jpg", quality=90)


def folder_seconds(options, folder, dtype, batch):
    """The whole command's."""
    command = [options.blip, "caption", folder, "--model", options.work / "caption", "--quiet"]
    command += ["--dtype", dtype, "--batch", batch, "--threads", options.threads]
    command += ["--beams", 1, "--min-length", 20, "--max-length", 20]
    begun = time.monotonic()
    run(command)
    return time.monotonic() - begun


def bench_seconds(options, dtype, batch, runs):
    """{stage: a picture's}"""
    settings = ("--dtype", dtype, "--batch", batch, "--runs", runs, "--threads", options.threads)
    rows = bench(options.blip, options.work / "caption", STAGES, *settings)
    return {row["stage"]: row["median_ms"] / 1e3 / batch for row in rows}


class Transformers:
    def __init__(self, options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRANSFORMERS, options.work / "caption", str(options.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.process.stdout.readline() != "ready\n":
            sys.exit("transformers did not start: bench/setup.sh installs it")

    def seconds(self, paths):
        print(*paths, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", required=True, type=arguments.program)
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "work")
    parser.add_argument("--threads", type=arguments.count, default=os.cpu_count())
    parser.add_argument(
        "--count", type=arguments.count, default=32, help="photographs (a multiple of 4)"
    )
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--batches", type=arguments.listed(arguments.count), default="1,8")
    parser.add_argument(
        "--dtype", type=arguments.listed(str, "f32", "bf16", "int8"), default="int8,bf16"
    )
    parser.add_argument("--no-transformers", action="store_true")
    options = parser.parse_args()
    if options.count % 4:
        parser.error("--count must be a multiple of 4")
    batches = options.batches
    with tempfile.TemporaryDirectory(prefix="blip-bench-") as name:
        folder = pathlib.Path(name)
        make_photographs(folder, options.count)
        paths = sorted((folder / "all").iterdir())
        peer = None if options.no_transformers else Transformers(options)
        if peer:
            peer.seconds(paths[:8])
        figures = []
        for _ in range(options.rounds):
            theirs = peer.seconds(paths) if peer else None
            for dtype in options.dtype:
                for batch in batches:
                    few = folder_seconds(options, folder / "quarter", dtype, batch)
                    more = folder_seconds(options, folder / "all", dtype, batch)
                    one = (more - few) / (options.count - options.count // 4)
                    stages = bench_seconds(options, dtype, batch, 4)
                    figures.append((dtype, batch, one, *(stages[s] for s in STAGES), theirs))
    print(
        f"| {options.count} photographs | tower | caption | folder | of the tower "
        "| of the caption | transformers bf16 | of the folder |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    median = statistics.median
    for dtype in options.dtype:
        for batch in batches:
            rows = [row[2:] for row in figures if row[:2] == (dtype, batch)]
            one, tower, caption = (median(row[i] for row in rows) * 1e3 for i in range(3))
            ratios = [median(row[0] / row[i] for row in rows) for i in (1, 2)]
            peers = (
                f"{median(row[3] for row in rows) * 1e3:.0f} | "
                f"{median(row[3] / row[0] for row in rows):.2f} x |"
                if rows[0][3]
                else " | |"
            )
            print(
                f"| {dtype}, batches of {batch} | {tower:.0f} | {caption:.0f} | {one:.0f} | "
                f"{ratios[0]:.2f} x | {ratios[1]:.2f} x | {peers}"
            )


if __name__ == "__main__":
    main()
