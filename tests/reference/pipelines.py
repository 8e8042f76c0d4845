#!/usr/bin/env python3
"""What transformers' pipelines return for the tiny checkpoints of tests/data/parity:
tests/data/python/pipelines.json.

    python tests/reference/pipelines.py

It runs the tasks that the installed transformers has and keeps the others of the file: with 5.x
image-text-to-text and zero-shot-image-classification, with 4.40 image-to-text and
visual-question-answering.

Two things are put right for the sake of the official code. Questions begin with [ENC] (transformers
leaves [CLS]), as blip does. And zero-shot classification, which transformers does with BlipModel's
heads that no published checkpoint has, gets its logits from the ITC heads of a retrieval
checkpoint, over the temperature that BLIP was trained from, 0.07.
"""

import json
import pathlib
import types

import torch
import transformers
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipForImageTextRetrieval
from transformers import BlipForQuestionAnswering, BlipImageProcessor, BlipProcessor, pipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/parity"
OUT = ROOT / "tests/data/python/pipelines.json"
IMAGES = [str(p) for p in sorted((DATA / "images").iterdir())]
QUESTIONS = ["what is in the picture?", "how many dogs are there?"]
PROMPTS = ["a picture of", "the dog"]
LABELS = ["dog", "red bus", "man sitting on a chair"]
TEMPERATURE = 0.07


def processor(name):
    tokenizer = BertTokenizer(
        str(DATA / name / "vocab.txt"),
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
        model_input_names=["input_ids", "attention_mask"],
    )
    try:
        from transformers.models.blip.image_processing_pil_blip import (
            BlipImageProcessorPil as Images,
        )
    except ImportError:
        Images = BlipImageProcessor
    return BlipProcessor(Images.from_pretrained(DATA / name), tokenizer)


def model(kind, name):
    loaded = kind.from_pretrained(DATA / name, torch_dtype=torch.float32)
    if hasattr(loaded, "text_decoder"):  # one matrix, which transformers 4.40 makes two of
        predictions = loaded.text_decoder.cls.predictions
        predictions.decoder.weight = loaded.text_decoder.bert.embeddings.word_embeddings.weight
    return loaded.eval()


def relative(calls):
    return json.loads(json.dumps(calls).replace(str(ROOT) + "/", ""))


def image_text_to_text():
    p = processor("caption")
    pipe = pipeline(
        "image-text-to-text", model=model(BlipForConditionalGeneration, "caption"), processor=p
    )
    calls = []
    for prompt in PROMPTS:
        for options in (
            {"max_new_tokens": 8},
            {"max_new_tokens": 5, "return_full_text": False},
            {"generate_kwargs": {"num_beams": 3, "max_new_tokens": 6}},
        ):
            for image in IMAGES:
                calls.append(
                    {
                        "images": image,
                        "text": prompt,
                        **options,
                        "result": pipe(images=image, text=prompt, **options),
                    }
                )
    calls.append(
        {
            "images": IMAGES[:2],
            "text": [PROMPTS[0]] * 2,
            "max_new_tokens": 8,
            "result": pipe(images=IMAGES[:2], text=[PROMPTS[0]] * 2, max_new_tokens=8),
        }
    )
    return calls


def image_to_text():
    p = processor("caption")
    pipe = pipeline(
        "image-to-text",
        model=model(BlipForConditionalGeneration, "caption"),
        tokenizer=p.tokenizer,
        image_processor=p.image_processor,
    )
    calls = []
    for options in (
        {},
        {"max_new_tokens": 6},
        {"prompt": "a picture of", "max_new_tokens": 6},
        {"generate_kwargs": {"num_beams": 3, "max_length": 12}},
    ):
        for image in IMAGES:
            calls.append({"images": image, **options, "result": pipe(image, **options)})
    calls.append({"images": IMAGES, "result": pipe(IMAGES)})
    return calls


def visual_question_answering():
    p = processor("vqa")
    m = model(BlipForQuestionAnswering, "vqa")
    generate = m.generate

    def official(self, input_ids, **options):
        input_ids = input_ids.clone()
        input_ids[:, 0] = p.tokenizer.convert_tokens_to_ids("[ENC]")
        return generate(input_ids=input_ids, **options)

    m.generate = types.MethodType(official, m)
    pipe = pipeline(
        "visual-question-answering",
        model=m,
        tokenizer=p.tokenizer,
        image_processor=p.image_processor,
    )
    calls = []
    for question in QUESTIONS:
        for image in IMAGES:
            calls.append(
                {
                    "image": image,
                    "question": question,
                    "result": pipe(image=image, question=question),
                }
            )
    pairs = [{"image": image, "question": QUESTIONS[0]} for image in IMAGES]
    calls.append({"image": pairs, "result": pipe(pairs)})
    return calls


def zero_shot_image_classification():
    p = processor("match")
    retrieval = model(BlipForImageTextRetrieval, "match")
    from transformers import BlipModel

    class Scores(BlipModel):  # what the pipeline takes, with the logits of the retrieval checkpoint
        def forward(self, pixel_values=None, input_ids=None, attention_mask=None, **_):
            cosines = retrieval(
                pixel_values=pixel_values,
                input_ids=input_ids,
                attention_mask=attention_mask,
                use_itm_head=False,
            )[0]
            return types.SimpleNamespace(logits_per_image=cosines / TEMPERATURE)

    pipe = pipeline(
        "zero-shot-image-classification",
        model=Scores(retrieval.config),
        tokenizer=p.tokenizer,
        image_processor=p.image_processor,
    )
    calls = []
    for options in ({}, {"hypothesis_template": "a picture of {}"}):
        for image in IMAGES:
            calls.append(
                {
                    "image": image,
                    "candidate_labels": LABELS,
                    **options,
                    "result": pipe(image, candidate_labels=LABELS, **options),
                }
            )
    calls.append(
        {
            "image": IMAGES,
            "candidate_labels": LABELS,
            "result": pipe(IMAGES, candidate_labels=LABELS),
        }
    )
    return calls


def main():
    known = json.loads(OUT.read_text()) if OUT.exists() else {}
    five = int(transformers.__version__.split(".")[0]) >= 5
    tasks = (
        [image_text_to_text, zero_shot_image_classification]
        if five
        else [image_to_text, visual_question_answering]
    )
    for task in tasks:
        name = task.__name__.replace("_", "-")
        known[name] = {"transformers": transformers.__version__, "calls": relative(task())}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
