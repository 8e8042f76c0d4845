"""Random emoji scenes: what stands where (Scene) and how it looks (render). Everything follows from
a seed.

A scene holds one to four pictures laid out in rows, each row read from left to right, so that "left
of" and "above" are never a matter of opinion. Coordinates are fractions of the image's width and
height; sizes are fractions of its shorter side.
"""

import functools
import pathlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from kinds import BACKGROUNDS, COLOURS, KINDS

FONT_PATHS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "NotoColorEmoji.ttf",
)
FONT_SIZE = 109  # the one size a CBDT bitmap font has
NOISE = 700  # side of the stored grain: no scene may be larger
SPRITE = 128  # master sprites are SPRITE x SPRITE; halved copies serve small pictures
# Seed streams: no training scene can share a generator state with a held-out one.
TRAIN, HELD_OUT = 0, 1
LAYOUTS = {1: [[1]], 2: [[2], [1, 1]], 3: [[3], [1, 1, 1], [1, 2], [2, 1]], 4: [[2, 2]]}
# The most cells along one side -> picture size.
CELL_SIZES = {1: (0.45, 0.72), 2: (0.32, 0.47), 3: (0.25, 0.32)}


@dataclass
class Thing:
    kind: int
    x: float
    y: float
    size: float
    angle: float
    flip: bool


@dataclass
class Scene:
    rows: list  # list of lists of Thing: top to bottom, left to right
    background: str | None  # the colour's name, or None where it is of two colours
    look: dict = field(default_factory=dict)  # how to paint it: see _draw_look

    @property
    def things(self):
        return [t for row in self.rows for t in row]


def rng_for(stream, index):
    return np.random.default_rng([stream, index])


# --- sprites


def _font():
    for path in FONT_PATHS:
        if pathlib.Path(path).exists():
            return ImageFont.truetype(path, FONT_SIZE)
    raise SystemExit(
        "NotoColorEmoji.ttf not found: install the Debian package fonts-noto-color-emoji (or put "
        "the file here)"
    )


@functools.cache
def sprites():
    """For each kind the premultiplied sprites at SPRITE, SPRITE/2 and SPRITE/4 pixels."""
    font, result = _font(), []
    for kind in KINDS:
        canvas = Image.new("RGBA", (180, 180), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((20, 20), kind.char, font=font, embedded_color=True)
        box = canvas.getbbox()
        if box is None:
            raise SystemExit(f"the emoji font has no picture for {kind.name}")
        cut = canvas.crop(box)
        scale = SPRITE / max(cut.size)
        cut = cut.resize([max(1, round(s * scale)) for s in cut.size], Image.BICUBIC)
        square = Image.new("RGBA", (SPRITE, SPRITE), (0, 0, 0, 0))
        square.paste(cut, ((SPRITE - cut.width) // 2, (SPRITE - cut.height) // 2))
        master = square.convert("RGBa")
        result.append([master, master.reduce(2), master.reduce(4)])
    return result


@functools.cache
def mean_colours():
    means = []
    for levels in sprites():
        a = np.asarray(levels[0], dtype=np.float32).reshape(-1, 4)
        means.append(a[:, :3].sum(0) / a[:, 3].sum() * 255)
    return np.array(means)


def _placed(thing, width, height):
    """The thing's sprite, scaled, rotated and mirrored, as float RGBA (premultiplied) with its
    top-left corner.
    """
    side = thing.size * min(width, height)
    levels = sprites()[thing.kind]
    level = min(len(levels) - 1, max(0, int(np.log2(SPRITE / side))))
    image = levels[level]
    scale = image.width / side
    extent = int(np.ceil(side * 1.3)) + 2
    left, top = int(round(thing.x * width - extent / 2)), int(round(thing.y * height - extent / 2))
    dx, dy = thing.x * width - left, thing.y * height - top  # the centre within the cut-out
    c, s = np.cos(thing.angle) * scale, np.sin(thing.angle) * scale
    mirror = -1.0 if thing.flip else 1.0
    half = image.width / 2
    matrix = (
        mirror * c,
        mirror * s,
        half - mirror * (c * dx + s * dy),
        -s,
        c,
        half + s * dx - c * dy,
    )
    out = image.transform((extent, extent), Image.AFFINE, matrix, resample=Image.BICUBIC)
    return np.asarray(out, dtype=np.float32), left, top


# --- drawing a scene's facts


def _draw_kinds(rng, n):
    kinds = list(rng.choice(len(KINDS), size=n, replace=False))
    if n >= 2 and rng.random() < 0.35:  # repeat one kind, so that there is something to count
        for i in rng.permutation(n)[: rng.integers(1, n) if rng.random() < 0.4 else 1]:
            kinds[i] = kinds[(i + 1) % n] if n == 2 else kinds[rng.integers(n)]
    return [int(k) for k in kinds]


def _draw_look(rng, kinds):
    """A background that none of the pictures drowns in, and the light."""
    own = mean_colours()[kinds]
    clear = [c for c in COLOURS if np.abs(own - BACKGROUNDS[c]).sum(1).min() > 90] or ["white"]
    first = clear[rng.integers(len(clear))]
    two = len(clear) > 1 and rng.random() < 0.2
    second = clear[rng.integers(len(clear))] if two else first
    look = {
        "first": first,
        "second": second,
        "shift": rng.normal(0, 7, 3),
        "slope": rng.uniform(0, 34),
        "direction": rng.uniform(0, 2 * np.pi),
        "texture": rng.uniform(4, 16) if rng.random() < 0.5 else 0.0,
        "grain": rng.uniform(1, 7) if rng.random() < 0.4 else 0.0,
        "shadow": rng.uniform(0.1, 0.35) if rng.random() < 0.5 else 0.0,
        "gain": rng.uniform(0.86, 1.1),
        "contrast": rng.uniform(0.88, 1.1),
        "tint": rng.uniform(0.96, 1.04, 3),
        "blur": rng.uniform(0.3, 0.9) if rng.random() < 0.15 else 0.0,
        "noise_seed": int(rng.integers(1 << 31)),
    }
    return look, first if second == first else None


def draw_scene(rng, n=None):
    """A random scene of n things (one to four when n is None)."""
    n = n or int(rng.choice([1, 2, 3, 4], p=[0.2, 0.3, 0.3, 0.2]))
    layout = LAYOUTS[n][rng.integers(len(LAYOUTS[n]))]
    kinds = _draw_kinds(rng, n)
    low, high = CELL_SIZES[max(len(layout), *layout)]
    rows, i = [], 0
    for r, columns in enumerate(layout):
        row = []
        for c in range(columns):
            size = rng.uniform(low, high)
            row.append(
                Thing(
                    kinds[i],
                    *_place(rng, size, r, len(layout), c, columns),
                    size,
                    rng.uniform(-0.45, 0.45),
                    bool(rng.random() < 0.5),
                )
            )
            i += 1
        rows.append(row)
    look, name = _draw_look(rng, kinds)
    return Scene(rows, name, look)


def _place(rng, size, r, rows, c, columns):
    """A centre inside cell (r, c); along a side with one cell the thing may wander a good deal
    further.
    """

    def along(index, cells):
        free = max(0.0, 1.0 / cells - size) / 2
        wander = free if cells > 1 or rows == columns == 1 else min(free, 0.16)
        return (index + 0.5) / cells + rng.uniform(-wander, wander)

    return along(c, columns), along(r, rows)


def draw_crowd(rng):
    """Many pictures anywhere, for the vision tower's first lessons; no texts go with it."""
    side = int(rng.choice([2, 3]))
    kinds = [int(k) for k in rng.integers(0, len(KINDS), side * side)]
    size = {2: (0.3, 0.52), 3: (0.23, 0.37)}[side]
    things = []
    for i, kind in enumerate(kinds):
        s = rng.uniform(*size)
        x, y = ((v + 0.5 + rng.uniform(-0.13, 0.13)) / side for v in (i % side, i // side))
        things.append(Thing(kind, x, y, s, rng.uniform(-0.45, 0.45), bool(rng.random() < 0.5)))
    look, name = _draw_look(rng, kinds[:1])
    return Scene([things], name, look)


# --- painting


@functools.cache
def _noise_bank():
    return np.random.default_rng(7).normal(0, 1, (NOISE, NOISE, 1)).astype(np.float32)


def _paint_background(look, width, height, rng):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = (x / width - 0.5) * np.cos(look["direction"]) + (y / height - 0.5) * np.sin(
        look["direction"]
    )
    first = np.array(BACKGROUNDS[look["first"]], np.float32) + look["shift"]
    if look["first"] == look["second"]:
        canvas = first.astype(np.float32) + (ramp * look["slope"])[..., None]
    else:
        second = np.array(BACKGROUNDS[look["second"]], np.float32) + look["shift"]
        t = np.clip(ramp + 0.5, 0, 1)[..., None]
        canvas = (first * (1 - t) + second * t).astype(np.float32)
    if look["texture"]:
        coarse = Image.fromarray(rng.normal(0, look["texture"], (9, 9)).astype(np.float32))
        canvas += np.asarray(coarse.resize((width, height), Image.BICUBIC))[..., None]
    return canvas


def _blend(canvas, patch, left, top, shadow=0.0):
    """Lays a premultiplied patch over the canvas (or darkens the canvas by its alpha); returns the
    alpha's window.
    """
    h, w = canvas.shape[:2]
    x0, y0, x1, y1 = (
        max(left, 0),
        max(top, 0),
        min(left + patch.shape[1], w),
        min(top + patch.shape[0], h),
    )
    if x0 >= x1 or y0 >= y1:
        return None
    part = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:] / 255
    window = canvas[y0:y1, x0:x1]
    if shadow:
        window *= 1 - shadow * alpha
    else:
        window *= 1 - alpha
        window += part[..., :3]
    return alpha[..., 0], y0, y1, x0, x1


def render(scene, width=256, height=256, with_ids=False):
    """The scene as an RGB picture; with_ids adds a map of which thing (1, 2, ...) each pixel
    belongs to.
    """
    look, rng = scene.look, np.random.default_rng(scene.look["noise_seed"])
    canvas = _paint_background(look, width, height, rng)
    ids = np.zeros((height, width), np.uint8)
    for i, thing in enumerate(scene.things):
        patch, left, top = _placed(thing, width, height)
        if look["shadow"]:
            offset = max(1, int(0.03 * min(width, height)))
            _blend(canvas, patch, left + offset // 2, top + offset, shadow=look["shadow"])
        hit = _blend(canvas, patch, left, top)
        if hit and with_ids:
            alpha, y0, y1, x0, x1 = hit
            ids[y0:y1, x0:x1][alpha > 0.5] = i + 1
    if look["grain"]:
        oy, ox = rng.integers(0, NOISE - max(height, width), 2)
        canvas += look["grain"] * _noise_bank()[oy : oy + height, ox : ox + width]
    gain = (look["gain"] * look["contrast"] * look["tint"]).astype(np.float32)
    canvas *= gain
    canvas += (128 * look["gain"] * (1 - look["contrast"]) * look["tint"]).astype(np.float32)
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if look["blur"]:
        image = image.filter(ImageFilter.GaussianBlur(look["blur"] * min(width, height) / 256))
    return (image, ids) if with_ids else image


def held_out(index):
    """Scene number `index` of the set that no training run ever sees."""
    return draw_scene(rng_for(HELD_OUT, index))
