"""The folder of SOPHON's BLIP sample as its users have it, with fake chips' networks
(fake/fake_runtime.cpp) in the form of the vendor's models.
"""

import os
import shutil
import struct
import zlib
from pathlib import Path

RUNTIME = os.environ["BLIP_FAKE_RUNTIME"]
SIZE, TEXT, TOKENS, WIDTH, LENGTH = 16, 35, 5, 8, 8
FILES = ("cap", "itm", "vqa_venc", "vqa_tenc", "vqa_tdec")
PICTURES = ("demo.jpg", "a dog.png", "two 'cats'.png")  # what is in them is PNG: nobody asks names


def bmodel(lines, chip=b"BM1684X"):
    """A real file's head (src/backend/sophon/bmodel_file.h), then the lines."""
    table = struct.pack("<IHHHHHHiII", 16, 12, 8, 0, 0, 0, 4, 12, 4, len(chip)) + chip
    body = "".join(line + "\n" for line in lines).encode()
    return struct.pack("<IIII48x", 0xFF55AAEE, 64, len(table), len(body)) + table + body


def png(width, height, seed):
    """A picture of noise, which does not compress."""
    noise, state = bytearray(), seed
    for _ in range(height):
        noise.append(0)
        for _ in range(3 * width):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            noise.append(state >> 16 & 0xFF)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(noise), 1))
        + chunk(b"IEND", b"")
    )


def networks():
    """What the five files hold, by the sample's names."""
    picture, text = f"in 0 1,3,{SIZE},{SIZE}", [f"in 6 1,{TEXT}", f"in 6 1,{TEXT}"]
    tokens, states = f"1,{TOKENS},{WIDTH}", f"1,{TEXT},{WIDTH}"
    return {
        "cap": ["network blip_cap caption 1", picture, f"out 0 1,{LENGTH}"],
        "itm": ["network blip_itm demo_match 1", picture, *text, "out 0 1"],
        "vqa_venc": ["network blip_vqa_venc vision 1", picture, f"out 0 {tokens}"],
        "vqa_tenc": [
            "network blip_vqa_tenc demo_question 1",
            f"in 0 {tokens}",
            *text,
            f"out 0 {states}",
        ],
        "vqa_tdec": [
            "network blip_vqa_tdec demo_answer 1",
            f"in 0 {states}",
            f"out 0 1,{LENGTH}",
        ],
    }


def model(name, folder="models/BM1684X"):
    return f"{folder}/blip_{name}_bm1684x_f32_1b.bmodel"


def make(root):
    """models/ and datasets/ below root, as scripts/download.sh of the sample leaves them."""
    root = Path(root)
    (root / "models" / "BM1684X").mkdir(parents=True)
    (root / "datasets" / "test").mkdir(parents=True)
    for name, lines in networks().items():
        (root / model(name)).write_bytes(bmodel(lines))
    words = root / "models" / "bert-base-uncased"
    words.mkdir()
    source = Path(os.environ["BLIP_SOURCE"]) / "data" / "bert-base-uncased" / "vocab.txt"
    shutil.copy(source, words / "vocab.txt")
    for i, name in enumerate(PICTURES):
        (root / "datasets" / "test" / name).write_bytes(png(20, 20, i + 1))


def environment(**settings):
    return {**os.environ, "BLIP_BMRT_DIR": RUNTIME, **settings}
