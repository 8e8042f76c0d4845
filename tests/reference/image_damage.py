#!/usr/bin/env python3
"""What Pillow makes of damaged pictures: writes tests/data/image/damaged.txt.

    python3 tests/reference/image_damage.py                        # rewrites the committed list
    python3 tests/reference/image_damage.py --out FILE --step 1    # every byte
    python3 tests/reference/image_damage.py --formats              # TIFF, HEIF and AVIF

The C++ tests read another list from BLIP_IMAGE_DAMAGES=FILE. --formats writes formats/damaged.txt,
needs pillow-heif, and its variable is BLIP_FORMAT_DAMAGES.

A line is: the picture, "cut" or "xor", a byte's place, the value (of xor, else 0), and what Pillow
shows: "-" where it raises, else the width, the height and the hash of the pixels after EXIF
transposition and conversion to RGB.
"""

import argparse
import io
import signal
import warnings
from pathlib import Path

from PIL import Image, ImageOps
from image import fnv1a

PICTURES = (
    "jpeg_420_q30.jpg jpeg_444_progressive.jpg jpeg_restart.jpg jpeg_gray.jpg jpeg_ycck.jpg "
    "jpeg_exif6.jpg "
    "png_c0_d8_i0.png png_c2_d8_i1.png png_c3_d4_i0.png png_c0_d16_i0.png png_raw_profile_z.png "
    "png_exif6.png png_icc.png "
    "gif_global.gif gif_interlaced.gif gif_local.gif gif_animated.gif gif_offset_transparent.gif "
    "gif_two_colors.gif "
    "bmp_rle8.bmp bmp_rle4.bmp bmp_h40_b24.bmp bmp_h40_b4.bmp bmp_fields_565.bmp bmp_h124_b8.bmp "
    "webp_rgb_lossy.webp webp_rgba_lossless.webp webp_exif6.webp webp_animated.webp"
).split()

FORMATS = (
    "tiff_grey1_p0.tif tiff_grey16_be.tif tiff_palette8.tif tiff_rgb_planes.tif "
    "tiff_rgb_strips.tif tiff_cmyk.tif "
    "tiff_orientation6.tif tiff_rgb_s4_e1.tif tiff_tiff_lzw.tif tiff_jpeg.tif tiff_group4.tif "
    "tiff_tiles_contig.tif "
    "heif_420.heic heif_rgba.heic heif_turned6.heic avif_420.avif avif_rgba.avif avif_turned6.avif"
).split()

# A size that was damaged: over this neither is asked for the pixels.
MAX_PIXELS = 1 << 20


def verdict(data):
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                return "-"
            rgb = ImageOps.exif_transpose(image).convert("RGB")
            return f"{rgb.width} {rgb.height} {fnv1a(rgb.tobytes()):016x}"
    except Exception:  # Pillow's decoders raise almost anything
        return "-"


def main():
    parser = argparse.ArgumentParser()
    data = Path(__file__).resolve().parent.parent / "data" / "image"
    parser.add_argument("--out", type=Path, default=data / "damaged.txt")
    parser.add_argument(
        "--step",
        type=int,
        default=0,
        help="bytes between two damages; 0 = about 60 of each kind per picture",
    )
    parser.add_argument("--formats", action="store_true")
    arguments = parser.parse_args()
    names = PICTURES
    if arguments.formats:
        import pillow_heif

        pillow_heif.register_heif_opener()
        names, standard = FORMATS, data / "damaged.txt"
        data = data / "formats"
        arguments.out = data / "damaged.txt" if arguments.out == standard else arguments.out
    warnings.simplefilter("ignore")
    signal.alarm(3600)
    lines = []
    for name in names:
        whole = (data / name).read_bytes()
        step = arguments.step or max(1, len(whole) // 60)
        for at in range(0, len(whole), step):
            damaged = [("cut", at, 0, whole[:at])]
            for value in (0x01, 0x80, 0xFF):
                damaged.append(
                    ("xor", at, value, whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :])
                )
            for kind, place, value, content in damaged:
                lines.append(f"{name} {kind} {place} {value} {verdict(content)}\n")
    arguments.out.write_text("".join(lines))
    print("Pillow", Image.__version__, len(lines), "damages")


if __name__ == "__main__":
    main()
