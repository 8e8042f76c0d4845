"""Makes the small random checkpoints of tests/data/model and what must be read from them.

    python tests/reference/model.py tests/data/model

Every folder holds one model in one of the layouts found in the wild; expected.json says what a
reader must find: sizes, capabilities, and of each tensor its shape, sum and first values under its
canonical name (src/model/checkpoint.h). The weights are stored as f16 or bf16 to keep the files
small; the expectations are of the stored values. Needs torch, transformers and safetensors.
"""

import json
import math
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
)

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "picture",
    "of",
    "cat",
    "dog",
    "red",
    "blue",
    "##s",
    "is",
    "?",
] + [f"w{i}" for i in range(110)]
ROWS = 130  # of the word embeddings: [DEC] and [ENC] follow the 125 tokens, three rows are padding


def config(vision_width=48, text_width=32, layers=2, image=32, text_heads=2, **extra):
    return BlipConfig(
        vision_config=dict(
            hidden_size=vision_width,
            intermediate_size=40,
            num_hidden_layers=layers,
            num_attention_heads=4,
            image_size=image,
            patch_size=8,
        ),
        text_config=dict(
            hidden_size=text_width,
            intermediate_size=56,
            num_hidden_layers=layers,
            num_attention_heads=text_heads,
            vocab_size=ROWS,
            max_position_embeddings=24,
            bos_token_id=len(VOCABULARY),
            sep_token_id=3,
        ),
        image_text_hidden_size=20,
        **extra,
    )


def randomize(model, dtype):
    """Random weights that the stored type holds exactly, so that sums can be compared to the last
    bit or so.
    """
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((torch.randn(p.shape) * 0.3).to(dtype).float())
    return model.eval()


# --- canonical names, taken from the modules (not from state-dict names, which are what is tested)


def pair(name, module):
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def vision_tower(v):
    e = v.embeddings
    out = {
        "vision.class_token": e.class_embedding[0, 0],
        "vision.position": e.position_embedding[0],
    }
    out |= pair("vision.patch", e.patch_embedding) | pair("vision.norm", v.post_layernorm)
    for i, layer in enumerate(v.encoder.layers):
        for name, module in (
            ("norm1", layer.layer_norm1),
            ("qkv", layer.self_attn.qkv),
            ("proj", layer.self_attn.projection),
            ("norm2", layer.layer_norm2),
            ("fc1", layer.mlp.fc1),
            ("fc2", layer.mlp.fc2),
        ):
            out |= pair(f"vision.{i}.{name}", module)
    return out


def text_tower(name, bert, head=None):
    e = bert.embeddings
    out = {
        f"{name}.word": e.word_embeddings.weight,
        f"{name}.position": e.position_embeddings.weight,
    } | pair(f"{name}.norm", e.LayerNorm)
    for i, layer in enumerate(bert.encoder.layer):
        for kind, attention in (("self", layer.attention), ("cross", layer.crossattention)):
            for part, module in (
                ("q", attention.self.query),
                ("k", attention.self.key),
                ("v", attention.self.value),
                ("out", attention.output.dense),
                ("norm", attention.output.LayerNorm),
            ):
                out |= pair(f"{name}.{i}.{kind}.{part}", module)
        for part, module in (
            ("fc1", layer.intermediate.dense),
            ("fc2", layer.output.dense),
            ("norm", layer.output.LayerNorm),
        ):
            out |= pair(f"{name}.{i}.{part}", module)
    if head is not None:
        p = head.predictions
        out |= pair(f"{name}.head.dense", p.transform.dense) | pair(
            f"{name}.head.norm", p.transform.LayerNorm
        )
        out[f"{name}.head.bias"] = p.decoder.bias
    return out


def heads(model):
    return (
        pair("itm", model.itm_head)
        | pair("itc.vision", model.vision_proj)
        | pair("itc.text", model.text_proj)
    )


def facts(tensor):
    flat = tensor.detach().double().flatten().tolist()
    return {"shape": list(tensor.shape), "sum": math.fsum(flat), "first": flat[:3]}


def expect(tensors, format, type, **info):
    return {
        "format": format,
        "type": type,
        "info": info,
        "tensors": {k: facts(v) for k, v in tensors.items()},
    }


# --- layouts


def official(state):
    """salesforce/BLIP's names of a state dict that has transformers'."""
    renamed = {}
    for name, value in state.items():
        for old, new in (
            ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
            ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
            ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
            ("vision_model.post_layernorm", "visual_encoder.norm"),
            ("vision_model.encoder.layers", "visual_encoder.blocks"),
            ("self_attn.projection", "attn.proj"),
            ("self_attn", "attn"),
            ("layer_norm", "norm"),
        ):
            name = name.replace(old, new)
        renamed[name] = value
    for tower in ("text_encoder.", "text_decoder.bert."):
        if any(name.startswith(tower) for name in renamed):
            renamed[tower + "embeddings.position_ids"] = torch.arange(24)[None]
    return renamed


def halved(state, dtype):
    return {k: v.detach().to(dtype) if v.is_floating_point() else v for k, v in state.items()}


def caption(root):
    torch.manual_seed(1)
    model = randomize(BlipForConditionalGeneration(config()), torch.float16)
    folder = root / "caption"
    # 40 px: 5 x 5 patches.
    BlipProcessor(BlipImageProcessor(size={"height": 40, "width": 40}), bert(root)).save_pretrained(
        folder
    )
    model.half().save_pretrained(folder)
    model.float()
    vocabulary(folder / "vocab.txt")
    (folder / "tokenizer.json").unlink()
    e = model.vision_model.embeddings
    interpolated = e.interpolate_pos_encoding(torch.zeros(1, 26, 48), 40, 40)[0]
    tensors = vision_tower(model.vision_model) | text_tower(
        "caption", model.text_decoder.bert, model.text_decoder.cls
    )
    tensors["vision.position"] = interpolated
    return expect(
        tensors,
        "safetensors",
        "f16",
        image_size=40,
        can_caption=True,
        vision_eps=1e-5,
        text_heads=2,
        name="caption",
        parts=["vision", "caption_decoder"],
    )


def retrieval(root):
    torch.manual_seed(2)
    model = randomize(BlipForImageTextRetrieval(config(layers=1)), torch.bfloat16)
    folder = root / "retrieval"
    model.bfloat16().save_pretrained(folder, max_shard_size="30KB")
    model.float()
    bert(root).save_pretrained(folder)  # tokenizer.json only
    tensors = (
        vision_tower(model.vision_model) | text_tower("text", model.text_encoder) | heads(model)
    )
    return expect(
        tensors,
        "safetensors",
        "bf16",
        image_size=32,
        can_match_itm=True,
        can_match_itc=True,
        embed_dim=20,
        vision_eps=1e-5,
        text_heads=2,
        name="retrieval",
        parts=["vision", "text_encoder"],
    )


def vqa(root):
    """transformers' VQA needs one width; saved as two .bin shards, tied weights under both of their
    names.
    """
    torch.manual_seed(3)
    model = randomize(BlipForQuestionAnswering(config(vision_width=32, layers=1)), torch.float16)
    folder = root / "vqa"
    folder.mkdir()
    model.config.save_pretrained(folder)
    vocabulary(folder / "vocab.txt")
    state = halved(model.state_dict(), torch.float16)
    names = sorted(state)
    shards = {
        "pytorch_model-00001-of-00002.bin": names[: len(names) // 2],
        "pytorch_model-00002-of-00002.bin": names[len(names) // 2 :],
    }
    for shard, held in shards.items():
        torch.save({k: state[k] for k in held}, folder / shard)
    index = {
        "metadata": {},
        "weight_map": {k: shard for shard, held in shards.items() for k in held},
    }
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    tensors = (
        vision_tower(model.vision_model)
        | text_tower("question", model.text_encoder)
        | text_tower("answer", model.text_decoder.bert, model.text_decoder.cls)
    )
    return expect(
        tensors,
        "torch",
        "f16",
        image_size=32,
        can_ask=True,
        can_rank=True,
        vision_eps=1e-5,
        text_heads=2,
        name="vqa",
        parts=["vision", "question_encoder", "answer_decoder"],
    )


def pretrained(root):
    """An official pre-training checkpoint: ITM/ITC encoder and decoder, momentum towers, queues."""
    torch.manual_seed(4)
    shape = dict(vision_width=64, text_width=64, layers=1, text_heads=1)
    match, decode = BlipForImageTextRetrieval(config(**shape)), BlipForConditionalGeneration(
        config(**shape)
    )
    decode.vision_model = match.vision_model
    randomize(match, torch.float16), randomize(decode, torch.float16)
    state = official(halved(match.state_dict() | decode.state_dict(), torch.float16))
    momentum = {
        "visual_encoder_m.cls_token": torch.zeros(1, 1, 64),
        "text_encoder_m.embeddings.LayerNorm.bias": torch.zeros(64),
        "vision_proj_m.bias": torch.zeros(20),
        "image_queue": torch.zeros(20, 4),
        "text_queue": torch.zeros(20, 4),
        "queue_ptr": torch.zeros(1, dtype=torch.long),
        "temp": torch.tensor(0.07),
    }
    folder = root / "pretrained"
    folder.mkdir()
    torch.save(
        {"model": state | momentum, "epoch": 3, "config": {"image_size": 32, "vit": "tiny"}},
        folder / "model.pth",
    )
    vocabulary(folder / "vocab.txt", OFFICIAL)
    tensors = (
        vision_tower(match.vision_model)
        | text_tower("text", match.text_encoder)
        | heads(match)
        | text_tower("caption", decode.text_decoder.bert, decode.text_decoder.cls)
    )
    return expect(
        tensors,
        "torch",
        "f16",
        image_size=32,
        can_caption=True,
        can_match_itm=True,
        can_match_itc=True,
        embed_dim=20,
        vision_eps=1e-6,
        text_heads=1,
        name="pretrained",
        parts=["vision", "text_encoder", "caption_decoder"],
    )


def combined(root):
    """All roles over one vision tower, as the bundled model is exported; the answer decoder reads a
    32-wide question.
    """
    torch.manual_seed(5)
    ask = randomize(BlipForQuestionAnswering(config(vision_width=32, layers=1)), torch.float16)
    match, write = (
        randomize(kind(config(vision_width=32, layers=1)), torch.float16)
        for kind in (BlipForImageTextRetrieval, BlipForConditionalGeneration)
    )
    state = {}
    for prefix, module in (
        ("vision_model.", match.vision_model),
        ("text_encoder.", match.text_encoder),
        ("itm_head.", match.itm_head),
        ("vision_proj.", match.vision_proj),
        ("text_proj.", match.text_proj),
        ("text_decoder.", write.text_decoder),
        ("question_encoder.", ask.text_encoder),
        ("answer_decoder.", ask.text_decoder),
    ):
        state |= {prefix + k: v for k, v in module.state_dict().items()}
    # An untied output matrix, which has to be read as a tensor of its own.
    state["text_decoder.cls.predictions.decoder.weight"] = untied = (
        (torch.randn(ROWS, 32) * 0.3).half().float()
    )
    folder = root / "combined"
    folder.mkdir()
    save_file({k: v.half().clone() for k, v in state.items()}, folder / "model.safetensors")
    stated = json.loads(match.config.to_json_string())
    stated.pop("architectures", None)
    stated |= {"max_text": 20, "prompt": "a red "}
    (folder / "config.json").write_text(json.dumps(stated))
    vocabulary(folder / "vocab.txt")
    tensors = (
        vision_tower(match.vision_model)
        | text_tower("text", match.text_encoder)
        | heads(match)
        | text_tower("caption", write.text_decoder.bert, write.text_decoder.cls)
        | {"caption.head.weight": untied}
        | text_tower("question", ask.text_encoder)
        | text_tower("answer", ask.text_decoder.bert, ask.text_decoder.cls)
    )
    return expect(
        tensors,
        "safetensors",
        "f16",
        image_size=32,
        can_caption=True,
        can_match_itm=True,
        can_match_itc=True,
        can_ask=True,
        can_rank=True,
        embed_dim=20,
        vision_eps=1e-5,
        text_heads=2,
        max_text=20,
        prompt="a red ",
        name="combined",
        parts=["vision", "text_encoder", "caption_decoder", "question_encoder", "answer_decoder"],
    )


def positions():
    """Position tables resampled by torch, growing and shrinking."""
    torch.manual_seed(6)
    cases = []
    for source, target in ((4, 5), (4, 9), (6, 3), (3, 7), (1, 2), (7, 6)):
        table = torch.randn(1 + source * source, 3)
        grid = table[1:].reshape(1, source, source, 3).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(
            grid, size=(target, target), mode="bicubic", align_corners=False
        )
        result = torch.cat([table[:1], grid.permute(0, 2, 3, 1).reshape(-1, 3)])
        cases.append(
            {
                "from": source,
                "to": target,
                "width": 3,
                "table": table.flatten().tolist(),
                "result": result.flatten().tolist(),
            }
        )
    return cases


def vocabulary(path, words=VOCABULARY):
    path.write_text("\n".join(words) + "\n")


# An official checkpoint has no configuration that says where [DEC] is: its vocabulary and the two
# tokens fill every row.
OFFICIAL = VOCABULARY + [f"w{i}" for i in range(110, 110 + ROWS - 2 - len(VOCABULARY))]


def bert(root):
    path = root / "vocab.txt"
    vocabulary(path)
    tokenizer = BertTokenizerFast(str(path))
    path.unlink()
    return tokenizer


def main():
    root = pathlib.Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    made = {
        maker.__name__: maker(root) for maker in (caption, retrieval, vqa, pretrained, combined)
    }
    (root / "expected.json").write_text(
        json.dumps({"models": made, "positions": positions()}) + "\n"
    )


if __name__ == "__main__":
    main()
