#!/usr/bin/env python3
"""Whole models against their reference: transformers for the towers, captions, matching and
answers, and the official code's ranking and [ENC] questions on top of transformers' modules.

    parity.py --write
        Models and goldens into tests/data/parity: what `test_parity` asserts.
    parity.py --compare N --tool PARITY_COMPARE [--blip BLIP] [--seed S]
        N random models of other shapes through the library (PARITY_COMPARE is the program
        parity_compare of the build) and, given --blip, through the program's JSON.
    parity.py --base | --large --tool ...
        One model of BLIP's published size with random weights.
"""

import argparse
import collections
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import warnings

import torch
import transformers

import parity_cli
import parity_golden as g
from parity_models import ROOT, Model, Shape

DATA = ROOT / "tests/data/parity"

# The official layout: heads of 64, so one head here; 5 x 5 + 1 tokens of 8 x 8 pixels.
OFFICIAL = {
    "image": 40,
    "patch": 8,
    "vision_width": 64,
    "vision_heads": 1,
    "vision_mlp": 64,
    "text_width": 64,
    "text_heads": 1,
    "text_mlp": 64,
    "vision_eps": 1e-6,
}
COMMITTED = {
    # Heads of 12 in vision and of 8 in text; the text is narrower than the picture.
    "caption": Shape(
        "caption",
        "safetensors",
        29,
        image=48,
        patch=16,
        vision_width=48,
        text_width=32,
        end_bias=3.0,
    ),
    "caption-official": Shape(
        "caption",
        "pth",
        26,
        **OFFICIAL,
        vision_layers=3,
        text_layers=2,
        end_bias=3.0,
    ),
    # Shards of bfloat16; 96 pixels give 37 tokens; heads of 12 and 24.
    "match": Shape(
        "match",
        "sharded",
        13,
        "bfloat16",
        image=96,
        patch=16,
        vision_width=24,
        vision_heads=2,
        vision_mlp=48,
        text_width=48,
        text_heads=2,
        text_mlp=64,
        embed=20,
    ),
    # pytorch_model.bin; 50 pixels are no multiple of the patch.
    "vqa": Shape(
        "vqa",
        "bin",
        31,
        image=50,
        patch=16,
        vision_width=40,
        vision_heads=2,
        vision_mlp=56,
        text_width=40,
        text_heads=4,
        text_mlp=56,
        end_bias=4.0,
    ),
    "match-official": Shape(
        "match",
        "pth",
        37,
        **OFFICIAL,
        vision_layers=1,
        text_layers=2,
        embed=16,
    ),
    "vqa-official": Shape(
        "vqa",
        "pth",
        41,
        **OFFICIAL,
        vision_layers=1,
        text_layers=1,
        end_bias=3.0,
    ),
    # The position table is of 32 pixels, the model runs at 56.
    "caption-interpolated": Shape(
        "caption",
        "safetensors",
        23,
        image=56,
        table=32,
        patch=8,
        vision_width=24,
        vision_layers=1,
        vision_heads=2,
        vision_mlp=32,
        text_width=24,
        text_layers=1,
        text_heads=2,
        text_mlp=32,
    ),
}
PICTURES = [(61, 47, "png"), (90, 133, "jpg"), (211, 77, "jpg")]


def write_goldens():
    shutil.rmtree(DATA, ignore_errors=True)
    names = g.make_pictures(DATA / "images", 5, PICTURES)
    for name, shape in COMMITTED.items():
        rng = random.Random(shape.seed)
        model = Model(shape)
        path = model.save(DATA / name)
        out, tensors = g.golden(
            model, path, DATA / "images", names, rng, count=24 if shape.kind == "caption" else 14
        )
        g.write(g.drop_unstable(out), tensors, DATA / name)
        report(name, out)
    print("bytes:", g.folder_size(DATA))


def report(name, out):
    print(f"{name}: near ties left out: {out['skipped_near_ties']}")
    for case in out.get("captions", [])[:6] + out.get("answers", [])[:6]:
        results = (
            case["results"]
            if "answers" not in case and "question" not in case
            else [case["results"]]
        )
        print(
            "   ",
            case["options"]["beams"],
            [r[0]["text"] for r in results],
            round(results[0][0]["score"], 3),
        )
    for case in out.get("matches", [])[:8]:
        print("   ", round(case["probability"], 4), round(case["cosine"], 4))
    for case in out.get("ranks", [])[:3]:
        print("   ", [(r["answer"], round(r["loss"], 2)) for r in case["ranking"][:4]])


# ---- a larger comparison


def random_shape(rng, seed):
    kind = rng.choice(["caption", "caption", "match", "vqa"])
    layout = rng.choice(["safetensors", "sharded", "bin", "pth"])
    patch = rng.choice([8, 16])
    if layout == "pth":
        heads = {w: w // 64 for w in (64, 128)}
        vision, text = rng.choice([64, 128]), rng.choice([64, 128])
        vision_heads, text_heads, eps = heads[vision], heads[text], 1e-6
    else:
        vision_heads, text_heads = rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 3, 4])
        vision, text = vision_heads * rng.choice([8, 12, 20, 24, 33, 64]), text_heads * rng.choice(
            [7, 12, 16, 24, 40, 64]
        )
        eps = rng.choice([1e-5, 1e-6])
    image = patch * rng.randint(2, 6) + rng.choice([0, 0, 3]) * (layout != "pth")
    table = patch * rng.randint(2, 6) if layout != "pth" and rng.random() < 0.3 else 0
    return Shape(
        kind,
        layout,
        seed,
        rng.choice(["float16", "bfloat16", "float32"]),
        image,
        table,
        patch,
        vision,
        rng.randint(1, 4),
        vision_heads,
        rng.choice([1, 2, 4]) * vision,
        text,
        rng.randint(1, 4),
        text_heads,
        rng.choice([1, 2, 4]) * text,
        rng.choice([8, 24, 64]),
        48,
        rng.choice(["small"] * 9 + ["full"]),
        rng.choice([0.0, 2.0, 3.0, 4.0]),
        eps,
    )


def random_sizes(rng):
    return [
        (rng.randint(16, 320), rng.randint(16, 320), rng.choice(["png", "jpg", "webp", "bmp"]))
        for _ in range(3)
    ]


def run_tool(tool, folder):
    out = subprocess.run([tool, str(folder)], capture_output=True, text=True)
    if out.returncode not in (0, 1):
        raise SystemExit(f"{tool} {folder}: exit {out.returncode}\n{out.stderr}")
    return json.loads(out.stdout)


def merge(total, counts):
    for key, value in counts.items():
        if key == "failures":
            total.setdefault(key, []).extend(value)
        elif key.startswith("max_"):
            total[key] = max(total.get(key, 0), value)
        else:
            total[key] = total.get(key, 0) + value


def compare(args):
    total, kinds, distinct = {}, collections.Counter(), set()
    for i in range(args.compare):
        seed = args.seed * 100000 + i
        rng = random.Random(seed)
        shape = random_shape(rng, seed)
        with tempfile.TemporaryDirectory() as scratch:
            root = pathlib.Path(scratch)
            names = g.make_pictures(root / "images", seed, random_sizes(rng))
            model = Model(shape)
            path = model.save(root / "model")
            out, tensors = g.golden(model, path, root / "images", names, rng, count=args.cases)
            g.write(out, tensors, root / "model")
            counts = run_tool(args.tool, root / "model")
            if args.blip:
                merge(counts, parity_cli.compare(args.blip, root, out))
            counts["failures"] = [f"{shape}: {f}" for f in counts["failures"]]
            merge(total, counts)
        kinds[f"models of kind {shape.kind}"] += 1
        kinds[f"models in layout {shape.layout}"] += 1
        for case in out.get("captions", []):
            distinct.update(t["text"] for texts in case["results"] for t in texts)
        if (i + 1) % 20 == 0:
            print(f"{i + 1}: {len(total['failures'])} failures", flush=True)
    print_totals(total | dict(kinds) | {"distinct captions": len(distinct)})


def published_shape(args):
    """The sizes of blip-image-captioning-base or -large, weights random."""
    common = dict(
        kind="caption",
        layout="safetensors",
        seed=args.seed,
        dtype="float16",
        image=384,
        patch=16,
        text_width=768,
        text_layers=12,
        text_heads=12,
        text_mlp=3072,
        positions=512,
        vocabulary="full",
    )
    if args.large:
        return Shape(
            **common, vision_width=1024, vision_layers=24, vision_heads=16, vision_mlp=4096
        )
    return Shape(**common, vision_width=768, vision_layers=12, vision_heads=12, vision_mlp=3072)


def published(args):
    shape = published_shape(args)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        names = g.make_pictures(root / "images", args.seed, [(640, 427, "jpg"), (300, 451, "png")])
        model = Model(shape)
        path = model.save(root / "model")
        reference, tensors = g.Reference(model, root / "images"), g.Tensors()
        out = {
            "path": path,
            "shape": vars(shape),
            "images": names,
            "pixels": {n: tensors.add(reference.pixels(n)) for n in names},
            "vision": {n: tensors.add(reference.vision(n)) for n in names},
        }
        # Large differs in its vision tower only.
        options = [] if args.large else [g.decoding_options(1), g.decoding_options(3, 5)]
        out["captions"] = [
            reference.caption([n], "a picture of ", o) for n in names for o in options
        ]
        for case in out["captions"]:
            print(case["results"][0][0]["text"], "" if case["stable"] else "(near tie)")
        g.write(out, tensors, root / "model")
        del model, reference
        print_totals(run_tool(args.tool, root / "model"))


def print_totals(total):
    for failure in total["failures"][:50]:
        print("FAILED", failure)
    for key, value in sorted(total.items()):
        if key != "failures":
            print(f"{key}: {value:.3g}" if isinstance(value, float) else f"{key}: {value}")
    print("failures:", len(total["failures"]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--compare", type=int, default=0, metavar="N")
    parser.add_argument("--cases", type=int, default=12, help="texts per model and kind")
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--tool", default="parity_compare")
    parser.add_argument("--blip")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # tiny products; threads would only wait for each other
    if args.write:
        write_goldens()
    if args.compare:
        compare(args)
    if args.base or args.large:
        published(args)


if __name__ == "__main__":
    main()
