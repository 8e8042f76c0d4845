"""Proves that the export is a BLIP: transformers loads it without a missing or an unexpected key
and computes the same logits.

    python check_export.py --checkpoint run/last.pt --export demo-model

Needs the package transformers, which nothing else here does.
"""

import argparse
import pathlib

import numpy as np
import torch
from transformers import (
    BertTokenizer,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipImageProcessor,
)

import batches
import evaluate
import texts
import vocab
from export import load

TOLERANCE = 1e-4
# Transformers 5 resizes with torchvision, which rounds some bytes to Pillow's neighbour.
ONE_LEVEL = 1.01 / 255 / 0.26


def open_model(kind, folder):
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    problems = {
        k: v
        for k, v in info.items()
        if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    if problems:
        raise SystemExit(f"{folder}: {problems}")
    return model.eval()


def check(what, ours, theirs, tolerance=TOLERANCE):
    worst = float((ours - theirs).abs().max())
    print(f"{what}: largest difference {worst:.1e} (values up to {float(ours.abs().max()):.1f})")
    if not worst <= tolerance:
        raise SystemExit(f"{what} differs")


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--checkpoint", type=pathlib.Path, required=True)
    p.add_argument("--export", type=pathlib.Path, required=True)
    o = p.parse_args()
    ours = load(o.checkpoint)
    case = evaluate.case(0)
    picture = case.picture()
    pixels = torch.from_numpy(np.stack([batches.model_pixels(picture)]))
    processed = (pixels.permute(0, 3, 1, 2).float() - ours.vision.mean) / ours.vision.std
    theirs = BlipImageProcessor.from_pretrained(o.export)(picture, return_tensors="pt")[
        "pixel_values"
    ]
    check("pixels", processed, theirs, ONE_LEVEL)
    image = ours.vision(pixels)

    tokenizer = BertTokenizer.from_pretrained(o.export)
    question, true = case.questions[0][1], case.statement[1]
    for text in (question, true, "zebra-crossing, isn't it? 42"):
        if tokenizer(text)["input_ids"] != [vocab.CLS] + vocab.encode(text) + [vocab.SEP]:
            raise SystemExit(f"tokenizers differ on '{text}'")

    caption = open_model(BlipForConditionalGeneration, o.export / "caption")
    ids = torch.tensor([[vocab.DEC] + vocab.encode(texts.PROMPT + texts.caption(case.scene))])
    check(
        "caption logits",
        ours.caption_logits(ours.decode(ids, image)),
        caption(processed, input_ids=ids).logits,
    )
    prompt = torch.tensor([[vocab.CLS] + vocab.encode(texts.PROMPT) + [vocab.SEP]])
    out = caption.generate(
        processed, input_ids=prompt, num_beams=3, max_length=20, min_length=5, do_sample=False
    )
    print(
        "  beams 3:",
        tokenizer.decode(out[0], skip_special_tokens=True),
        "| truth:",
        texts.caption(case.scene),
    )

    itm = open_model(BlipForImageTextRetrieval, o.export / "itm")
    ids = torch.tensor([[vocab.CLS] + vocab.encode(true) + [vocab.SEP]])
    check(
        "match logits",
        ours.itm_head(ours.encode(ids, image)[:, 0]),
        itm(ids, processed, use_itm_head=True).itm_score,
    )
    check(
        "cosine",
        torch.tensor(ours.matches(pixels, [true])[1]),
        itm(ids, processed, use_itm_head=False).itm_score.flatten(),
    )

    vqa = open_model(BlipForQuestionAnswering, o.export / "vqa")
    ids = torch.tensor([[vocab.ENC] + vocab.encode(question) + [vocab.SEP]])
    states = vqa.text_encoder(
        input_ids=ids, encoder_hidden_states=vqa.vision_model(processed)[0], return_dict=True
    ).last_hidden_state
    check("question states", ours.encode(ids, image), states)
    start = torch.tensor([[vocab.DEC] + vocab.encode(case.questions[0][2])])
    seen = torch.ones(1, start.shape[1], ids.shape[1], dtype=torch.bool)
    theirs = vqa.text_decoder(
        input_ids=start,
        encoder_hidden_states=states,
        encoder_attention_mask=torch.ones_like(ids),
        return_dict=True,
    ).logits
    check(
        "answer logits",
        ours.answer_logits(ours.answer(start, ours.encode(ids, image), seen)),
        theirs,
    )


if __name__ == "__main__":
    main()
