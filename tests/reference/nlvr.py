#!/usr/bin/env python3
"""BLIP-NLVR, which judges statements about two pictures: random checkpoints as the official code
saves them, and what they answer by its rules, written here in torch in double precision.

    nlvr.py --write                     the checkpoint and the answers of tests/data/nlvr, which
                                        test_parity asserts
    nlvr.py --official CHECKOUT         the answers of salesforce/BLIP itself, from a checkout of
                                        it, for tests/data/nlvr; needs a transformers (4.36) that
                                        the official code can import
    nlvr.py --compare N --blip BLIP [--official CHECKOUT]
                                        N random models of other shapes through the program
    nlvr.py --base FILE                 a checkpoint of the published one's size
"""

import argparse
import importlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import types
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/nlvr"
SMALL_VOCABULARY = ROOT / "tests/data/parity/caption-official/vocab.txt"
BERT_VOCABULARY = ROOT / "data/bert-base-uncased/vocab.txt"
PICTURES = ROOT / "tests/data/parity/images"
NAMES = ["0-61x47.png", "1-90x133.jpg", "2-211x77.jpg"]
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FIRST_MERGE = 6  # layers from this one on have a merge_layer

STATEMENTS = [
    "a dog",
    "the left picture is a red bus",
    "there are two dogs in the right picture",
    "A man, a woman and a child are sitting at the table!",
    "no",
    "what is on the plate",
    # Longer than the 35 tokens at which other tasks truncate.
    "in the picture on the left a big black dog is sitting under a table with a red cake and in "
    "the picture on the right a small white cat is standing on a bed near a blue umbrella and a "
    "clock",
]
PAIRS = [(0, 1), (1, 0), (2, 2), (0, 2)]


@dataclass
class Shape:
    seed: int
    image: int = 48
    patch: int = 16
    vision_width: int = 24
    vision_layers: int = 2
    vision_mlp: int = 48
    text_width: int = 16
    text_layers: int = 8
    text_mlp: int = 32
    positions: int = 64

    def heads(self, width):
        return max(1, width // 64)


COMMITTED = Shape(seed=1)


def random_shape(rng):
    """Widths of several heads of 64, layers on both sides of the first merge."""
    return Shape(
        seed=rng.getrandbits(30),
        image=rng.choice([32, 48, 64]),
        patch=rng.choice([8, 16]),
        vision_width=64 * rng.randint(1, 3),
        vision_layers=rng.randint(1, 3),
        vision_mlp=64 * rng.randint(1, 3),
        text_width=64 * rng.randint(1, 3),
        text_layers=rng.randint(1, 9),
        text_mlp=64 * rng.randint(1, 3),
    )


# ---- the checkpoint


def shapes_of(shape, words):
    """Names and shapes of the official state dict, in its order."""
    v, t, patches = shape.vision_width, shape.text_width, (shape.image // shape.patch) ** 2
    out = {"visual_encoder.cls_token": (1, 1, v), "visual_encoder.pos_embed": (1, patches + 1, v)}

    def layer(name, rows, columns):
        out[name + ".weight"] = (rows, columns)
        out[name + ".bias"] = (rows,)

    def norm(name, width):
        out[name + ".weight"] = out[name + ".bias"] = (width,)

    layer("visual_encoder.patch_embed.proj", v, 3)
    out["visual_encoder.patch_embed.proj.weight"] = (v, 3, shape.patch, shape.patch)
    for i in range(shape.vision_layers):
        block = f"visual_encoder.blocks.{i}."
        norm(block + "norm1", v)
        layer(block + "attn.qkv", 3 * v, v)
        layer(block + "attn.proj", v, v)
        norm(block + "norm2", v)
        layer(block + "mlp.fc1", shape.vision_mlp, v)
        layer(block + "mlp.fc2", v, shape.vision_mlp)
    norm("visual_encoder.norm", v)
    out["text_encoder.embeddings.word_embeddings.weight"] = (words, t)
    out["text_encoder.embeddings.position_embeddings.weight"] = (shape.positions, t)
    norm("text_encoder.embeddings.LayerNorm", t)
    for i in range(shape.text_layers):
        one = f"text_encoder.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            layer(one + "attention.self." + part, t, t)
        layer(one + "attention.output.dense", t, t)
        norm(one + "attention.output.LayerNorm", t)
        for picture in "01":
            for part in ("query", "key", "value"):
                layer(f"{one}crossattention.self{picture}.{part}", t, t if part == "query" else v)
            layer(f"{one}crossattention.output.dense{picture}", t, t)
        if i >= FIRST_MERGE:
            layer(one + "crossattention.output.merge_layer", t, 2 * t)
        norm(one + "crossattention.output.LayerNorm", t)
        layer(one + "intermediate.dense", shape.text_mlp, t)
        layer(one + "output.dense", t, shape.text_mlp)
        norm(one + "output.LayerNorm", t)
    layer("cls_head.0", t, t)
    layer("cls_head.2", 2, t)
    return out


def random_state(shape, words):
    """Values of 16 bits, scaled so that the text and both pictures count, and rounding little."""
    generator = torch.Generator().manual_seed(shape.seed)
    state = {}
    for name, size in shapes_of(shape, words).items():
        values = torch.randn(size, generator=generator)
        if len(size) == 1:
            values *= 0.1
            if "orm" in name and name.endswith("weight"):
                values += 1
        elif "word_embeddings" not in name and (
            "embeddings" in name or name.endswith(("cls_token", "pos_embed"))
        ):
            values *= 0.5
        elif "word_embeddings" not in name:
            gain = 1.5 if any(part in name for part in ("query", "key", "qkv")) else 1.0
            if "output" in name and "text_encoder" in name:
                gain = 0.5 if "crossattention" in name else 1.3
            values *= gain / values[0].numel() ** 0.5
        state[name] = values.half()
    return state


class Model:
    def __init__(self, shape):
        self.shape = shape
        self.vocabulary = SMALL_VOCABULARY.read_text().split()
        self.state = random_state(shape, len(self.vocabulary))
        self.spread()

    @torch.no_grad()
    def spread(self):
        """Scales the last layer so that answers lie on both sides of a half, and not at it."""
        logits = torch.cat([self.logits(*pair, STATEMENTS) for pair in PAIRS])
        odds = logits[:, 1] - logits[:, 0]
        scale = 2.0 / odds.std().item()
        self.state["cls_head.2.weight"] = (self.state["cls_head.2.weight"] * scale).half()
        bias = self.state["cls_head.2.bias"] * scale
        bias[1] -= odds.mean().item() * scale
        self.state["cls_head.2.bias"] = bias.half()

    def save(self, folder):
        """As train_nlvr.py does, with the optimizer's state beside the model."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.txt").write_text("\n".join(self.vocabulary) + "\n")
        state = dict(self.state)
        positions = torch.arange(self.shape.positions).expand((1, -1)).clone()
        state["text_encoder.embeddings.position_ids"] = positions
        moments = {
            "step": torch.tensor(3.0),
            "exp_avg": torch.zeros(2),
            "exp_avg_sq": torch.ones(2),
        }
        torch.save(
            {
                "model": state,
                "optimizer": {
                    "state": {0: moments},
                    "param_groups": [{"lr": 3e-5, "betas": (0.9, 0.999), "params": [0]}],
                },
                "config": {"image_size": self.shape.image, "vit": "base", "pretrained": ""},
                "epoch": 1,
            },
            folder / "model.pth",
        )
        return folder / "model.pth"

    # ---- what it computes

    def tensor(self, name):
        return self.state[name].double()

    def linear(self, name, x):
        return F.linear(x, self.tensor(name + ".weight"), self.tensor(name + ".bias"))

    def norm(self, name, x, eps):
        weight, bias = self.tensor(name + ".weight"), self.tensor(name + ".bias")
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    def attend(self, q, k, v):
        heads = self.shape.heads(q.shape[-1])
        q, k, v = (x.view(x.shape[0], heads, -1).transpose(0, 1) for x in (q, k, v))
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        return (weights @ v).transpose(0, 1).flatten(1)

    def vision(self, pixels):
        patches = F.conv2d(
            pixels[None],
            self.tensor("visual_encoder.patch_embed.proj.weight"),
            self.tensor("visual_encoder.patch_embed.proj.bias"),
            stride=self.shape.patch,
        )
        x = torch.cat([self.tensor("visual_encoder.cls_token")[0], patches[0].flatten(1).T])
        x = x + self.tensor("visual_encoder.pos_embed")[0]
        for i in range(self.shape.vision_layers):
            block = f"visual_encoder.blocks.{i}."
            qkv = self.linear(block + "attn.qkv", self.norm(block + "norm1", x, 1e-6))
            x = x + self.linear(block + "attn.proj", self.attend(*qkv.chunk(3, dim=-1)))
            wide = F.gelu(self.linear(block + "mlp.fc1", self.norm(block + "norm2", x, 1e-6)))
            x = x + self.linear(block + "mlp.fc2", wide)
        return self.norm("visual_encoder.norm", x, 1e-6)

    def looked(self, i, x, pictures):
        """What the two cross-attentions of layer i give together."""
        cross = f"text_encoder.encoder.layer.{i}.crossattention."
        outputs = []
        for n, picture in enumerate(pictures):
            q = self.linear(f"{cross}self{n}.query", x)
            k, v = (self.linear(f"{cross}self{n}.{part}", picture) for part in ("key", "value"))
            outputs.append(self.linear(f"{cross}output.dense{n}", self.attend(q, k, v)))
        if i < FIRST_MERGE:
            return (outputs[0] + outputs[1]) / 2
        return self.linear(cross + "output.merge_layer", torch.cat(outputs, dim=-1))

    def states(self, ids, pictures):
        x = self.tensor("text_encoder.embeddings.word_embeddings.weight")[ids]
        x = x + self.tensor("text_encoder.embeddings.position_embeddings.weight")[: len(ids)]
        x = self.norm("text_encoder.embeddings.LayerNorm", x, 1e-12)
        for i in range(self.shape.text_layers):
            one = f"text_encoder.encoder.layer.{i}."
            qkv = [self.linear(f"{one}attention.self.{p}", x) for p in ("query", "key", "value")]
            mixed = self.linear(one + "attention.output.dense", self.attend(*qkv))
            x = self.norm(one + "attention.output.LayerNorm", x + mixed, 1e-12)
            read = self.looked(i, x, pictures)
            x = self.norm(one + "crossattention.output.LayerNorm", x + read, 1e-12)
            wide = F.gelu(self.linear(one + "intermediate.dense", x))
            wide = self.linear(one + "output.dense", wide)
            x = self.norm(one + "output.LayerNorm", x + wide, 1e-12)
        return x

    def ids(self, statement):
        """[ENC] in the place of [CLS]; whole."""
        ids = tokenizer_of(self.vocabulary)(statement).input_ids
        ids[0] = self.vocabulary.index("[ENC]")
        return torch.tensor(ids)

    @torch.no_grad()
    def logits(self, first, second, statements):
        """[statements, 2]: false, true."""
        pictures = [self.vision(pixels_of(NAMES[i], self.shape.image)) for i in (first, second)]
        rows = []
        for statement in statements:
            first_state = self.states(self.ids(statement), pictures)[0]
            rows.append(self.linear("cls_head.2", F.relu(self.linear("cls_head.0", first_state))))
        return torch.stack(rows)


def tokenizer_of(vocabulary):
    from transformers import BertTokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n")
        tokenizer = BertTokenizer(str(path), do_lower_case=True)
    return tokenizer


def pixels_of(name, size):
    image = Image.open(PICTURES / name).convert("RGB").resize((size, size), Image.BICUBIC)
    values = torch.from_numpy(np.asarray(image).copy()).double().permute(2, 0, 1) / 255
    mean, std = (torch.tensor(v).double()[:, None, None] for v in (MEAN, STD))
    return (values - mean) / std


# ---- the official code


def stand_in(name, **members):
    """What the official code imports of packages that it hardly uses."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


class PatchEmbed(torch.nn.Module):
    def __init__(self, img_size, patch_size, in_chans, embed_dim):
        super().__init__()
        self.num_patches = (img_size // patch_size) ** 2
        self.proj = torch.nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


def import_official(checkout):
    importlib.import_module("transformers.modeling_utils")  # which looks for the true packages
    nothing = lambda *a, **k: None  # noqa: E731
    for package in ("timm", "timm.models", "fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        stand_in(package)
    stand_in("timm.models.hub", download_cached_file=nothing)
    stand_in("timm.models.vision_transformer", _cfg=nothing, PatchEmbed=PatchEmbed)
    stand_in("timm.models.registry", register_model=nothing)
    stand_in("timm.models.layers", trunc_normal_=nothing, DropPath=lambda p: torch.nn.Identity())
    stand_in("timm.models.helpers", named_apply=nothing, adapt_input_conv=nothing)
    stand_in("fairscale.nn.checkpoint.checkpoint_activations", checkpoint_wrapper=nothing)
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("models.blip_nlvr")
    module.os = os  # which it uses and does not import
    return module


class Official:
    """A checkpoint in the official model, made in the checkpoint's sizes."""

    def __init__(self, checkout, shape, vocabulary, path):
        module = import_official(checkout)
        vit = importlib.import_module("models.vit").VisionTransformer
        self.shape = shape

        def create_vit(_vit, image_size, *_args, **_options):
            width = shape.vision_width
            return (
                vit(
                    img_size=image_size,
                    patch_size=shape.patch,
                    embed_dim=width,
                    depth=shape.vision_layers,
                    num_heads=shape.heads(width),
                    mlp_ratio=shape.vision_mlp / width,
                ),
                width,
            )

        def init_tokenizer():
            tokenizer = tokenizer_of(vocabulary)
            tokenizer.enc_token_id = vocabulary.index("[ENC]")
            return tokenizer

        module.create_vit, module.init_tokenizer = create_vit, init_tokenizer
        config = json.loads((pathlib.Path(checkout) / "configs/med_config.json").read_text())
        config.update(
            hidden_size=shape.text_width,
            intermediate_size=shape.text_mlp,
            num_attention_heads=shape.heads(shape.text_width),
            num_hidden_layers=shape.text_layers,
            max_position_embeddings=shape.positions,
            vocab_size=len(vocabulary),
        )
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            model = module.BLIP_NLVR(med_config=file.name, image_size=shape.image)
        self.model, loaded = module.load_checkpoint(model, str(path))
        assert not loaded.missing_keys and not loaded.unexpected_keys, loaded
        self.model.eval().double()  # so that what is left is not rounding

    @torch.no_grad()
    def logits(self, first, second, statements):
        """The statements in one batch, so some of them padded."""
        pixels = [pixels_of(NAMES[i], self.shape.image) for i in (first, second)]
        images = torch.stack([p for p in pixels for _ in statements])
        targets = torch.zeros(len(statements), dtype=torch.long)
        return self.model(images, list(statements), targets, train=False)


# ---- commands


def write():
    model = Model(COMMITTED)
    path = model.save(DATA)
    cases = []
    for first, second in PAIRS:
        logits = model.logits(first, second, STATEMENTS)
        for statement, pair in zip(STATEMENTS, logits):
            probability = pair.softmax(-1)[1].item()
            cases.append(
                {
                    "images": [NAMES[first], NAMES[second]],
                    "text": statement,
                    "logits": [round(x, 8) for x in pair.tolist()],
                    "probability": round(probability, 8),
                }
            )
            print(NAMES[first], NAMES[second], round(probability, 4), statement)
    (DATA / "expected.json").write_text(json.dumps(cases, indent=1) + "\n")
    print("bytes:", path.stat().st_size)


def check_official(checkout):
    vocabulary = (DATA / "vocab.txt").read_text().split()
    official = Official(checkout, COMMITTED, vocabulary, DATA / "model.pth")
    cases = json.loads((DATA / "expected.json").read_text())
    worst = 0.0
    for first, second in PAIRS:
        of_pair = [c for c in cases if c["images"] == [NAMES[first], NAMES[second]]]
        got = official.logits(first, second, [c["text"] for c in of_pair])
        want = torch.tensor([c["logits"] for c in of_pair], dtype=torch.float64)
        worst = max(worst, (got - want).abs().max().item())
    print(f"{len(cases)} statements; largest difference of a logit {worst:.2e}")
    assert worst < 1e-7, "tests/data/nlvr is not what the official code gives"


def compare(count, blip, checkout, seed):
    rng = random.Random(seed)
    worst = {"program": 0.0, "official": 0.0}
    for n in range(count):
        shape = random_shape(rng)
        model = Model(shape)
        with tempfile.TemporaryDirectory() as folder:
            path = model.save(pathlib.Path(folder))
            official = checkout and Official(checkout, shape, model.vocabulary, path)
            for first, second in PAIRS:
                want = model.logits(first, second, STATEMENTS).softmax(-1)[:, 1]
                got = through(blip, path, first, second)
                worst["program"] = max(worst["program"], (got - want).abs().max().item())
                if official:
                    there = official.logits(first, second, STATEMENTS).softmax(-1)[:, 1]
                    worst["official"] = max(worst["official"], (want - there).abs().max().item())
        print(n + 1, shape, worst)
    assert worst["program"] < 1e-4 and worst["official"] < 1e-9, worst


def through(blip, path, first, second):
    command = [blip, "nlvr", PICTURES / NAMES[first], PICTURES / NAMES[second], "--model", path]
    for statement in STATEMENTS:
        command += ["--text", statement]
    run = subprocess.run([*map(str, command), "--json", "--quiet"], capture_output=True, check=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    return torch.tensor([row["probability"] for row in rows], dtype=torch.float64)


def write_base(file):
    shape = Shape(
        seed=1,
        image=384,
        vision_width=768,
        vision_layers=12,
        vision_mlp=3072,
        text_width=768,
        text_layers=12,
        text_mlp=3072,
        positions=512,
    )
    state = random_state(shape, len(BERT_VOCABULARY.read_text(encoding="utf-8").splitlines()) + 2)
    torch.save({"model": {k: v.float() for k, v in state.items()}}, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--official", type=pathlib.Path, metavar="CHECKOUT")
    parser.add_argument("--compare", type=int, metavar="N")
    parser.add_argument("--blip", metavar="BLIP")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base", type=pathlib.Path, metavar="FILE")
    given = parser.parse_args()
    if given.write:
        write()
    if given.base:
        write_base(given.base)
    if given.compare:
        if not given.blip:
            parser.error("--compare needs --blip")
        compare(given.compare, given.blip, given.official, given.seed)
    elif given.official:
        check_official(given.official)


if __name__ == "__main__":
    main()
