#!/usr/bin/env python3
"""Compares the networks that tools/sophon exports with transformers: as ONNX graphs, and compiled,
on emulated chips.

    sophon_export.py --models 30    # random models, by onnxruntime
    sophon_export.py --compiled caption-bm1684x --checkpoint tests/data/parity/caption \\
        --emulator EMULATORS/bm1684x

Every stage is compared: image tokens and vectors, text states, ITM logits, text vectors, question
states with padding, and the logits of prefill and steps along random texts, with rows that change
places as beams do. Needs torch, transformers, onnx, onnxruntime.
"""

import argparse
import pathlib
import random
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from parity_models import Model, Shape
from transformers import BlipConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/sophon"), str(ROOT / "tests/sophon")]
from blip_sophon.calibration import load_pixels  # noqa: E402
from blip_sophon.checkpoint import open_checkpoint  # noqa: E402
from blip_sophon.graph import HIDDEN  # noqa: E402
from blip_sophon.layouts import BY_LAYER, BY_TOKEN, LONG_AXIS  # noqa: E402
from blip_sophon.networks import Builder, Options  # noqa: E402
from emulated import CompiledModel  # noqa: E402

TOLERANCE = 1e-4
# Of compiled networks: largest error as a part of the largest value, smallest cosine of embeddings,
# and of logits. The small random models are sharper than trained ones: their logits magnify what 8
# bits lose.
COMPILED = {
    "f32": (2e-2, 0.999, 0.999),
    "f16": (5e-2, 0.999, 0.999),
    "bf16": (2e-1, 0.998, 0.99),
    "int8": (5e-1, 0.99, 0.95),
}


def random_shape(rng, kind):
    heads, text_heads = rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 4])
    width, text_width = heads * rng.choice([8, 12, 16]), text_heads * rng.choice([8, 12, 16])
    patch, layout = rng.choice([8, 16]), rng.choice(["safetensors", "sharded", "bin", "pth"])
    if kind == "vqa":
        text_width, text_heads = width, heads  # transformers' answer decoder has the vision width
    # Such a file says no sizes: heads are 64 wide, and the picture is what its positions are for.
    if layout == "pth":
        heads = text_heads = 1
        width = text_width = 64
    image = patch * rng.randint(2, 5) + (0 if layout == "pth" else rng.choice([0, 3]))
    return Shape(
        kind,
        layout,
        rng.randrange(1 << 30),
        dtype=rng.choice(["float16", "bfloat16"]),
        image=image,
        patch=patch,
        table=0 if layout == "pth" else rng.choice([0, 0, patch * rng.randint(2, 5)]),
        vision_width=width,
        vision_heads=heads,
        vision_layers=rng.randint(1, 3),
        vision_mlp=rng.choice([40, 64]),
        text_width=text_width,
        text_heads=text_heads,
        text_layers=rng.randint(1, 3),
        text_mlp=rng.choice([40, 64]),
        embed=rng.choice([12, 24]),
        positions=48,
        vision_eps=1e-6 if layout == "pth" else 1e-5,
    )


class Networks:
    """The exported graphs of one model, run by onnxruntime."""

    def __init__(self, checkpoint, options):
        self.sessions = {}
        for make in Builder(checkpoint, options).networks():
            network = make()
            model = network.graph.model()
            onnx.checker.check_model(model, full_check=True)
            self.sessions[network.role, network.rows] = onnxruntime.InferenceSession(
                model.SerializeToString()
            )

    def inputs(self, role, rows):
        """How many."""
        return len(self.sessions[role, rows].get_inputs())

    def __call__(self, role, *inputs, rows=1):
        session = self.sessions[role, rows]
        return session.run(
            None, {port.name: value for port, value in zip(session.get_inputs(), inputs)}
        )


def integers(values, shape):
    return np.array(values, np.int32).reshape(shape)


def padded(ids, length):
    """ids and additive mask; what pads is not [PAD], to show that it does not matter"""
    rows, t = ids.shape
    full = np.full((rows, length), 7, np.int32)
    full[:, :t] = ids
    mask = np.full((rows, 1, 1, length), HIDDEN, np.float32)
    mask[..., :t] = 0
    return full, mask


class Comparison:
    """One model against its reference."""

    def __init__(
        self,
        model,
        networks,
        checkpoint,
        options,
        rng,
        limits=(TOLERANCE, 0.999, 0.999),
        steps=1000,
    ):
        self.model, self.net, self.networks, self.c, self.o, self.rng = (
            model,
            model.net,
            networks,
            checkpoint,
            options,
            rng,
        )
        self.limits, self.steps, self.worst = limits, steps, {}  # worst: stage -> (error, cosine)
        s = model.shape
        self.pixels = torch.randn(
            1, 3, s.image, s.image, generator=torch.Generator().manual_seed(s.seed)
        )

    def same(self, what, got, expected):
        a, b = got.reshape(-1).astype(np.float64), expected.detach().numpy().reshape(-1).astype(
            np.float64
        )
        error = float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))
        cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
        worst_error, worst_cosine = self.worst.get(what, (0.0, 1.0))
        self.worst[what] = max(worst_error, error) if error == error else error, min(
            worst_cosine, cosine
        )

    def failures(self):
        allowed, embeddings, logits = self.limits
        found = []
        for what, (error, cosine) in self.worst.items():
            wanted = logits if "logits" in what else embeddings
            if not (error <= allowed and cosine >= wanted):
                found.append(
                    f"{what}: error {error:.2e} (allowed {allowed}), cosine {cosine:.6f} (wanted "
                    f"{wanted})"
                )
        return found

    def random_ids(self, rows, length):
        return torch.tensor(
            [
                [self.rng.randrange(5, len(self.model.vocabulary)) for _ in range(length)]
                for _ in range(rows)
            ]
        )

    def run(self):
        vision = self.net.vision_model(self.pixels, interpolate_pos_encoding=True).last_hidden_state
        tokens, *vectors = self.networks("vision", self.pixels.numpy())
        self.same("vision", tokens, vision)
        kind = self.model.shape.kind
        if kind == "match":
            self.same("image vector", vectors[0], self.net.vision_proj(vision[:, 0]))
            self.match(vision, tokens)
        elif kind == "caption":
            (cross,) = self.networks("caption_cross", tokens)
            self.caption(vision, cross)
        else:
            self.ask(vision, tokens)

    def match(self, vision, tokens):
        (cross,) = self.networks("text_cross", tokens)
        seen = torch.ones(vision.shape[:2], dtype=torch.long)
        for rows in self.o.match_rows:
            ids = self.random_ids(rows, self.rng.randint(2, 35))
            states = self.net.text_encoder(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                encoder_hidden_states=vision.expand(rows, -1, -1),
                encoder_attention_mask=seen.expand(rows, -1),
            ).last_hidden_state
            logits, got = self.networks("match", *padded(ids.numpy(), 35), cross, rows=rows)
            self.same("ITM logits", logits, self.net.itm_head(states[:, 0]))
            self.same("text states", got[:, : ids.shape[1]], states)
        for rows in self.o.text_rows:
            ids = self.random_ids(rows, self.rng.randint(2, 35))
            states = self.net.text_encoder(
                input_ids=ids, attention_mask=torch.ones_like(ids)
            ).last_hidden_state
            (vector,) = self.networks("text", *padded(ids.numpy(), 35), rows=rows)
            self.same("text vector", vector, self.net.text_proj(states[:, 0]))

    def decoder_logits(self, ids, states, count):
        """Of the last token of every row."""
        out = self.net.text_decoder(
            input_ids=torch.tensor(ids),
            encoder_hidden_states=states.expand(len(ids), -1, -1),
            encoder_attention_mask=torch.ones(len(ids), count, dtype=torch.long),
        )
        return out.logits[:, -1]

    def walk(self, role, rows, ids, cache, cross, states, extra=()):
        """Steps, at most to the last slot; rows take over others' caches as beams do."""
        ids, cache = [list(ids) for _ in range(rows)], np.repeat(cache, rows, 0)
        reorders = self.networks.inputs(role, rows) > 4 + len(extra)
        for position in range(len(ids[0]), min(self.o.slots, len(ids[0]) + self.steps)):
            parents = [self.rng.randrange(rows) for _ in range(rows)]
            ids = [list(ids[p]) for p in parents]
            if not reorders:
                cache = cache[parents]
            new = [self.rng.randrange(5, len(self.model.vocabulary)) for _ in range(rows)]
            for row, token in zip(ids, new):
                row.append(token)
            logits, cache = self.networks(
                role,
                integers(new, (rows, 1)),
                np.full((1, 1), position, np.float32),
                cache,
                cross,
                *extra,
                *([integers(parents, rows)] if reorders else ()),
                rows=rows,
            )
            self.same(
                f"{role} logits, {rows} rows",
                logits,
                self.decoder_logits(ids, states, states.shape[1]),
            )

    def caption(self, vision, cross):
        for rows in self.o.step_rows:
            prompt = self.random_ids(1, self.rng.randint(1, self.o.prompt))[0].tolist()
            last = np.zeros((1, 1, self.o.prompt), np.float32)
            last[0, 0, len(prompt) - 1] = 1
            fed = integers(prompt + [9] * (self.o.prompt - len(prompt)), (1, self.o.prompt))
            logits, cache = self.networks("caption_prefill", fed, last, cross)
            self.same(
                "prefill logits", logits, self.decoder_logits([prompt], vision, vision.shape[1])
            )
            self.walk("caption_step", rows, prompt, cache, cross, vision)

    def ask(self, vision, tokens):
        (cross,) = self.networks("question_cross", tokens)
        for rows in self.o.step_rows:
            ids = self.random_ids(1, self.rng.randint(2, 35))
            states = self.net.text_encoder(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                encoder_hidden_states=vision,
                encoder_attention_mask=torch.ones(vision.shape[:2], dtype=torch.long),
            ).last_hidden_state
            question, mask = padded(ids.numpy(), 35)
            got, answer_cross = self.networks("question", question, mask, cross)
            self.same("question states", got[:, : ids.shape[1]], states)
            cache = np.zeros(Builder(self.c, self.o).cache_shape("answer", 1), np.float32)
            self.walk("answer_step", rows, [], cache, answer_cross, states, extra=(mask,))


class Loaded:
    """A checkpoint that transformers reads, as parity_models.Model has it."""

    def __init__(self, folder):
        config = BlipConfig.from_pretrained(folder)
        kind = {
            "BlipForConditionalGeneration": "caption",
            "BlipForImageTextRetrieval": "match",
            "BlipForQuestionAnswering": "vqa",
        }
        architecture = config.architectures[0]
        self.net = (
            getattr(transformers, architecture)
            .from_pretrained(folder, torch_dtype=torch.float32)
            .eval()
        )
        self.vocabulary = range(config.text_config.vocab_size)
        self.shape = Shape(kind[architecture], "", 1, image=config.vision_config.image_size)


def compare_compiled(args):
    compiled = CompiledModel(args.compiled, args.emulator)
    try:
        manifest, checkpoint = compiled.manifest, open_checkpoint(args.checkpoint)
        if manifest["checkpoint"]["sha256"] != checkpoint.digest():
            raise SystemExit(f"{args.compiled} was not built from {args.checkpoint}")
        rows = {}
        for network in manifest["networks"]:
            rows.setdefault(network["role"], []).append(network["rows"])
        options = Options(
            manifest["decoder"]["slots"],
            manifest["decoder"]["prompt"],
            rows.get("match", []),
            rows.get("text", []),
            rows.get("caption_step", []) + rows.get("answer_step", []),
        )
        comparison = Comparison(
            Loaded(args.checkpoint),
            compiled,
            checkpoint,
            options,
            random.Random(args.seed),
            COMPILED[manifest["dtype"]],
            args.steps,
        )
        comparison.pixels = torch.from_numpy(load_pixels(args.picture, checkpoint))
        with torch.no_grad():
            comparison.run()
    finally:
        compiled.close()
    for what, (error, cosine) in comparison.worst.items():
        print(
            f"{manifest['chip']} {manifest['dtype']} {what}: error {error:.1e}, cosine {cosine:.6f}"
        )
    return comparison.failures()


def compare_random(args):
    rng, worst = random.Random(args.seed), 0.0
    for i in range(args.models):
        model = Model(random_shape(rng, ("caption", "match", "vqa")[i % 3]))
        options = Options(
            slots=rng.choice([16, 20]),
            prompt=rng.choice([1, 4, 8]),
            match_rows=[1, 3],
            text_rows=[1, 2],
            step_rows=[1, 3],
            written_out_norm=bool(i // 3 % 2),
            written_out_gelu=bool(i % 2),
            cross_layout=(LONG_AXIS, BY_TOKEN, BY_LAYER)[(i // 3 + i) % 3],
            fused_attention=bool(i // 2 % 2),
        )
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            checkpoint = open_checkpoint(pathlib.Path(folder) / model.save(folder))
            comparison = Comparison(model, Networks(checkpoint, options), checkpoint, options, rng)
            comparison.run()
        if comparison.failures():
            return [f"{model.shape}", *comparison.failures()]
        error = max(error for error, _ in comparison.worst.values())
        worst = max(worst, error)
        print(
            f"{i + 1}/{args.models} {model.shape.kind} {model.shape.layout}: within {error:.1e}",
            flush=True,
        )
    print(f"{args.models} models: every stage within {worst:.1e} of transformers")
    return []


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--compiled",
        type=pathlib.Path,
        help="a folder of build-bmodels, to be run on an emulated chip",
    )
    parser.add_argument("--checkpoint", type=pathlib.Path, help="the folder it was built from")
    parser.add_argument("--emulator", help="the chip's folder of install-emulator")
    parser.add_argument(
        "--picture", type=pathlib.Path, default=ROOT / "tests/data/parity/images/1-90x133.jpg"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1000,
        help="steps of each decoder at most (an emulated one can take seconds)",
    )
    args = parser.parse_args()
    failures = compare_compiled(args) if args.compiled else compare_random(args)
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
