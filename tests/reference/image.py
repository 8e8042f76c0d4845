#!/usr/bin/env python3
"""Small pictures of every kind, what Pillow makes of them, and what Pillow's bicubic and the
reference normalisation give.

    python3 tests/reference/image.py    # rewrites tests/data/image

Other random values, and the C++ tests over them:

    python3 tests/reference/image.py --out DIR --resizes 5000 --seed 1
    BLIP_IMAGE_CASES=DIR test_image --gtest_filter='Golden.*'
"""

import argparse
import io
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MASK64 = (1 << 64) - 1
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

rnd = random.Random(20)


def fnv1a(data):
    value = 1469598103934665603
    for byte in data:
        value = ((value ^ byte) * 1099511628211) & MASK64
    return value


def noise(width, height, channels, seed):
    """The same bytes as noise() of tests/unit/image/support.h."""
    state, out = seed, bytearray()
    for _ in range(width * height * channels):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(state >> 24)
    return np.frombuffer(bytes(out), np.uint8).reshape(height, width, channels)


def smooth(width, height, channels, seed):
    """Soft shapes with a little noise, as in a photograph."""
    small = noise(max(1, width // 8), max(1, height // 8), channels, seed)
    size = (width, height)
    planes = [
        np.asarray(Image.fromarray(small[..., c].copy()).resize(size, Image.BICUBIC))
        for c in range(channels)
    ]
    grain = noise(width, height, channels, seed + 1).astype(int) // 16 - 8
    return np.clip(np.stack(planes, -1).astype(int) + grain, 0, 255).astype(np.uint8)


# --- EXIF and XMP


def exif(orientation, endian="<", kind=3, before=b""):
    value = (
        struct.pack(endian + "H", orientation) + b"\0\0"
        if kind == 3
        else struct.pack(endian + "I", orientation)
    )
    entries = [
        struct.pack(endian + "HHI", 0x010F, 2, 3) + b"ab\0\0",
        struct.pack(endian + "HHI", 0x0112, kind, 1) + value,
        struct.pack(endian + "HHIHH", 0x0128, 3, 1, 2, 0),
    ]
    head = (b"II\x2a\0" if endian == "<" else b"MM\0\x2a") + struct.pack(
        endian + "I", 8 + len(before)
    )
    return head + before + struct.pack(endian + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


def xmp(orientation, as_element):
    element = f"<tiff:Orientation>{orientation}</tiff:Orientation>"
    attribute = f'<rdf:Description tiff:Orientation="{orientation}"/>'
    return f"<x:xmpmeta>{element if as_element else attribute}</x:xmpmeta>".encode()


# --- JPEG


def save(image, fmt, **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def swap_sampling(jpeg):
    """4:2:2 to 4:4:0 by exchanging luma's two factors; square sides of whole blocks keep the number
    of blocks.
    """
    data = bytearray(jpeg)
    at = data.index(b"\xff\xc0")
    data[at + 11] = data[at + 11] >> 4 | (data[at + 11] & 15) << 4
    return bytes(data)


def jpegs():
    rgb = Image.fromarray(smooth(61, 47, 3, 1))
    yield "gray", save(rgb.convert("L"), "JPEG", quality=80)
    for name, sampling in (("444", 0), ("422", 1), ("420", 2), ("411", "4:1:1")):
        for quality in (30, 95):
            yield f"{name}_q{quality}", save(rgb, "JPEG", quality=quality, subsampling=sampling)
        yield f"{name}_progressive", save(
            rgb, "JPEG", quality=70, subsampling=sampling, progressive=True
        )
    yield "440", swap_sampling(
        save(Image.fromarray(smooth(32, 32, 3, 2)), "JPEG", quality=85, subsampling=1)
    )
    yield "restart", save(rgb, "JPEG", quality=70, restart_marker_blocks=2)
    yield "rgb", save(rgb, "JPEG", quality=70, keep_rgb=True)
    yield "noise", save(Image.fromarray(noise(33, 31, 3, 3)), "JPEG", quality=90)
    yield "one_pixel", save(Image.fromarray(noise(1, 1, 3, 4)), "JPEG")
    cmyk = save(Image.fromarray(smooth(45, 39, 4, 5), "CMYK"), "JPEG", quality=85)
    yield "cmyk", cmyk
    adobe = cmyk.index(b"Adobe")
    yield "ycck", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :]
    yield "cmyk_progressive", save(
        Image.fromarray(smooth(45, 39, 4, 6), "CMYK"), "JPEG", progressive=True
    )
    yield "icc", save(rgb, "JPEG", icc_profile=bytes(range(200)))
    small = Image.fromarray(smooth(21, 14, 3, 7))
    for orientation in range(10):
        yield f"exif{orientation}", save(
            small, "JPEG", exif=b"Exif\0\0" + exif(orientation, "<>"[orientation % 2])
        )
    yield "exif_long", save(small, "JPEG", exif=b"Exif\0\0" + exif(6, ">", 4, b"abcdef"))
    yield "xmp_attribute", save(small, "JPEG", xmp=xmp(8, False))
    yield "xmp_element", save(small, "JPEG", xmp=xmp(5, True))
    yield "exif_before_xmp", save(small, "JPEG", exif=b"Exif\0\0" + exif(3), xmp=xmp(6, True))


# --- PNG


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# First column and row of each pass, and their steps.
ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]


def pack_row(row, depth):
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else "u1").tobytes()
    bits = "".join(format(int(v), f"0{depth}b") for v in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def filter_rows(rows, depth, step):
    """Rows of one pass with filters 0, 1 and 2 in turn."""
    out, previous = b"", None
    for y, row in enumerate(rows):
        line = pack_row(row, depth)
        kind = y % 3
        left = bytes(step) + line
        above = previous or bytes(len(line))
        base = (bytes(len(line)), left, above)[kind]
        out += bytes([kind]) + bytes((v - b) & 255 for v, b in zip(line, base))
        previous = line
    return out


def png(color, depth, interlaced, extra=b"", after=b"", width=13, height=11, limit=None):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    top = limit or 1 << depth
    values = np.array([rnd.randrange(top) for _ in range(width * height * channels)]).reshape(
        height, width, channels
    )
    step = max(1, depth * channels // 8)
    raw = b""
    for x0, y0, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[y0::dy, x0::dx]
        if part.size:
            raw += filter_rows(part.reshape(part.shape[0], -1), depth, step)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    data = zlib.compress(raw, 9)
    half = len(data) // 2
    idat = chunk(b"IDAT", data[:half]) + chunk(b"IDAT", data[half:])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + idat + after + chunk(b"IEND", b"")
    )


def palette(count):
    return chunk(b"PLTE", bytes(rnd.randrange(256) for _ in range(3 * count)))


def pngs():
    kinds = [
        (0, 1),
        (0, 2),
        (0, 4),
        (0, 8),
        (0, 16),
        (2, 8),
        (2, 16),
        (3, 1),
        (3, 2),
        (3, 4),
        (3, 8),
    ]
    kinds += [(4, 8), (4, 16), (6, 8), (6, 16)]
    for color, depth in kinds:
        for interlaced in (False, True):
            extra = palette(1 << depth) if color == 3 else b""
            yield f"c{color}_d{depth}_i{int(interlaced)}", png(color, depth, interlaced, extra)
    yield "gray16_low", png(0, 16, False, limit=600)
    yield "gray_trns", png(0, 8, False, chunk(b"tRNS", b"\0\7"))
    yield "rgb_trns", png(2, 8, False, chunk(b"tRNS", bytes(6)))
    yield "palette_trns", png(3, 4, False, palette(16) + chunk(b"tRNS", bytes(range(10))))
    yield "palette_short", png(3, 8, False, palette(40))
    yield "gamma", png(2, 8, False, chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "icc", png(2, 8, False, chunk(b"iCCP", b"p\0\0" + zlib.compress(b"no profile")))
    for orientation in range(1, 9):
        yield f"exif{orientation}", png(
            2, 8, orientation % 2 == 0, chunk(b"eXIf", exif(orientation, "<>"[orientation % 2]))
        )
    yield "exif_after", png(2, 8, False, after=chunk(b"eXIf", exif(6)))
    profile = b"Exif\0\0" + exif(7)
    text = f"\nexif\n{len(profile):8}\n{profile.hex()}\n".encode()
    yield "raw_profile", png(2, 8, False, chunk(b"tEXt", b"Raw profile type exif\0" + text))
    yield "raw_profile_z", png(
        2, 8, False, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    )
    yield "xmp", png(2, 8, False, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6, False)))
    yield "xmp_z", png(
        2, 8, False, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(8, True)))
    )


# --- WebP


def webps():
    rgb, rgba = Image.fromarray(smooth(53, 41, 3, 8)), Image.fromarray(smooth(53, 41, 4, 9))
    for name, image in (("rgb", rgb), ("rgba", rgba)):
        yield f"{name}_lossy", save(image, "WEBP", quality=60)
        yield f"{name}_lossless", save(image, "WEBP", lossless=True)
    yield "rgba_exact", save(rgba, "WEBP", lossless=True, exact=True)
    first = np.zeros((40, 50, 4), np.uint8)
    first[9:30, 12:44] = smooth(32, 21, 4, 10)
    second = Image.fromarray(smooth(50, 40, 4, 11))
    options = {"save_all": True, "append_images": [second], "background": (9, 90, 200, 255)}
    yield "animated", save(Image.fromarray(first), "WEBP", **options)
    yield "animated_lossless", save(
        Image.fromarray(first), "WEBP", lossless=True, minimize_size=True, **options
    )
    for orientation in range(1, 9):
        yield f"exif{orientation}", save(
            rgb.resize((17, 12)), "WEBP", exif=exif(orientation), quality=50
        )
    yield "xmp", save(rgb.resize((17, 12)), "WEBP", xmp=xmp(6, True), quality=50)


# --- BMP


def bmp(
    header_size,
    bits,
    data=None,
    compression=0,
    masks=(),
    colors=0,
    top_down=False,
    gray=False,
    offset=None,
):
    width, height = 15, 9
    stride = (width * bits + 31) // 32 * 4
    count = (colors or 1 << bits) if bits <= 8 else 0
    if data is None:
        data = bytes(rnd.randrange(count if bits == 8 else 256) for _ in range(stride * height))
    entry = 3 if header_size == 12 else 4
    values = [
        [i] * 3 + [0] if gray else [rnd.randrange(256) for _ in range(4)] for i in range(count)
    ]
    colours = b"".join(bytes(v[:entry]) for v in values)
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        header = struct.pack(
            "<IiiHHIIiiII",
            header_size,
            width,
            signed,
            1,
            bits,
            compression,
            len(data),
            0,
            0,
            colors,
            0,
        )
        if header_size > 40:
            header += (struct.pack("<4I", *masks) if masks else b"").ljust(header_size - 40, b"\0")
        elif compression == 3:
            header += struct.pack("<3I", *masks[:3])
    place = 14 + len(header) + len(colours) if offset is None else offset
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(header) + len(colours) + len(data), 0, 0, place)
        + header
        + colours
        + data
    )


def rle8(width, height):
    """Runs, literals with padding, an early end of line and a jump."""
    out = b""
    for y in range(height):
        if y == 2:
            out += bytes([4, 9, 0, 0])
        elif y == 4:
            out += bytes([3, 7, 0, 2, width - 8, 0, 5, 1, 0, 0])
        elif y % 2:
            out += (
                bytes([0, width])
                + bytes(rnd.randrange(256) for _ in range(width))
                + bytes(width % 2)
                + b"\0\0"
            )
        else:
            out += bytes([width - 6, rnd.randrange(256), 6, rnd.randrange(256), 0, 0])
    return out + b"\0\1"


def rle4(width, height):
    out = b""
    for y in range(height):
        if y % 2:
            count = (width + 1) // 2
            out += (
                bytes([0, width])
                + bytes(rnd.randrange(256) for _ in range(count))
                + bytes(count % 2)
                + b"\0\0"
            )
        else:
            out += bytes([width - 5, rnd.randrange(256), 5, rnd.randrange(256), 0, 0])
    return out + b"\0\1"


def bmps():
    for header_size in (12, 40, 52, 56, 64, 108, 124):
        for bits in (1, 4, 8, 24):
            if header_size in (12, 40, 124) or bits == 8:
                yield f"h{header_size}_b{bits}", bmp(header_size, bits)
    for bits in (16, 32):
        yield f"h40_b{bits}", bmp(40, bits)
    yield "top_down", bmp(40, 24, top_down=True)
    yield "gray", bmp(40, 8, gray=True)
    yield "gray_short", bmp(40, 8, gray=True, colors=100)
    yield "colors_7", bmp(40, 8, colors=7)
    yield "offset_0", bmp(40, 8, offset=0)
    yield "offset_without_palette", bmp(40, 8, offset=54)
    yield "fields_565", bmp(40, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0))
    yield "fields_555", bmp(56, 16, compression=3, masks=(0x7C00, 0x3E0, 0x1F, 0))
    yield "fields_24", bmp(40, 24, compression=3, masks=(0xFF0000, 0xFF00, 0xFF, 0))
    layouts = [
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0xFF000000, 0xFF00, 0xFF, 0),
    ]
    layouts += [
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    ]
    layouts += [(0xFF000000, 0xFF00, 0xFF, 0xFF0000), (0, 0, 0, 0)]
    for i, masks in enumerate(layouts):
        yield f"fields_32_{i}", bmp(124, 32, compression=3, masks=masks)
    yield "rle8", bmp(40, 8, rle8(15, 9), compression=1)
    yield "rle4", bmp(40, 4, rle4(15, 9), compression=2)


# --- GIF


def lzw(indices, bits):
    """Plain GIF compression; the table is cleared when it is full."""
    clear = 1 << bits
    out, held, held_bits = bytearray(), 0, 0

    def emit(code, size):
        nonlocal held, held_bits
        held |= code << held_bits
        held_bits += size
        while held_bits >= 8:
            out.append(held & 255)
            held >>= 8
            held_bits -= 8

    table, size, text = {bytes([i]): i for i in range(clear)}, bits + 1, b""
    emit(clear, size)
    for index in indices:
        longer = text + bytes([index])
        if longer in table:
            text = longer
            continue
        emit(table[text], size)
        code = len(table) + 2
        if code < 4096:
            table[longer] = code
            if code == 1 << size and size < 12:
                size += 1
        else:
            emit(clear, size)
            table, size = {bytes([i]): i for i in range(clear)}, bits + 1
        text = bytes([index])
    emit(table[text], size)
    if len(table) + 2 == 1 << size and size < 12:
        size += 1
    emit(clear + 1, size)
    return bytes(out) + (bytes([held & 255]) if held_bits else b"")


def gif(
    screen,
    frame,
    colors,
    local=None,
    transparent=None,
    interlaced=False,
    block=255,
    gray_local=False,
):
    """screen = (width, height), frame = (x, y, width, height); colors, local = bits of the
    tables.
    """
    table = lambda bits: bytes(rnd.randrange(256) for _ in range(3 << bits))
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, (0x80 | (colors - 1)) if colors else 0, 3, 0)
    out += (table(colors) if colors else b"") + b"!\xfe\x05hello\0"
    if transparent is not None:
        out += b"!\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    flags = (0x40 if interlaced else 0) | ((0x80 | (local - 1)) if local else 0)
    out += b"," + struct.pack("<HHHHB", *frame, flags)
    if local:
        out += b"".join(bytes([i] * 3) for i in range(1 << local)) if gray_local else table(local)
    bits = max(2, local or colors or 8)
    data = lzw(
        [
            rnd.randrange(1 << (local or colors or 8)) // rnd.choice((1, 1, 2))
            for _ in range(frame[2] * frame[3])
        ],
        bits,
    )
    out += bytes([bits]) + b"".join(
        bytes([len(data[i : i + block])]) + data[i : i + block] for i in range(0, len(data), block)
    )
    return out + b"\0;"


def gifs():
    yield "global", gif((31, 27), (0, 0, 31, 27), 8)
    yield "full_table", gif((90, 90), (0, 0, 90, 90), 6)
    yield "two_colors", gif((31, 27), (0, 0, 31, 27), 1)
    yield "interlaced", gif((31, 27), (0, 0, 31, 27), 4, interlaced=True, block=7)
    yield "interlaced_2_rows", gif((31, 2), (0, 0, 31, 2), 4, interlaced=True)
    yield "local", gif((31, 27), (0, 0, 31, 27), 3, local=5)
    yield "no_table", gif((31, 27), (0, 0, 31, 27), 0)
    yield "gray_local", gif((31, 27), (0, 0, 31, 27), 0, local=4, gray_local=True)
    yield "gray_local_over_global", gif((31, 27), (0, 0, 31, 27), 5, local=4, gray_local=True)
    yield "transparent", gif((31, 27), (0, 0, 31, 27), 4, transparent=2)
    yield "offset", gif((31, 27), (5, 4, 20, 11), 4)
    yield "offset_transparent", gif((31, 27), (5, 4, 20, 11), 4, transparent=7)
    yield "beyond_screen", gif((20, 10), (5, 4, 20, 11), 4)
    frames = [Image.fromarray(noise(24, 18, 3, 12 + i)).quantize(16) for i in range(2)]
    yield "animated", save(frames[0], "GIF", save_all=True, append_images=frames[1:])


# --- what is written


def write_pictures(out):
    lines = []
    for kind, extension, makers in (
        ("jpeg", "jpg", jpegs()),
        ("png", "png", pngs()),
        ("webp", "webp", webps()),
        ("bmp", "bmp", bmps()),
        ("gif", "gif", gifs()),
    ):
        for name, data in makers:
            file = f"{kind}_{name}.{extension}"
            (out / file).write_bytes(data)
            with Image.open(io.BytesIO(data)) as image:
                rgb = ImageOps.exif_transpose(image).convert("RGB")
            lines.append(f"{file} {rgb.width} {rgb.height} {fnv1a(rgb.tobytes()):016x}\n")
    (out / "pictures.txt").write_text("".join(lines))


def write_resizes(out, count):
    """seed, size, new size, hash of the result. Sides of one pixel, equal sides, long thin
    pictures, up and down.
    """
    cases = [
        (640, 480, 384, 384),
        (480, 640, 384, 384),
        (384, 384, 480, 480),
        (300, 1100, 128, 128),
        (1100, 300, 128, 128),
    ]
    cases += [
        (1, 1, 1, 1),
        (1, 1, 64, 64),
        (1, 500, 48, 48),
        (500, 1, 48, 48),
        (2000, 3, 16, 16),
        (3, 2000, 16, 16),
        (70, 70, 1, 1),
    ]
    cases += [
        (64, 48, 64, 20),
        (64, 48, 64, 90),
        (64, 48, 20, 48),
        (64, 48, 90, 48),
        (64, 48, 64, 48),
    ]
    # Either side of the rule by which Pillow orders the passes.
    cases += [(100, 150, 90, 130), (100, 150, 90, 129)]
    while len(cases) < count:
        top = rnd.choice((6, 40, 40, 120))
        cases.append(tuple(rnd.randint(1, top) for _ in range(4)))
    lines = []
    for seed, (width, height, new_width, new_height) in enumerate(cases):
        resized = Image.fromarray(noise(width, height, 3, seed)).resize(
            (new_width, new_height), Image.BICUBIC
        )
        lines.append(
            f"{seed} {width} {height} {new_width} {new_height} {fnv1a(resized.tobytes()):016x}\n"
        )
    (out / "resizes.txt").write_text("".join(lines))


def write_normalization(out):
    """The bits of (value / 255 - mean) / std in float32, in the order of torchvision's ToTensor and
    Normalize.
    """
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    lines = []
    for mean, std in zip(MEAN, STD):
        result = (values - np.float32(mean)) / np.float32(std)
        lines.append(" ".join(f"{bits:08x}" for bits in result.view(np.uint32)) + "\n")
    (out / "normalized.txt").write_text("".join(lines))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "image"
    )
    parser.add_argument("--resizes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    rnd.seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_pictures(arguments.out)
    write_resizes(arguments.out, arguments.resizes)
    write_normalization(arguments.out)
    print("Pillow", Image.__version__, "numpy", np.__version__, "python", sys.version.split()[0])
