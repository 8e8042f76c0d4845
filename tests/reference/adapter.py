#!/usr/bin/env python3
"""LoRA adapters of the committed tiny models as peft saves them, and what transformers says of base
and adapter together.

    adapter.py           writes tests/data/parity/adapter-* (needs torch, transformers, peft)

Nothing is merged here: transformers keeps base and adapter apart when it loads them, which tells
where tensors are tied. Every adapter is loaded from its files by transformers as well, where there
is a folder that it can read.
"""

import json
import random
import shutil
import tempfile
import warnings
from pathlib import Path

import parity_golden as g
import torch
from parity import COMMITTED, DATA
from parity_models import Model, official_names
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
BASE_NAME = "example/base"  # what the adapters state
PICTURES = 2

# name: base, and the settings of each adapter
SETTINGS = {
    # What most people train: the attention's projections.
    "adapter-attention": (
        "caption",
        [dict(r=4, lora_alpha=8, target_modules=["query", "value", "qkv"])],
    ),
    # Convolution, position table, biases, a whole module, ranks and scales by module.
    "adapter-everything": (
        "caption",
        [
            dict(
                r=3,
                lora_alpha=5,
                use_rslora=True,
                bias="all",
                fan_in_fan_out=True,
                target_modules=[
                    "query",
                    "key",
                    "dense",
                    "fc1",
                    "patch_embedding",
                    "position_embeddings",
                    "projection",
                ],
                exclude_modules=["text_decoder.bert.encoder.layer.0.attention.output.dense"],
                modules_to_save=["post_layernorm"],
                rank_pattern={
                    "fc1": 5,
                    r"layer\.0\.attention\.self\.query": 2,
                    "^text_decoder.bert.encoder.layer.1.output.dense": 1,
                },
                alpha_pattern={
                    "dense": 7,
                    "crossattention.output.dense": 2,
                    r"(.*\.)*layers\.[01]\.self_attn.+": 3.5,
                },
            )
        ],
    ),
    # The heads, one of them whole; scales below 1.
    "adapter-heads": (
        "match",
        [
            dict(
                r=8,
                lora_alpha=2,
                target_modules=["text_proj", "value"],
                modules_to_save=["itm_head"],
            )
        ],
    ),
    # The word table and the matrix that is tied to it, each with a change of its own; biases of
    # factors.
    "adapter-words": (
        "caption",
        [
            dict(
                r=2,
                lora_alpha=1,
                lora_bias=False,
                bias="lora_only",
                target_modules=r".*\.(word_embeddings|decoder|fc2)",
                modules_to_save=["transform"],
            )
        ],
    ),
    # Every linear layer, the output included; a word table of its own in each tower, of which the
    # output does not hear.
    "adapter-linear": (
        "vqa",
        [dict(r=1, lora_alpha=1, target_modules="all-linear", modules_to_save=["word_embeddings"])],
    ),
    # Some layers of some towers, and factors with biases; the base in the official layout.
    "adapter-official": (
        "caption-official",
        [
            dict(
                r=2,
                lora_alpha=6,
                lora_bias=True,
                target_modules=["fc1", "fc2", "query"],
                layers_to_transform=[0, 2],
                layers_pattern=["layers"],
            )
        ],
    ),
    # Two at once, which add up.
    "adapter-several": (
        "caption",
        [
            dict(r=2, lora_alpha=3, target_modules=["query", "fc1"], layers_to_transform=1),
            dict(
                r=3,
                lora_alpha=2,
                use_rslora=True,
                target_modules=["fc1", "value", "position_embeddings"],
            ),
        ],
    ),
}


def base_model(name):
    """The committed model, from its files."""
    model, folder, state = Model(COMMITTED[name]), DATA / name, {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    for file in sorted(folder.glob("*.bin")):
        state |= torch.load(file)
    for file in sorted(folder.glob("*.pth")):
        theirs = {
            official: ours
            for ours, official in zip(
                model.net.state_dict(), official_names(model.net.state_dict())
            )
        }
        state |= {theirs[k]: v for k, v in torch.load(file)["model"].items()}
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    missing, unexpected = model.net.load_state_dict(state, strict=False)
    assert not unexpected and all("predictions.decoder" in k for k in missing), (
        missing,
        unexpected,
    )
    return model


@torch.no_grad()
def randomize(net, seed):
    torch.manual_seed(seed)
    for name, p in net.named_parameters():
        if "lora_" in name:
            p.normal_(0, 0.25)
        elif "modules_to_save" in name or (p.requires_grad and name.endswith("bias")):
            p.add_(torch.randn_like(p) * 0.1)


def tidy(folder):
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    # Sets, in another order each time.
    for key in (
        "target_modules",
        "modules_to_save",
        "exclude_modules",
    ):
        if isinstance(config.get(key), list):
            config[key].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def answer(net, kind):
    torch.manual_seed(0)
    size = net.config.vision_config.image_size
    pixels, ids = torch.randn(1, 3, size, size), torch.tensor([[20, 5, 6, 7]])
    if kind == "match":
        return net(pixel_values=pixels, input_ids=ids).itm_score
    if kind == "caption":
        return net(pixel_values=pixels, input_ids=ids).logits
    states = net.vision_model(pixels).last_hidden_state
    asked = net.text_encoder(input_ids=ids, encoder_hidden_states=states).last_hidden_state
    return net.text_decoder(input_ids=ids, encoder_hidden_states=asked).logits


def check_transformers(model, base, folder):
    """transformers, given a folder with base and adapter, answers as the network here does."""
    # Whose decoder transformers builds otherwise.
    if not (DATA / base / "config.json").exists() or base == "vqa":
        return
    with tempfile.TemporaryDirectory() as both:
        shutil.copytree(DATA / base, both, dirs_exist_ok=True)
        for file in folder.glob("adapter_*"):
            shutil.copy(file, both)
        net = type(model.net).from_pretrained(both, dtype=torch.float32).eval()
    kind = model.shape.kind
    difference = (answer(net, kind) - answer(model.net, kind)).abs().max().item()
    assert difference < 1e-4, (folder, difference)


def train(folder, base, adapters, seed):
    """Saves adapters; returns their folders below `folder`."""
    names = ["default", *("second" for _ in adapters[1:])]
    net = get_peft_model(base_model(base).net, LoraConfig(**adapters[0]))
    for other, settings in zip(names[1:], adapters[1:]):
        net.add_adapter(other, LoraConfig(**settings))
    net.base_model.set_adapter(names)
    randomize(net, seed)
    for config in net.peft_config.values():
        config.base_model_name_or_path = BASE_NAME
    net.save_pretrained(folder)  # every adapter but the first into a folder of its own
    folders = [".", *names[1:]]
    for one in folders:
        tidy(folder / one)
    return folders


def write(name, base, adapters, seed):
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    folders = train(folder, base, adapters, seed)
    # As it is loaded again: peft sorts the keys of patterns when it saves them, and the first that
    # matches counts.
    model = base_model(base)
    net = PeftModel.from_pretrained(model.net, folder)
    for other in folders[1:]:
        net.load_adapter(folder / other, other)
    net.base_model.set_adapter(["default", *folders[1:]])
    net.eval()
    if len(folders) == 1:
        check_transformers(model, base, folder)
    pictures = sorted(p.name for p in (DATA / "images").iterdir())[:PICTURES]
    path = "../" + base + ("/model.pth" if COMMITTED[base].layout == "pth" else "")
    out, tensors = g.golden(model, path, DATA / "images", pictures, random.Random(seed), count=10)
    out["adapters"] = folders
    g.write(g.drop_unstable(out), tensors, folder)
    print(
        name,
        {k: len(v) for k, v in out.items() if isinstance(v, list)},
        out["skipped_near_ties"],
        g.folder_size(folder),
    )


if __name__ == "__main__":
    for number, (name, (base, adapters)) in enumerate(SETTINGS.items()):
        write(name, base, adapters, 100 + number)
