#!/usr/bin/env python3
"""Forbidden and forced words and repeated n-grams, and matching with [ENC], of the committed tiny
checkpoints of parity.py, by transformers.

parity_words.py              transformers 5: rewrites tests/data/parity/words.json
parity_words.py --features   transformers 5: rewrites tests/data/parity/features.json, what LAVIS'
BlipFeatureExtractor computes parity_words.py --forced     transformers 4 (4.52), whose constrained
beam search 5 dropped: rewrites tests/data/parity/forced.json
"""

import argparse
import itertools
import json
import pathlib
import random
import warnings

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)
from transformers import LogitsProcessor, LogitsProcessorList

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/parity"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NOISE = 1e-3  # a text is kept if scores moved by up to half of this give the same tokens


class Noise(LogitsProcessor):
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids, scores):
        return (
            scores
            + (torch.rand(scores.shape, generator=self.generator, dtype=scores.dtype) - 0.5) * NOISE
        )


class Checkpoint:
    def __init__(self, name, kind):
        self.name, folder = name, DATA / name
        self.net = kind.from_pretrained(folder, torch_dtype=torch.float32).eval()
        # Tied in the files, which transformers 4 reads as missing.
        if hasattr(self.net, "text_decoder"):
            decoder = self.net.text_decoder
            decoder.cls.predictions.decoder.weight = decoder.bert.embeddings.word_embeddings.weight
        self.tokenizer = BertTokenizer.from_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        self.size = config["vision_config"]["image_size"]
        self.dec, self.sep = (
            config["text_config"]["bos_token_id"],
            config["text_config"]["sep_token_id"],
        )
        self.enc = self.dec + 1

    def pixels(self, name):
        image = (
            Image.open(DATA / "images" / name)
            .convert("RGB")
            .resize((self.size, self.size), Image.Resampling.BICUBIC)
        )
        values = (np.asarray(image, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(
            STD, np.float32
        )
        return torch.from_numpy(values.transpose(2, 0, 1))[None]

    @torch.no_grad()
    def vision(self, name):
        return self.net.vision_model(self.pixels(name)).last_hidden_state

    def words(self, word):
        return self.tokenizer(word, add_special_tokens=False).input_ids

    @torch.no_grad()
    def question(self, name, text):
        ids = self.tokenizer(text, return_tensors="pt").input_ids
        ids[:, 0] = self.enc  # as the official code
        states = self.vision(name)
        return self.net.text_encoder(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
        ).last_hidden_state

    @torch.no_grad()
    def generate(self, prompt, states, options, seed=None, **words):
        inputs = torch.tensor([prompt])
        noise = {} if seed is None else {"logits_processor": LogitsProcessorList([Noise(seed)])}
        out = self.net.text_decoder.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
            eos_token_id=self.sep,
            pad_token_id=0,
            do_sample=False,
            early_stopping=False,
            num_beams=options["beams"],
            num_return_sequences=options["num_return"],
            min_length=options["min_length"],
            max_length=options["max_length"],
            no_repeat_ngram_size=options["no_repeat_ngram"],
            **noise,
            **words,
        )
        texts = []
        for ids in out.tolist():
            texts.append(
                ids[: ids.index(self.sep, len(prompt)) + 1]
                if self.sep in ids[len(prompt) :]
                else ids
            )
        return texts

    def stable(self, *args, **words):
        """The texts, or None where small noise gives others."""
        texts = self.generate(*args, **words)
        return (
            texts
            if all(self.generate(*args, seed=seed, **words) == texts for seed in (1, 2))
            else None
        )


def option_sets(beams):
    for count, ngram in itertools.product(beams, (0, 1, 2)):
        yield dict(
            beams=count,
            num_return=1 if count < 4 else 3,
            min_length=8,
            max_length=20,
            no_repeat_ngram=ngram,
        )


def forbidden_of(rng, model, text):
    """Words of a text that is written freely, in other cases too, and phrases."""
    words = model.tokenizer.decode(text, skip_special_tokens=True).replace("[DEC]", "").split()
    if len(words) < 3:
        return ["dogs"]
    at = rng.randrange(len(words) - 1)
    picked = [
        rng.choice(words),
        rng.choice(words).upper(),
        words[at] + " " + words[at + 1],
        rng.choice(["dogs", "Playing", "zebra"]),
    ]
    picked = [
        word
        for word in picked
        if word.strip() and model.tokenizer.unk_token_id not in model.words(word)
    ]
    return rng.sample(picked, rng.randint(1, len(picked)))


def cases_of(model, starts, beams, rng):
    """starts: (image, prompt ids, states, what the case says of its beginning)."""
    cases, skipped = [], 0
    for image, prompt, states, said in starts:
        for options in option_sets(beams):
            free = model.generate(prompt, states, {**options, "no_repeat_ngram": 0})[0]
            words = (
                forbidden_of(rng, model, free)
                if rng.random() < 0.7 or options["no_repeat_ngram"] == 0
                else []
            )
            bad = {"bad_words_ids": [model.words(word) for word in words]} if words else {}
            results = model.stable(prompt, states, options, **bad)
            if results is None:
                skipped += 1
                continue
            cases.append(
                {
                    "model": model.name,
                    "image": image,
                    **said,
                    "options": options,
                    "forbid_words": words,
                    "results": results,
                }
            )
    print(f"{model.name}: {len(cases)} cases, near ties left out: {skipped}")
    return cases


def prompt_ids(model, prompt):
    return [model.dec, *model.tokenizer(prompt).input_ids[1:-1]]


def write_words(images, rng):
    out = {}
    model = Checkpoint("caption", BlipForConditionalGeneration)
    starts = [
        (name, prompt_ids(model, prompt), model.vision(name), {"prompt": prompt})
        for name in images
        for prompt in ("a picture of ", "the dog is")
    ]
    out["captions"] = cases_of(model, starts, (1, 3, 4), rng)
    model = Checkpoint("vqa", BlipForQuestionAnswering)
    starts = [
        (name, [model.dec], model.question(name, text), {"question": text})
        for name in images[:2]
        for text in ("what is this?", "how many dogs are there?")
    ]
    out["answers"] = cases_of(model, starts, (1, 3), rng)
    model = Checkpoint("match", BlipForImageTextRetrieval)
    out["matches"] = []
    for name, text in itertools.product(
        images, ["two dogs", "a red ball next to a blue hat", "zebra crossing"]
    ):
        ids = model.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            # As the official evaluation: the probability after [ENC], the cosine after [CLS].
            probability, cosine = [
                model.net(
                    pixel_values=model.pixels(name),
                    input_ids=given,
                    attention_mask=torch.ones_like(ids),
                    use_itm_head=itm,
                ).itm_score
                for itm, given in (
                    (True, torch.cat([torch.tensor([[model.enc]]), ids[:, 1:]], 1)),
                    (False, ids),
                )
            ]
        out["matches"].append(
            {
                "model": model.name,
                "image": name,
                "text": text,
                "cosine": cosine[0, 0].item(),
                "probability": torch.softmax(probability, 1)[0, 1].item(),
            }
        )
    (DATA / "words.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


FORCED = [
    ["zebra"],
    ["dogs"],
    ["red ball"],
    ["two dogs|three horses"],
    ["kite|umbrella"],
    ["snow", "Night"],
    ["playing|played"],
    ["cat", "dog|sheep"],
]


def write_forced(images, rng):
    from transformers import DisjunctiveConstraint, PhrasalConstraint
    from transformers.generation.beam_constraints import ConstraintListState

    model, cases, skipped = Checkpoint("caption", BlipForConditionalGeneration), [], 0
    for name, words, beams in itertools.product(images, FORCED, (2, 3, 5)):
        options = dict(
            beams=beams,
            num_return=rng.choice([1, 2]),
            min_length=5,
            max_length=20,
            no_repeat_ngram=rng.choice([0, 0, 3]),
        )
        prompt = prompt_ids(model, "a picture of ")
        ids = [[model.words(one) for one in word.split("|")] for word in words]
        forced = [word[0] if len(word) == 1 else word for word in ids]
        results = model.stable(prompt, model.vision(name), options, force_words_ids=forced)
        if results is None:
            skipped += 1
            continue
        has_words = []
        for text in results:
            state = ConstraintListState(
                [
                    PhrasalConstraint(word[0]) if len(word) == 1 else DisjunctiveConstraint(word)
                    for word in ids
                ]
            )
            state.reset(text)
            has_words.append(state.completed)
        cases.append(
            {
                "model": model.name,
                "image": name,
                "prompt": "a picture of ",
                "options": options,
                "force_words": words,
                "alternatives": ids,
                "results": results,
                "has_words": has_words,
            }
        )
    print(
        f"{len(cases)} cases, of which transformers leaves words out in "
        f"{sum(not all(case['has_words']) for case in cases)}; near ties left out: {skipped}"
    )
    (DATA / "forced.json").write_text(json.dumps({"captions": cases}, separators=(",", ":")) + "\n")


@torch.no_grad()
def write_features(images):
    """Its three modes; a text over the picture begins with [ENC]. Sums and a few values of each
    tensor say enough.
    """
    model, out = Checkpoint("match", BlipForImageTextRetrieval), []

    def add(kind, features, **said):
        rows = features[0].tolist()
        out.append(
            {
                "kind": kind,
                "shape": list(features.shape[1:]),
                "rows": [rows[0], rows[1], rows[-1]],
                "sum": features.sum().item(),
                **said,
            }
        )

    normalize = torch.nn.functional.normalize
    for name in images:
        states = model.vision(name)
        add("image", states, image=name)
        add("image-projected", normalize(model.net.vision_proj(states), dim=-1), image=name)
        for text in [
            "two dogs",
            "a red ball next to a blue hat",
            "A man, and " + "a big red car " * 9,
        ]:
            ids = model.tokenizer(text, return_tensors="pt").input_ids
            mask = torch.ones_like(ids)
            if name == images[0]:
                alone = model.net.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                add("text", alone, text=text)
                add("text-projected", normalize(model.net.text_proj(alone), dim=-1), text=text)
            ids[:, 0] = model.enc
            over = model.net.text_encoder(
                input_ids=ids,
                attention_mask=mask,
                encoder_hidden_states=states,
                encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
            ).last_hidden_state
            add("multimodal", over, image=name, text=text)
    (DATA / "features.json").write_text(
        json.dumps({"model": model.name, "features": out}, separators=(",", ":")) + "\n"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--forced", action="store_true")
    parser.add_argument("--features", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    images = sorted(file.name for file in (DATA / "images").iterdir())
    if args.features:
        write_features(images)
    else:
        (write_forced if args.forced else write_words)(images, random.Random(22))


if __name__ == "__main__":
    main()
