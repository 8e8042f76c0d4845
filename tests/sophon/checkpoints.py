"""Small random checkpoints of other seeds, sizes and sharpness than those of tests/data/parity:
checkpoints.py FOLDER --seed 1 --models 4

Writes match-SEED.N, caption-SEED.N and vqa-SEED.N, weights in F32 as trained checkpoints have them.
Needs torch and transformers.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from parity_models import Model, Shape, describe  # noqa: E402

KINDS = ("match", "caption", "vqa")
SPREAD = (1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.125)


def shape_of(kind, rng):
    """Heads of 64 as BLIP's or others; a tower of up to 6 layers."""
    width = {64: (64, 128), 32: (64, 96), 16: (48, 64), 12: (48, 72)}
    h, text_h = rng.choice(list(width)), rng.choice(list(width))
    vision, text = rng.choice(width[h]), rng.choice(width[text_h])
    if kind == "vqa":
        text_h, text = h, vision  # transformers' answer decoder has the vision width
    return Shape(
        kind,
        "safetensors",
        rng.randrange(1 << 30),
        dtype="float32",
        image=rng.choice([64, 96]),
        vision_width=vision,
        vision_heads=vision // h,
        vision_layers=rng.randint(2, 6),
        vision_mlp=2 * vision,
        text_width=text,
        text_heads=text // text_h,
        text_layers=rng.randint(2, 4),
        text_mlp=2 * text,
        embed=24,
    )


@torch.no_grad()
def soften(net, factor):
    """Scores of all attentions times the factor: those of trained models are less sharp."""
    for name, p in net.named_parameters():
        if any(k in name for k in ("query", "key")) and p.ndim == 2:
            p.mul_(factor**0.5)
        elif "qkv.weight" in name:
            p[: 2 * len(p) // 3].mul_(factor**0.5)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=int, default=4, help="of each kind")
    parser.add_argument(
        "--spread",
        action="store_true",
        help="sharpness falls from 1 to 1/8 over the models of a kind, instead of being drawn",
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    for kind in args.kinds:
        rng = random.Random(f"{kind} {args.seed}")
        for i in range(args.models):
            shape, factor = shape_of(kind, rng), rng.choice([1, 0.5, 0.25])
            if args.spread:
                factor = SPREAD[i % len(SPREAD)]
            model = Model(shape)
            soften(model.net, factor)
            folder = args.folder / f"{kind}-{args.seed}.{i}"
            model.save(folder)
            (folder / "shape.json").write_text(
                json.dumps({**describe(shape), "sharpness": factor}) + "\n", encoding="utf-8"
            )
            print(
                f"{folder.name}: pictures of {shape.image}, vision {shape.vision_layers} layers, "
                f"{shape.vision_heads} heads of "
                f"{shape.vision_width // shape.vision_heads}; text {shape.text_layers} layers, "
                f"{shape.text_heads} heads of "
                f"{shape.text_width // shape.text_heads}; sharpness {factor}",
                flush=True,
            )


if __name__ == "__main__":
    main()
