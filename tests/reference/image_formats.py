#!/usr/bin/env python3
"""Small TIFF, HEIF, AVIF and JPEG XL pictures of every kind, JPEGs under other names, and what the
references make of them.

    pip install pillow pillow-heif imagecodecs tifffile numpy
    python3 tests/reference/image_formats.py    # rewrites tests/data/image/formats

A picture made of a grid needs avifenc. Other pictures, and the C++ tests over them:

    python3 tests/reference/image_formats.py --out DIR --seed 1
    BLIP_FORMAT_CASES=DIR test_image --gtest_filter='Formats.*'

References: Pillow for TIFF and AVIF, pillow-heif for HEIF, imagecodecs (libjxl) for JPEG XL, whose
16-bit samples are rounded to 8 bits here, since Pillow has no mode for them. A line of formats.txt
is: the picture, its width and height, "-" where the reference refuses it; the largest difference
allowed; the hash of the pixels. Where one is allowed, NAME.png has the pixels. transparent.txt has
pictures over a colour: Pillow's alpha_composite of convert("RGBA").
"""

import argparse
import io
import struct
import subprocess
import tempfile
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from image import exif, fnv1a, noise, save, smooth, xmp
from PIL import Image, ImageColor, ImageOps

pillow_heif.register_heif_opener()
SEED = 0

# --- TIFF

SHORT, LONG, BYTE = 3, 4, 1
# The tags' numbers.
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL, OFFSETS = 256, 257, 258, 259, 262, 266, 273
ORIENTATION, SAMPLES, ROWS, COUNTS, PLANAR = 274, 277, 278, 279, 284
MAP, EXTRA, FORMAT, XMP = 320, 338, 339, 700


def tiff(blocks, width, height, endian="<", big=False, more_pages=b"", **tags):
    """A TIFF of the given strips; tags by name, as whole numbers or lists of them."""
    entries = {
        WIDTH: (LONG, [width]),
        HEIGHT: (LONG, [height]),
        COMPRESSION: (SHORT, [tags.pop("compression", 1)]),
    }
    entries[ROWS] = (LONG, [tags.pop("rows", height)])
    names = dict(
        bits=BITS,
        photometric=PHOTOMETRIC,
        samples=SAMPLES,
        planar=PLANAR,
        colours=MAP,
        extra=EXTRA,
        fill=FILL,
        format=FORMAT,
        orientation=ORIENTATION,
    )
    packet = tags.pop("xmp", None)
    if packet:
        entries[XMP] = (BYTE, list(packet))
    for name, value in tags.items():
        entries[names[name]] = (SHORT, value if isinstance(value, list) else [value])
    word = 8 if big else 4
    base = 16 if big else 8
    data, offsets = b"", []
    for block in blocks:
        offsets.append(base + len(data))
        data += block + b"\0" * (len(block) % 2)
    entries[OFFSETS] = (16 if big else LONG, offsets)
    entries[COUNTS] = (LONG, [len(block) for block in blocks])
    head = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "H", 43 if big else 42)
    head += (
        struct.pack(endian + "HHQ", 8, 0, base + len(data))
        if big
        else struct.pack(endian + "I", base + len(data))
    )
    size = (8 if big else 2) + len(entries) * (20 if big else 12) + word
    extra_at, extra, directory = base + len(data) + size, b"", b""
    codes = {BYTE: "B", SHORT: "H", LONG: "I", 16: "Q"}
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(endian + codes[kind] * len(values), *values)
        directory += struct.pack(endian + ("HHQ" if big else "HHI"), tag, kind, len(values))
        if len(packed) <= word:
            directory += packed.ljust(word, b"\0")
        else:
            directory += struct.pack(endian + ("Q" if big else "I"), extra_at + len(extra))
            extra += packed + b"\0" * (len(packed) % 2)
    count = struct.pack(endian + ("Q" if big else "H"), len(entries))
    return head + data + count + directory + b"\0" * word + extra


def bits_of(values, depth):
    """Rows of samples of 1, 2, 4 or 12 bits."""
    rows = []
    for row in values.reshape(values.shape[0], -1):
        text = "".join(format(int(v), f"0{depth}b") for v in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def reversed_bits(data):
    return bytes(int(format(byte, "08b")[::-1], 2) for byte in data)


def tiff_greys():
    w, h = 23, 17
    grey = smooth(w, h, 1, SEED + 11)[..., 0]
    for depth in (1, 2, 4, 8):
        data = bits_of(grey >> (8 - depth), depth)
        for photometric in (0, 1):
            yield f"grey{depth}_p{photometric}", tiff(
                [data], w, h, bits=depth, photometric=photometric, samples=1
            )
        yield f"grey{depth}_fill2", tiff(
            [reversed_bits(data)], w, h, bits=depth, photometric=1, samples=1, fill=2
        )
    wide = grey.astype(int) * 3
    yield "grey12", tiff([bits_of(wide, 12)], w, h, bits=12, photometric=1, samples=1)
    for endian in "<>":
        name = "le" if endian == "<" else "be"
        yield f"grey16_{name}", tiff(
            [wide.astype(endian + "u2").tobytes()], w, h, endian, bits=16, photometric=1, samples=1
        )
        signed = (wide - 200).astype(endian + "i2").tobytes()
        yield f"grey16_signed_{name}", tiff(
            [signed], w, h, endian, bits=16, photometric=1, samples=1, format=2
        )
        signed = (wide - 200).astype(endian + "i4").tobytes()
        yield f"grey32_signed_{name}", tiff(
            [signed], w, h, endian, bits=32, photometric=1, samples=1, format=2
        )
        real = (wide - 200.6).astype(endian + "f4").tobytes()
        yield f"grey_float_{name}", tiff(
            [real], w, h, endian, bits=32, photometric=1, samples=1, format=3
        )
    yield "grey16_white", tiff(
        [wide.astype("<u2").tobytes()], w, h, bits=16, photometric=0, samples=1
    )
    yield "grey32", tiff([wide.astype("<u4").tobytes()], w, h, bits=32, photometric=1, samples=1)
    yield "grey_float64", tiff(
        [wide.astype("<f8").tobytes()], w, h, bits=64, photometric=1, samples=1, format=3
    )
    two = smooth(w, h, 2, SEED + 12)
    for extra in (0, 2):
        data = tiff([two.tobytes()], w, h, bits=[8, 8], photometric=1, samples=2, extra=extra)
        yield f"grey_extra{extra}", data


def tiff_colours():
    w, h = 23, 17
    for samples, extras in (
        (3, [[]]),
        (4, [[], [0], [1], [2], [999]]),
        (5, [[0, 0], [1, 0], [2, 0]]),
        (6, [[2, 0, 0]]),
    ):
        pixels = smooth(w, h, samples, SEED + samples)
        if samples > 3:
            pixels[::3, ::2, 3] = 0
            pixels[1::3, ::2, 3] = 255
        for extra in extras:
            tags = dict(photometric=2, samples=samples, **({"extra": extra} if extra else {}))
            name = f"rgb_s{samples}" + ("_e" + "".join(map(str, extra)) if extra else "")
            yield name, tiff([pixels.tobytes()], w, h, bits=[8] * samples, **tags)
            if samples > 4:
                continue
            for endian in "<>":
                wide = (pixels.astype(int) * 257 + 100).clip(0, 65535).astype(endian + "u2")
                end = "le" if endian == "<" else "be"
                yield f"{name}_16{end}", tiff(
                    [wide.tobytes()], w, h, endian, bits=[16] * samples, **tags
                )
    rgb = smooth(w, h, 3, SEED + 3)
    planes = [rgb[..., c].tobytes() for c in range(3)]
    yield "rgb_planes", tiff(planes, w, h, bits=[8] * 3, photometric=2, samples=3, planar=2)
    strips = [rgb[y : y + 5].tobytes() for y in range(0, h, 5)]
    yield "rgb_strips", tiff(strips, w, h, bits=[8] * 3, photometric=2, samples=3, rows=5)
    yield "rgb_big", tiff(strips, w, h, big=True, bits=[8] * 3, photometric=2, samples=3, rows=5)
    yield "rgb_big_be", tiff(
        strips, w, h, ">", True, bits=[8] * 3, photometric=2, samples=3, rows=5
    )
    yield "rgb_one_pixel", tiff([b"abc"], 1, 1, bits=[8] * 3, photometric=2, samples=3)
    for orientation in (2, 3, 4, 5, 6, 7, 8, 9):
        yield f"orientation{orientation}", tiff(
            strips, w, h, bits=[8] * 3, photometric=2, samples=3, rows=5, orientation=orientation
        )
    yield "xmp6", tiff(
        strips, w, h, bits=[8] * 3, photometric=2, samples=3, rows=5, xmp=xmp(6, False)
    )
    cmyk = smooth(w, h, 4, SEED + 5)
    yield "cmyk", tiff([cmyk.tobytes()], w, h, bits=[8] * 4, photometric=5, samples=4)
    yield "cmyk_16", tiff(
        [(cmyk.astype("<u2") * 257).tobytes()], w, h, bits=[16] * 4, photometric=5, samples=4
    )
    yield "cmyk_planes", tiff(
        [cmyk[..., c].tobytes() for c in range(4)],
        w,
        h,
        bits=[8] * 4,
        photometric=5,
        samples=4,
        planar=2,
    )
    yield "lab", tiff([rgb.tobytes()], w, h, bits=[8] * 3, photometric=8, samples=3)
    yield "float_rgb", tiff(
        [rgb.astype("<f4").tobytes()], w, h, bits=[32] * 3, photometric=2, samples=3, format=[3] * 3
    )
    for depth in (1, 2, 4, 8):
        index = smooth(w, h, 1, SEED + 13)[..., 0] >> (8 - depth)
        colours = [int(v) * 256 + 9 for v in noise(1 << depth, 3, 1, SEED + depth).ravel()]
        yield f"palette{depth}", tiff(
            [bits_of(index, depth)], w, h, bits=depth, photometric=3, samples=1, colours=colours
        )
    both = np.stack([index, smooth(w, h, 1, SEED + 14)[..., 0]], -1)
    for extra in (0, 2):
        data = tiff(
            [both.tobytes()],
            w,
            h,
            bits=[8, 8],
            photometric=3,
            samples=2,
            colours=colours,
            extra=extra,
        )
        yield f"palette_extra{extra}", data


def tiff_compressed():
    rgb = Image.fromarray(smooth(61, 47, 3, SEED + 1))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd"):
        yield compression, save(rgb, "TIFF", compression=compression)
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield compression, save(rgb.convert("1"), "TIFF", compression=compression)
    yield "jpeg", save(rgb, "TIFF", compression="jpeg", quality=80)
    yield "jpeg_grey", save(rgb.convert("L"), "TIFF", compression="jpeg", quality=80)
    yield "jpeg_cmyk", save(rgb.convert("CMYK"), "TIFF", compression="jpeg", quality=80)
    yield "ycbcr", save(rgb.convert("YCbCr"), "TIFF", compression="tiff_lzw")
    yield "two_pages", save(
        rgb, "TIFF", compression="tiff_lzw", save_all=True, append_images=[rgb.rotate(90)]
    )
    for planar in ("contig", "separate"):
        tiled = io.BytesIO()
        pixels = np.asarray(rgb)
        if planar == "separate":
            pixels = pixels.transpose(2, 0, 1)
        tifffile.imwrite(
            tiled,
            pixels,
            tile=(32, 16),
            photometric="rgb",
            planarconfig=planar,
            compression="zlib",
            metadata=None,
        )
        yield f"tiles_{planar}", tiled.getvalue()
    predicted = io.BytesIO()
    tifffile.imwrite(
        predicted,
        np.asarray(rgb),
        photometric="rgb",
        compression="zlib",
        predictor=True,
        metadata=None,
    )
    yield "predictor", predicted.getvalue()


# --- HEIF and AVIF


def heifs():
    small = Image.fromarray(smooth(34, 26, 3, SEED + 21))
    for chroma in (420, 422, 444):
        yield f"{chroma}", save(small, "HEIF", quality=70, chroma=chroma)
    yield "grey", save(small.convert("L"), "HEIF", quality=70)
    yield "rgba", save(transparent(34, 26, 22), "HEIF", quality=80)
    wide = (np.asarray(small).astype("<u2") * 257).tobytes()
    deep = io.BytesIO()
    pillow_heif.from_bytes(mode="RGB;16", size=small.size, data=wide).save(deep, quality=70)
    yield "10_bits", deep.getvalue()
    for orientation in range(2, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        yield f"turned{orientation}", save(small, "HEIF", quality=60, exif=tags)
    # EXIF alone turns nothing.
    tags = Image.Exif()
    tags[0x0112] = 1
    tags[0x010F] = "ab"
    plain = save(small, "HEIF", quality=60, exif=tags)
    entry = (
        struct.pack(">HHI", 0x0112, 3, 1)
        if b"MM\0*" in plain
        else struct.pack("<HHI", 0x0112, 3, 1)
    )
    at = plain.index(entry) + 8
    yield "exif_alone", plain[:at] + (b"\0\6" if entry[0] == 1 else b"\6\0") + plain[at + 2 :]
    yield "two", save(small, "HEIF", quality=60, save_all=True, append_images=[small.rotate(180)])
    yield "grid", save(
        Image.fromarray(smooth(150, 100, 3, SEED + 23)), "HEIF", quality=50, tile_size=64
    )


def avifs():
    small = Image.fromarray(smooth(34, 26, 3, SEED + 31))
    for sampling in ("4:2:0", "4:2:2", "4:4:4"):
        yield sampling.replace(":", ""), save(small, "AVIF", quality=70, subsampling=sampling)
    yield "grey", save(small, "AVIF", quality=70, subsampling="4:0:0")
    yield "rgba", save(transparent(34, 26, 32), "AVIF", quality=80)
    wide = np.asarray(small).astype("u2") * 4
    yield "10_bits", imagecodecs.avif_encode(wide, level=70, bitspersample=10, pixelformat="444")
    yield "12_bits", imagecodecs.avif_encode(
        wide * 4, level=70, bitspersample=12, pixelformat="420"
    )
    for orientation in range(2, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        yield f"turned{orientation}", save(small, "AVIF", quality=60, exif=tags)
    turned = save(small, "AVIF", quality=60, exif=tags)
    yield "exif_alone", turned.replace(b"irot", b"free")
    yield "sequence", save(
        small, "AVIF", quality=60, save_all=True, append_images=[small.rotate(180)]
    )
    with tempfile.TemporaryDirectory() as folder:
        source, made = f"{folder}/a.png", f"{folder}/a.avif"
        Image.fromarray(smooth(160, 128, 3, SEED + 33)).save(source)
        subprocess.run(
            ["avifenc", "--grid", "2x2", "--min", "40", "--max", "50", source, made],
            check=True,
            capture_output=True,
        )
        yield "grid", Path(made).read_bytes()
    # libheif's brand alone: what is inside decides.
    yield "mif1", save(small, "AVIF", quality=60).replace(b"ftypavif", b"ftypmif1", 1)


# --- JPEG XL


def jxls():
    small = smooth(34, 26, 3, SEED + 41)
    yield "lossy", imagecodecs.jpegxl_encode(small, level=70, distance=1.5)
    yield "lossless", imagecodecs.jpegxl_encode(small, lossless=True)
    yield "grey", imagecodecs.jpegxl_encode(small[..., 0].copy(), lossless=True)
    yield "16_bits", imagecodecs.jpegxl_encode(
        (small.astype("u2") * 257 + 90).clip(0, 65535).astype("u2"), lossless=True
    )
    yield "rgba", imagecodecs.jpegxl_encode(np.asarray(transparent(34, 26, 42)), lossless=True)
    yield "container", imagecodecs.jpegxl_encode(small, lossless=True, usecontainer=True)
    yield "animation", imagecodecs.jpegxl_encode(np.stack([small, small[::-1]]), lossless=True)
    picture = Image.fromarray(small)
    for orientation in (1, 3, 6, 7):
        jpeg = save(picture, "JPEG", quality=85, exif=b"Exif\0\0" + exif(orientation))
        yield f"jpeg_exif{orientation}", imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True)


# --- Other names of JPEG


def jpegs():
    small = Image.fromarray(smooth(34, 26, 3, SEED + 61))
    yield "mpo.mpo", save(
        small, "MPO", save_all=True, append_images=[small.rotate(180)], quality=80
    )
    yield "jfif.jfif", save(small, "JPEG", quality=80)


# --- What the references make of them


def transparent(width, height, seed):
    pixels = smooth(width, height, 4, SEED + seed)
    pixels[::4, :, 3] = 0
    pixels[1::4, :, 3] = 255
    return Image.fromarray(pixels, "RGBA")


def reference(kind, data):
    if kind == "jxl":
        pixels = imagecodecs.jpegxl_decode(data)
        if pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)):
            pixels = pixels[0]
        if pixels.dtype == np.uint16:
            pixels = np.rint(pixels / 257).astype(np.uint8)
        return Image.fromarray(pixels).convert("RGB")
    with Image.open(io.BytesIO(data), formats=("AVIF",) if kind == "avif" else None) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


# The largest difference: TIFF is exact, the others come from other versions of the decoders.
KINDS = (
    ("jpeg", "", 0),
    ("tiff", "tif", 0),
    ("heif", "heic", 1),
    ("avif", "avif", 1),
    ("jxl", "jxl", 1),
)
MAKERS = {
    "jpeg": (jpegs,),
    "tiff": (tiff_greys, tiff_colours, tiff_compressed),
    "heif": (heifs,),
    "avif": (avifs,),
    "jxl": (jxls,),
}


def write_formats(out):
    lines = []
    for kind, ending, allowed in KINDS:
        for maker in MAKERS[kind]:
            for name, data in maker():
                file = f"{kind}_{name}.{ending}".rstrip(".")
                (out / file).write_bytes(data)
                try:
                    rgb = reference(kind, data)
                except Exception as error:  # Pillow's decoders raise almost anything
                    print(file, "is refused:", repr(error)[:100])
                    lines.append(f"{file} - - {allowed} 0\n")
                    continue
                if allowed:
                    rgb.save(out / f"{file}.png", optimize=True)
                lines.append(
                    f"{file} {rgb.width} {rgb.height} {allowed} {fnv1a(rgb.tobytes()):016x}\n"
                )
    (out / "formats.txt").write_text("".join(lines))


def transparencies():
    picture = transparent(21, 14, 51)
    yield "rgba.png", save(picture, "PNG")
    yield "la.png", save(picture.convert("LA"), "PNG")
    yield "palette.png", save(picture.convert("P"), "PNG", transparency=bytes(range(0, 256, 2)))
    yield "palette_key.png", save(picture.convert("RGB").quantize(9), "PNG", transparency=3)
    yield "rgb_key.png", save(
        Image.fromarray(np.full((5, 7, 3), 9, np.uint8)), "PNG", transparency=(9, 9, 9)
    )
    yield "grey_key.png", save(
        picture.convert("L").point(lambda v: v & 0xC0), "PNG", transparency=64
    )
    yield "rgba.webp", save(picture, "WEBP", lossless=True, exact=True)
    yield "lossy.webp", save(picture, "WEBP", quality=80)
    yield "key.gif", save(picture.convert("RGB").quantize(9), "GIF", transparency=3)
    yield "rgba.tif", save(picture, "TIFF")
    yield "la.tif", save(picture.convert("LA"), "TIFF")
    yield "opaque.jpg", save(picture.convert("RGB"), "JPEG")
    yield "opaque.png", save(picture.convert("RGB"), "PNG")
    tags = Image.Exif()
    tags[0x0112] = 6
    yield "turned.png", save(picture, "PNG", exif=tags)
    header = struct.pack("<IiiHHIIiiII", 108, 21, -14, 1, 32, 3, 0, 0, 0, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + b"\0" * 48
    pixels = np.asarray(picture)[..., [2, 1, 0, 3]].tobytes()
    yield "masks.bmp", b"BM" + struct.pack(
        "<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)
    ) + header + pixels


def write_harm(out):
    """Large pictures in small files, whose boxes the tests change."""
    flat = Image.new("RGB", (2000, 2000), (90, 120, 30))
    (out / "harm_large.heic").write_bytes(save(flat, "HEIF", quality=10))
    (out / "harm_large_grid.heic").write_bytes(
        save(flat.resize((4000, 2000)), "HEIF", quality=10, tile_size=2048)
    )
    (out / "harm_large.avif").write_bytes(save(flat, "AVIF", quality=10))


def write_transparencies(out):
    lines = []
    for name, data in transparencies():
        (out / f"over_{name}").write_bytes(data)
        for colour in ("white", "#1080f0"):
            with Image.open(io.BytesIO(data)) as image:
                rgba = ImageOps.exif_transpose(image).convert("RGBA")
            ground = Image.new("RGBA", rgba.size, ImageColor.getrgb(colour))
            rgb = Image.alpha_composite(ground, rgba).convert("RGB")
            lines.append(
                f"over_{name} {colour} {rgb.width} {rgb.height} {fnv1a(rgb.tobytes()):016x}\n"
            )
    (out / "transparent.txt").write_text("".join(lines))


def main():
    global SEED
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "data" / "image" / "formats",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    SEED = arguments.seed
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_formats(arguments.out)
    write_transparencies(arguments.out)
    write_harm(arguments.out)
    print(
        "Pillow",
        Image.__version__,
        "pillow-heif",
        pillow_heif.__version__,
        "imagecodecs",
        imagecodecs.__version__,
    )


if __name__ == "__main__":
    main()
