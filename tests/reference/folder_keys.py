#!/usr/bin/env python3
"""The JSON files of model folders with all their keys, into tests/data/model/folder_keys.json.

    python tests/reference/folder_keys.py tests/data/model/folder_keys.json

Adds what save_pretrained of the installed transformers writes (run it with 4.40 and with 5), and
folders as Salesforce published them: every key that transformers' configurations had then, with the
values of those models. Needs transformers; no torch.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers  # noqa: E402
from transformers import (  # noqa: E402
    BertTokenizerFast,
    BlipConfig,
    BlipTextConfig,
    BlipVisionConfig,
    GenerationConfig,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]


def files_of(folder):
    return {
        f.name: json.loads(f.read_text(encoding="utf-8"))
        for f in sorted(pathlib.Path(folder).glob("*.json"))
        if f.name != "tokenizer.json"
    }


def saved():
    config = BlipConfig(
        vision_config={"hidden_size": 48, "num_attention_heads": 4},
        text_config={"hidden_size": 32, "vocab_size": 130, "num_attention_heads": 2},
        architectures=["BlipForConditionalGeneration"],
    )
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        GenerationConfig.from_model_config(config.text_config).save_pretrained(folder)
        path = pathlib.Path(folder, "vocab.txt")
        path.write_text("\n".join(WORDS) + "\n")
        tokenizer = BertTokenizerFast.from_pretrained(folder)
        tokenizer.add_tokens(["<sks>"])
        tokenizer.save_pretrained(folder)
        try:
            from transformers import BlipImageProcessor

            processor = BlipImageProcessor()
        except ImportError:
            from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

            processor = BlipImageProcessorPil()
        processor.save_pretrained(folder)
        return files_of(folder)


def published(architecture, image_size, width, layers, heads):
    """The nested configurations were written whole, the outer one as it is today."""
    vision = BlipVisionConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=image_size,
    )
    text = BlipTextConfig(num_attention_heads=12, encoder_hidden_size=width)
    outer = {
        "_commit_hash": None,
        "architectures": [architecture],
        "image_text_hidden_size": 256,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "logit_scale_init_value": 2.6592,
        "model_type": "blip",
        "projection_dim": 512,
        "torch_dtype": "float32",
        "transformers_version": None,
        "text_config": text.to_dict(),
        "vision_config": vision.to_dict(),
    }
    pictures = {
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "BlipImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "processor_class": "BlipProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": image_size, "width": image_size},
        "size_divisor": 32,
    }
    names = {
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }
    tokenizer = names | {
        "do_basic_tokenize": True,
        "do_lower_case": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 512,
        "name_or_path": "bert-base-uncased",
        "never_split": None,
        "processor_class": "BlipProcessor",
        "special_tokens_map_file": None,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
    }
    return {
        "config.json": outer,
        "preprocessor_config.json": pictures,
        "tokenizer_config.json": tokenizer,
        "special_tokens_map.json": names,
    }


def main():
    path = pathlib.Path(sys.argv[1])
    folders = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    version = transformers.__version__
    folders["transformers " + version] = saved()
    if version.startswith("4."):
        for size, (width, layers, heads) in {
            "base": (768, 12, 12),
            "large": (1024, 24, 16),
        }.items():
            folders["blip-image-captioning-" + size] = published(
                "BlipForConditionalGeneration", 384, width, layers, heads
            )
            folders["blip-itm-" + size] = published(
                "BlipForImageTextRetrieval", 384, width, layers, heads
            )
        folders["blip-vqa-base"] = published("BlipForQuestionAnswering", 384, 768, 12, 12)
        folders["blip-vqa-capfilt-large"] = published("BlipForQuestionAnswering", 480, 768, 12, 12)
    path.write_text(json.dumps(folders, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
