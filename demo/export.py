"""Writes a trained checkpoint as Hugging Face folders.

    python export.py --checkpoint run/last.pt --out demo-model

demo-model/ holds all roles over one vision tower; demo-model/caption, /itm and /vqa hold what
transformers' BlipForConditionalGeneration, BlipForImageTextRetrieval and BlipForQuestionAnswering
load.
"""

import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file

import vocab
from model import MEAN, STD, Blip


def load(checkpoint, which="average"):
    """The model in a checkpoint of train.py: the running average of the weights, or the last step's
    ("model").
    """
    model = Blip()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)[which])
    return model.eval()


# --- tensors under their Hugging Face names


def _both(prefix, module):
    return {f"{prefix}.weight": module.weight, f"{prefix}.bias": module.bias}


def vision_tensors(m):
    c, v, t = m.config, m.vision, {}
    t["vision_model.embeddings.class_embedding"] = v.cls.view(1, 1, -1)
    t["vision_model.embeddings.position_embedding"] = v.position[None]
    t["vision_model.embeddings.patch_embedding.weight"] = v.embed.weight.view(
        c.width, 3, c.patch_size, c.patch_size
    )
    t["vision_model.embeddings.patch_embedding.bias"] = v.embed.bias
    for i, layer in enumerate(v.layers):
        p = f"vision_model.encoder.layers.{i}."
        t |= _both(p + "self_attn.qkv", layer.qkv) | _both(
            p + "self_attn.projection", layer.projection
        )
        t |= _both(p + "layer_norm1", layer.norm1) | _both(p + "layer_norm2", layer.norm2)
        t |= _both(p + "mlp.fc1", layer.fc1) | _both(p + "mlp.fc2", layer.fc2)
    return t | _both("vision_model.post_layernorm", v.norm)


def _attention(prefix, a):
    return (
        _both(prefix + "self.query", a.query)
        | _both(prefix + "self.key", a.key)
        | _both(prefix + "self.value", a.value)
        | _both(prefix + "output.dense", a.dense)
        | _both(prefix + "output.LayerNorm", a.norm)
    )


def tower_tensors(prefix, m, own, cross, feed):
    """One whole text tower: the shared embeddings and the given layers."""
    e = m.embeddings
    t = {
        prefix + "embeddings.word_embeddings.weight": e.word.weight,
        prefix + "embeddings.position_embeddings.weight": e.position.weight,
    }
    t |= _both(prefix + "embeddings.LayerNorm", e.norm)
    for i, (o, x, f) in enumerate(zip(own, cross, feed)):
        p = f"{prefix}encoder.layer.{i}."
        t |= _attention(p + "attention.", o) | _attention(p + "crossattention.", x)
        t |= (
            _both(p + "intermediate.dense", f.up)
            | _both(p + "output.dense", f.down)
            | _both(p + "output.LayerNorm", f.norm)
        )
    return t


def head_tensors(prefix, m, head):
    t = _both(prefix + "transform.dense", head.dense) | _both(
        prefix + "transform.LayerNorm", head.norm
    )
    return t | {
        prefix + "bias": head.bias,
        prefix + "decoder.bias": head.bias,
        prefix + "decoder.weight": m.embeddings.word.weight,
    }


def encoder(prefix, m):
    return tower_tensors(prefix + ".", m, m.encoder_self, m.cross, m.feed)


def caption_decoder(prefix, m):
    return tower_tensors(prefix + ".bert.", m, m.decoder_self, m.cross, m.feed) | head_tensors(
        prefix + ".cls.predictions.", m, m.caption_head
    )


def answer_decoder(prefix, m):
    return tower_tensors(
        prefix + ".bert.", m, m.answer_self, m.answer_cross, m.answer_feed
    ) | head_tensors(prefix + ".cls.predictions.", m, m.answer_head)


def itm_tensors(m):
    return (
        encoder("text_encoder", m)
        | _both("vision_proj", m.vision_proj)
        | _both("text_proj", m.text_proj)
        | _both("itm_head", m.itm_head)
    )


def layouts(m):
    """Folder -> (architecture, tensors)."""
    vision = vision_tensors(m)
    return {
        ".": (
            "BlipForAllTasks",
            vision
            | itm_tensors(m)
            | caption_decoder("text_decoder", m)
            | encoder("question_encoder", m)
            | answer_decoder("answer_decoder", m),
        ),
        "caption": ("BlipForConditionalGeneration", vision | caption_decoder("text_decoder", m)),
        "itm": ("BlipForImageTextRetrieval", vision | itm_tensors(m)),
        "vqa": (
            "BlipForQuestionAnswering",
            vision | encoder("text_encoder", m) | answer_decoder("text_decoder", m),
        ),
    }


# --- the small files


def config(c, architecture):
    text = {
        "model_type": "blip_text_model",
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "encoder_hidden_size": c.width,
        "intermediate_size": c.mlp,
        "num_hidden_layers": c.text_layers,
        "num_attention_heads": c.heads,
        "max_position_embeddings": c.positions,
        "projection_dim": c.projection,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "is_decoder": True,
        "use_cache": True,
        "bos_token_id": vocab.DEC,
        "eos_token_id": vocab.SEP,
        "sep_token_id": vocab.SEP,
        "pad_token_id": vocab.PAD,
    }
    vision = {
        "model_type": "blip_vision_model",
        "hidden_size": c.width,
        "intermediate_size": c.mlp,
        "projection_dim": c.projection,
        "num_hidden_layers": c.vision_layers,
        "num_attention_heads": c.heads,
        "image_size": c.image_size,
        "patch_size": c.patch_size,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "attention_dropout": 0.0,
    }
    return {
        "architectures": [architecture],
        "model_type": "blip",
        "projection_dim": c.projection,
        "image_text_hidden_size": c.projection,
        "text_config": text,
        "vision_config": vision,
        "dtype": "float32",
    }


def preprocessor(c):
    return {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": c.image_size, "width": c.image_size},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def tokenizer(c):
    return {
        "tokenizer_class": "BertTokenizer",
        "processor_class": "BlipProcessor",
        "do_lower_case": True,
        "model_max_length": c.positions,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "bos_token": "[DEC]",
        "additional_special_tokens": ["[ENC]"],
    }


def write(model, out):
    for folder, (architecture, tensors) in layouts(model).items():
        place = out / folder
        place.mkdir(parents=True, exist_ok=True)
        # clone: tied tensors are written once per name, as separate towers need them
        save_file(
            {k: v.detach().float().clone().contiguous() for k, v in tensors.items()},
            place / "model.safetensors",
            metadata={"format": "pt"},
        )
        for name, content in (
            ("config.json", config(model.config, architecture)),
            ("preprocessor_config.json", preprocessor(model.config)),
            ("tokenizer_config.json", tokenizer(model.config)),
        ):
            (place / name).write_text(json.dumps(content, indent=2) + "\n")
        (place / "vocab.txt").write_text("\n".join(vocab.TOKENS) + "\n")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--checkpoint", type=pathlib.Path, required=True)
    p.add_argument("--out", type=pathlib.Path, required=True)
    o = p.parse_args()
    model = load(o.checkpoint)
    write(model, o.out)
    print(
        f"{o.out}: {sum(v.numel() for v in layouts(model)['.'][1].values()) / 1e6:.2f} M weights "
        "with all roles written out"
    )


if __name__ == "__main__":
    main()
