#!/usr/bin/env python3
"""LoRA adapters of the committed tiny models as peft saves them, and what transformers says of base and adapter together.

    adapter.py           writes tests/data/parity/adapter-* (needs torch, transformers, peft)
"""
import json
import random

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

import parity_golden as g
from parity import COMMITTED, DATA
from parity_models import Model

SETTINGS = {
    # What most people train: the attention's projections.
    "adapter-attention": ("caption", dict(r=4, lora_alpha=8, target_modules=["query", "value", "qkv"])),
    # Everything else that merges: convolution, position table, biases, a whole module, ranks and scales by module.
    "adapter-everything": (
        "caption",
        dict(
            r=3,
            lora_alpha=5,
            use_rslora=True,
            bias="all",
            target_modules=["query", "key", "dense", "fc1", "patch_embedding", "position_embeddings", "projection"],
            modules_to_save=["post_layernorm"],
            rank_pattern={"fc1": 5, r"layer\.0\.attention\.self\.query": 2},
            alpha_pattern={"dense": 7, "crossattention.output.dense": 2},
        ),
    ),
    "adapter-heads": ("match", dict(r=2, lora_alpha=4, target_modules=["text_proj", "value"], modules_to_save=["itm_head"])),
}


def base_model(name):
    model = Model(COMMITTED[name])
    state = {}
    for file in sorted((DATA / name).glob("*.safetensors")):
        state |= {k: v.float() for k, v in load_file(file).items()}
    missing, unexpected = model.net.load_state_dict(state, strict=False)
    assert not unexpected and all("predictions.decoder" in k for k in missing), (missing, unexpected)
    return model


@torch.no_grad()
def randomize(net, seed):
    torch.manual_seed(seed)
    for name, p in net.named_parameters():
        if "lora_" in name:
            p.normal_(0, 0.25)
        elif "modules_to_save" in name or (p.requires_grad and name.endswith("bias")):
            p.add_(torch.randn_like(p) * 0.1)


def write(name, base, settings, seed):
    folder = DATA / name
    model = base_model(base)
    net = get_peft_model(model.net, LoraConfig(**settings)).eval()
    randomize(net, seed)
    net.peft_config["default"].base_model_name_or_path = "../" + base
    net.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    for key in ("target_modules", "modules_to_save"):  # sets, in another order each time
        if config[key]:
            config[key].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    model.net = net.merge_and_unload()
    pictures = sorted(p.name for p in (DATA / "images").iterdir())
    out, tensors = g.golden(model, "../" + base, DATA / "images", pictures, random.Random(seed), count=10)
    out["adapter"] = "."
    g.write(g.drop_unstable(out), tensors, folder)
    print(name, {k: len(v) for k, v in out.items() if isinstance(v, list)}, g.folder_size(folder))


for number, (name, (base, settings)) in enumerate(SETTINGS.items()):
    write(name, base, settings, 100 + number)
