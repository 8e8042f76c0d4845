"""What the official evaluations of retrieval and VQA give for the tiny checkpoints of
tests/data/parity (made by parity.py), for the pictures and texts of tests/data/python/eval.

usage: eval_official.py BLIP    (a copy of github.com/salesforce/BLIP)
evaluation() and itm_eval() of its train_retrieval.py, evaluation() of its train_vqa.py, the forward
pass and ranking of its models/blip_vqa.py, and pre_caption() and pre_question() of its
data/utils.py run as they are, over transformers' networks. Writes
tests/data/python/eval/official.json.
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
from transformers import BertTokenizer, BlipForImageTextRetrieval, BlipForQuestionAnswering
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/python/eval"
MODELS = ROOT / "tests/data/parity"
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
ANSWERS = [
    "yes",
    "no",
    "two",
    "a red ball",
    "cat",
    "the blue boat",
    "sitting on the table",
    "three",
]
CANDIDATES = 5


def functions(path, names, known):
    """Functions and methods of the official code by name, with what they need beside them."""
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
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


def opened(kind, folder):
    net = kind.from_pretrained(folder, dtype=torch.float32).eval()
    words = (folder / "vocab.txt").read_text().splitlines()
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)
    tokenizer.enc_token_id = words.index("[ENC]")
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})  # as init_tokenizer() of the official code
    return net, tokenizer, BlipImageProcessorPil.from_pretrained(folder)


def known_names():
    return {
        "torch": torch,
        "F": F,
        "np": np,
        "re": re,
        "time": time,
        "datetime": datetime,
        "args": argparse.Namespace(distributed=False),
        "utils": SimpleNamespace(MetricLogger=Logger, get_world_size=lambda: 1, get_rank=lambda: 0),
    }


def retrieval(official, pre_caption):
    evaluation, itm_eval = functions(
        official / "train_retrieval.py", ["evaluation", "itm_eval"], known_names()
    )
    net, tokenizer, processor = opened(BlipForImageTextRetrieval, MODELS / "match")
    model = SimpleNamespace(
        eval=lambda: None,
        tokenizer=tokenizer,
        visual_encoder=lambda image: net.vision_model(image).last_hidden_state,
        text_encoder=lambda ids, mode=None, **more: net.text_encoder(ids, **more),
        vision_proj=net.vision_proj,
        text_proj=net.text_proj,
        itm_head=net.itm_head,
    )
    annotations = json.loads((DATA / "retrieval.json").read_text())
    loader = Loader(annotations, processor, pre_caption)
    i2t, t2i = evaluation(model, loader, torch.device("cpu"), {"k_test": TOP_K})
    return {
        "top_k": TOP_K,
        "figures": itm_eval(i2t, t2i, loader.txt2img, loader.img2txt),
        "score_matrix_i2t": [[round(float(x), 6) for x in row] for row in i2t],
        "score_matrix_t2i": [[round(float(x), 6) for x in row] for row in t2i],
    }


class Questions(list):
    """(pixels, [question], [id]) of each question: the official code lets padding of a batch change
    what is generated, so batches are of one.
    """

    dataset = SimpleNamespace(answer_list=ANSWERS)


class Decoder:
    """Today's generate() repeats states for the beams itself; the official code did it before."""

    def __init__(self, decoder):
        self._decoder = decoder

    def __call__(self, *given, **more):
        return self._decoder(*given, **more)

    def generate(self, num_beams, encoder_hidden_states, encoder_attention_mask, **more):
        return self._decoder.generate(
            num_beams=num_beams,
            encoder_hidden_states=encoder_hidden_states[::num_beams],
            encoder_attention_mask=encoder_attention_mask[::num_beams],
            **more,
        )


def vqa(official, pre_question):
    (evaluation,) = functions(official / "train_vqa.py", ["evaluation"], known_names())
    forward, rank_answer, _ = functions(
        official / "models/blip_vqa.py", ["forward", "rank_answer", "tile"], known_names()
    )
    net, tokenizer, processor = opened(BlipForQuestionAnswering, MODELS / "vqa")

    class Model:
        def __init__(self):
            self.tokenizer = tokenizer
            self.text_encoder, self.text_decoder = net.text_encoder, Decoder(net.text_decoder)
            self.visual_encoder = lambda image: net.vision_model(image).last_hidden_state
            self.rank_answer = lambda *given: rank_answer(self, *given)

        def eval(self):
            pass

        def __call__(self, *given, **more):
            return forward(self, *given, **more)

    loader = Questions()
    for row in json.loads((DATA / "questions.json").read_text()):
        picture = Image.open(ROOT / row["image"]).convert("RGB")
        pixels = processor(picture, return_tensors="pt").pixel_values
        loader.append((pixels, [pre_question(row["question"])], torch.tensor([row["question_id"]])))
    results = {}
    for how in ("generate", "rank"):
        config = {"inference": how, "k_test": CANDIDATES}
        results[how] = evaluation(Model(), loader, torch.device("cpu"), config)
    return {"answers": ANSWERS, "candidates": CANDIDATES, **results}


def main():
    official = pathlib.Path(sys.argv[1])
    pre_caption, pre_question = functions(
        official / "data/utils.py", ["pre_caption", "pre_question"], known_names()
    )
    given = {
        **retrieval(official, pre_caption),
        "vqa": vqa(official, pre_question),
        "captions": [[text, pre_caption(text, 30)] for text in WORDS],
        "questions": [[text, pre_question(text)] for text in WORDS],
    }
    lines = ",\n".join(" %s: %s" % (json.dumps(k), json.dumps(v)) for k, v in given.items())
    (DATA / "official.json").write_text("{\n%s\n}\n" % lines)
    print(given["figures"], given["vqa"])


main()
