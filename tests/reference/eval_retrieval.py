"""What the official evaluation of retrieval gives for the tiny checkpoint tests/data/parity/match
(made by parity.py) and the pictures and captions of tests/data/python/eval/retrieval.json.

usage: eval_retrieval.py BLIP    (a copy of github.com/salesforce/BLIP)
evaluation() and itm_eval() of its train_retrieval.py and pre_caption() and pre_question() of its
data/utils.py run as they are, over transformers' networks. Writes
tests/data/python/eval/retrieval_scores.json.
"""

import argparse
import ast
import datetime
import json
import pathlib
import re
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import BertTokenizer, BlipForImageTextRetrieval
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/python/eval"
CHECKPOINT = ROOT / "tests/data/parity/match"
TOP_K = 10  # fewer, and the official figures depend on how NumPy sorts equal numbers
WORDS = [
    'A dog: "big"  one. ',
    "  What's this?!  It is (maybe) #1 ~ of *two*; isn't it.",
    "Line\nwith  a break.\n",
    "no marks",
    "what colour is the No. 5 bus?  ",
    " ".join("word%d" % i for i in range(60)),
    "a - b , c",
]


def functions(path, names, known):
    """Functions of the official code by their names, with what they need beside them."""
    found = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name in names
    ]
    assert len(found) == len(names), (path, names)
    module = dict(known)
    exec(compile(ast.Module(found, []), str(path), "exec"), module)
    return [module[name] for name in names]


class Logger:
    def __init__(self, **ignored):
        pass

    def log_every(self, items, *ignored):
        return items


class Loader:
    """The data set in batches of one, as the official loader gives it."""

    def __init__(self, annotations, processor, prepared):
        texts, self.txt2img, self.img2txt = [], {}, {}
        for index, one in enumerate(annotations):
            self.img2txt[index] = []
            for caption in one["caption"]:
                self.img2txt[index].append(len(texts))
                self.txt2img[len(texts)] = index
                texts.append(prepared(caption, 30))
        self.dataset = SimpleNamespace(text=texts, image=[one["image"] for one in annotations])
        self._processor = processor

    def __len__(self):
        return len(self.dataset.image)

    def __iter__(self):
        for index, name in enumerate(self.dataset.image):
            picture = Image.open(ROOT / name).convert("RGB")
            yield self._processor(picture, return_tensors="pt").pixel_values, index


def network():
    """Transformers' networks behind the names of the official model."""
    net = BlipForImageTextRetrieval.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    words = (CHECKPOINT / "vocab.txt").read_text().splitlines()
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)
    tokenizer.enc_token_id = words.index("[ENC]")
    return SimpleNamespace(
        eval=lambda: None,
        tokenizer=tokenizer,
        visual_encoder=lambda image: net.vision_model(image).last_hidden_state,
        text_encoder=lambda ids, mode=None, **more: net.text_encoder(ids, **more),
        vision_proj=net.vision_proj,
        text_proj=net.text_proj,
        itm_head=net.itm_head,
    )


def main():
    official = pathlib.Path(sys.argv[1])
    known = {
        "torch": torch,
        "F": F,
        "np": np,
        "time": time,
        "datetime": datetime,
        "args": argparse.Namespace(distributed=False),
        "utils": SimpleNamespace(MetricLogger=Logger, get_world_size=lambda: 1, get_rank=lambda: 0),
    }
    evaluation, itm_eval = functions(
        official / "train_retrieval.py", ["evaluation", "itm_eval"], known
    )
    prepared = functions(official / "data/utils.py", ["pre_caption", "pre_question"], {"re": re})
    annotations = json.loads((DATA / "retrieval.json").read_text())
    loader = Loader(annotations, BlipImageProcessorPil.from_pretrained(CHECKPOINT), prepared[0])
    i2t, t2i = evaluation(network(), loader, torch.device("cpu"), {"k_test": TOP_K})
    figures = itm_eval(i2t, t2i, loader.txt2img, loader.img2txt)
    scores = {
        "top_k": TOP_K,
        "figures": figures,
        "score_matrix_i2t": [[round(float(x), 6) for x in row] for row in i2t],
        "score_matrix_t2i": [[round(float(x), 6) for x in row] for row in t2i],
        "captions": [[text, prepared[0](text, 30)] for text in WORDS],
        "questions": [[text, prepared[1](text)] for text in WORDS],
    }
    lines = ",\n".join(" %s: %s" % (json.dumps(k), json.dumps(v)) for k, v in scores.items())
    (DATA / "retrieval_scores.json").write_text("{\n%s\n}\n" % lines)
    print(figures)


main()
