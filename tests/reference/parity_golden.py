"""What transformers and torch say of a model's pictures and texts, as one JSON file and one file of
raw float32 tensors.
"""

import json
import pathlib
import random

import numpy as np
import torch
import torch.nn.functional as F
import parity_attention as attention
from PIL import Image, ImageDraw, ImageFilter
from transformers import LogitsProcessor, LogitsProcessorList

TEXTS = [
    "a cat and a dog on the beach",
    "two dogs",
    "a red ball next to a blue hat",
    "A man riding a horse, in the snow!",
    "what's this?",
    "zebra crossing",
    "a small boat near the house under a yellow sky, and three people walking in the park at night",
]
LONG_TEXT = " ".join(["a big red car and a small white plane"] * 6)
QUESTIONS = [
    "what is this?",
    "what colour is the kite?",
    "how many dogs are there?",
    "is the man next to the bus?",
    "Where is the cat sitting",
]
ANSWERS = [
    "yes",
    "no",
    "two",
    "three",
    "red",
    "blue",
    "a dog",
    "a cat",
    "on the beach",
    "the man",
    "in the snow",
    "yellow and green",
    "zebra",
    "on the table",
    "two dogs",
    "the big red bus",
]
PROMPTS = ["a picture of ", "", "the dog is", "two people"]
NOISE = 1e-3  # a text is stable if scores moved by up to half of this give the same tokens


def draw_picture(rng, width, height):
    """Gradients, shapes, a little blur and noise: neither flat nor white noise."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [
        rng.uniform(40, 215)
        + rng.uniform(-70, 70)
        * np.sin(x / rng.uniform(8, 60) + rng.uniform(0, 6))
        * np.cos(y / rng.uniform(8, 60))
        for _ in range(3)
    ]
    image = Image.fromarray(np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 7)):
        x0, y0 = rng.uniform(0, width), rng.uniform(0, height)
        box = (x0, y0, x0 + rng.uniform(4, width / 2), y0 + rng.uniform(4, height / 2))
        colour = tuple(rng.randrange(256) for _ in range(3))
        rng.choice([draw.ellipse, draw.rectangle])(box, fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(
        0, rng.uniform(0, 12), (height, width, 3)
    )
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def make_pictures(folder, seed, sizes):
    """(width, height, suffix) each; returns the file names."""
    rng = random.Random(seed)
    names = []
    folder.mkdir(parents=True, exist_ok=True)
    for i, (width, height, suffix) in enumerate(sizes):
        name = f"{i}-{width}x{height}.{suffix}"
        options = {"quality": rng.choice([60, 85, 95])} if suffix == "jpg" else {}
        draw_picture(rng, width, height).save(folder / name, **options)
        names.append(name)
    return names


class Noise(LogitsProcessor):
    def __init__(self, seed, amplitude):
        self.generator = torch.Generator().manual_seed(seed)
        self.amplitude = amplitude

    def __call__(self, input_ids, scores):
        return (
            scores
            + (torch.rand(scores.shape, generator=self.generator, dtype=scores.dtype) - 0.5)
            * self.amplitude
        )


class Tensors:
    """Float32 tensors one after the other; the JSON says where."""

    def __init__(self):
        self.parts, self.size = [], 0

    def add(self, tensor):
        values = tensor.detach().to(torch.float32).contiguous().numpy()
        entry = {"offset": self.size, "shape": list(values.shape)}
        self.parts.append(values.tobytes())
        self.size += values.size
        return entry

    def save(self, path):
        path.write_bytes(b"".join(self.parts))


class Reference:
    """One model's answers. Pictures are read by Pillow and prepared by transformers' Pillow image
    processor.
    """

    def __init__(self, model, pictures):
        self.model, self.net, self.folder = model, model.net, pictures
        self.pixels_of, self.vision_of = {}, {}
        self.interpolate = bool(model.shape.table)

    @property
    def decoder(self):
        return self.net.text_decoder

    def pixels(self, name):
        if name not in self.pixels_of:
            image = Image.open(self.folder / name).convert("RGB")
            self.pixels_of[name] = self.model.processor(image, return_tensors="pt").pixel_values
        return self.pixels_of[name]

    @torch.no_grad()
    def vision(self, name):
        if name not in self.vision_of:
            self.vision_of[name] = self.net.vision_model(
                self.pixels(name), interpolate_pos_encoding=self.interpolate
            ).last_hidden_state
        return self.vision_of[name]

    def ids(self, text):
        return self.model.tokenizer(
            text, truncation=True, max_length=35, return_tensors="pt"
        ).input_ids

    # ---- texts

    @torch.no_grad()
    def _generate(self, prompt, states, options, noise=None):
        kwargs = dict(
            num_beams=options["beams"],
            min_length=options["min_length"],
            max_length=options["max_length"],
            length_penalty=options["length_penalty"],
            repetition_penalty=options["repetition_penalty"],
            num_return_sequences=options["num_return"],
            do_sample=False,
            early_stopping=False,
        )
        if noise is not None:
            kwargs["logits_processor"] = LogitsProcessorList([Noise(noise, NOISE)])
        inputs = torch.tensor([prompt] * states.shape[0])
        return self.decoder.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
            eos_token_id=self.model.sep,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **kwargs,
        )

    def _cut(self, ids, prompt_length):
        if self.model.sep in ids[prompt_length:]:
            return ids[: ids.index(self.model.sep, prompt_length) + 1]
        return ids

    def generate(self, prompt, states, options):
        """One list of texts for each row of states, and whether small noise leaves the tokens as
        they are.
        """
        out = self._generate(prompt, states, options)
        tokens = [self._cut(ids, len(prompt)) for ids in out.sequences.tolist()]
        stable = all(
            self._generate(prompt, states, options, seed).sequences.tolist()
            == out.sequences.tolist()
            for seed in (1, 2)
        )
        if options["beams"] > 1:
            scores = out.sequences_scores.tolist()
        else:
            logs = [torch.log_softmax(step, -1) for step in out.logits]
            scores = [
                sum(logs[i][row][t].item() for i, t in enumerate(ids[len(prompt) :]))
                for row, ids in enumerate(tokens)
            ]
        texts = [
            {"ids": ids, "score": score, "text": self.decode_after(ids, len(prompt))}
            for ids, score in zip(tokens, scores)
        ]
        n = options["num_return"]
        return [texts[i : i + n] for i in range(0, len(texts), n)], stable

    def decode_after(self, ids, prompt):
        """The whole is decoded, then the prompt goes: a text may go on inside the prompt's last
        word.
        """
        before, text = self.decode(ids[:prompt]), self.decode(ids)
        assert text.startswith(before), (before, text)
        return text[len(before) :].lstrip(" ") if before else text

    def decode(self, ids):
        # BLIP's own special tokens, which the tokenizer takes for words: a piece of a word would be
        # joined to them.
        ids = [id for id in ids if id not in (self.model.dec, self.model.enc)]
        return self.model.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=True
        )

    def prompt_ids(self, prompt):
        ids = self.ids(prompt)[0].tolist()
        # As transformers: the first token becomes [DEC], [SEP] goes.
        return [self.model.dec, *ids[1:-1]]

    def caption(self, names, prompt, options):
        results, stable = self.generate(
            self.prompt_ids(prompt), torch.cat([self.vision(n) for n in names]), options
        )
        return {
            "images": names,
            "prompt": prompt,
            "options": options,
            "results": results,
            "stable": stable,
        }

    # ---- questions

    def question_ids(self, text):
        ids = self.ids(text)
        ids[:, 0] = self.model.enc  # as the official code
        return ids

    @torch.no_grad()
    def question(self, name, text):
        ids = self.question_ids(text)
        return self.net.text_encoder(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=self.vision(name),
            encoder_attention_mask=torch.ones(self.vision(name).shape[:2], dtype=torch.long),
        ).last_hidden_state

    def ask(self, name, text, options):
        results, stable = self.generate([self.model.dec], self.question(name, text), options)
        return {
            "image": name,
            "question": text,
            "options": options,
            "results": results[0],
            "stable": stable,
        }

    @torch.no_grad()
    def rank(self, name, text, answers, keep):
        """The official ranking: the likeliest first tokens survive, then the label-smoothed loss of
        the whole answer decides.
        """
        states = self.question(name, text)
        mask = torch.ones(states.shape[:2], dtype=torch.long)
        batch = self.model.tokenizer(answers, padding="longest", return_tensors="pt")
        ids = batch.input_ids.clone()
        ids[:, 0] = self.model.dec
        start = self.decoder(
            input_ids=ids[:1, :1], encoder_hidden_states=states, encoder_attention_mask=mask
        ).logits[:, 0]
        first = torch.softmax(start, 1)[0].index_select(0, ids[:, 1])
        kept = first.topk(min(keep, len(answers)))[1]
        rows = ids.index_select(0, kept)
        logits = self.decoder(
            input_ids=rows,
            attention_mask=batch.attention_mask.index_select(0, kept),
            encoder_hidden_states=states.expand(len(kept), -1, -1),
            encoder_attention_mask=mask.expand(len(kept), -1),
        ).logits
        targets = rows.masked_fill(rows == 0, -100)[:, 1:]
        loss = F.cross_entropy(
            logits[:, :-1].transpose(1, 2), targets, reduction="none", label_smoothing=0.1
        ).sum(1)
        final = loss.sort(stable=True)
        # Answers often share their first token: of exactly equal probabilities topk's choice is the
        # reference's.
        left_out = [float(first[i]) for i in range(len(answers)) if i not in kept.tolist()]
        last_kept = float(first[kept].min())
        cut_gap = min([abs(last_kept / p - 1) for p in left_out if p != last_kept], default=1.0)
        gaps = (final.values[1:] - final.values[:-1]).tolist()
        stable = min([cut_gap, *gaps]) > NOISE
        ranking = [
            {"answer": answers[kept[i]], "loss": l}
            for i, l in zip(final.indices.tolist(), final.values.tolist())
        ]
        return {
            "image": name,
            "question": text,
            "answers": answers,
            "keep": keep,
            "ranking": ranking,
            "stable": stable,
        }

    # ---- matching

    @torch.no_grad()
    def match(self, name, text):
        """Padded to 35 as the official code does; the answer must not depend on it."""
        batch = self.model.tokenizer(
            text, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
        )
        inputs = dict(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            pixel_values=self.pixels(name),
            interpolate_pos_encoding=self.interpolate,
        )
        probability = torch.softmax(self.net(use_itm_head=True, **inputs).itm_score, 1)[0, 1].item()
        cosine = self.net(use_itm_head=False, **inputs).itm_score[0, 0].item()
        return {"image": name, "text": text, "probability": probability, "cosine": cosine}

    @torch.no_grad()
    def text_states(self, name, text):
        ids = self.ids(text)
        return self.net.text_encoder(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=self.vision(name),
            encoder_attention_mask=torch.ones(self.vision(name).shape[:2], dtype=torch.long),
        ).last_hidden_state

    @torch.no_grad()
    def image_vector(self, name):
        return F.normalize(self.net.vision_proj(self.vision(name)[:, 0]), dim=-1)[0]

    @torch.no_grad()
    def text_vector(self, text):
        ids = self.ids(text)
        return F.normalize(
            self.net.text_proj(
                self.net.text_encoder(
                    input_ids=ids, attention_mask=torch.ones_like(ids)
                ).last_hidden_state[:, 0]
            ),
            dim=-1,
        )[0]


def decoding_options(
    beams=1, min_length=0, max_length=20, length_penalty=1.0, repetition_penalty=1.0, num_return=1
):
    as_float = lambda x: float(np.float32(x))  # what a C++ float option of this value is
    return dict(
        beams=beams,
        min_length=min_length,
        max_length=max_length,
        length_penalty=as_float(length_penalty),
        repetition_penalty=as_float(repetition_penalty),
        num_return=num_return,
    )


CAPTION_OPTIONS = [
    decoding_options(1),
    decoding_options(3, 5),
    decoding_options(2),
    decoding_options(4, max_length=16),
    decoding_options(5, 8),
    decoding_options(3, 5, num_return=3),
    decoding_options(1, repetition_penalty=1.3),
    decoding_options(3, 10, 12, repetition_penalty=1.2),
    decoding_options(5, length_penalty=2.0, num_return=2),
    decoding_options(2, length_penalty=-0.5),
    decoding_options(1, 9, 9),
]
ANSWER_OPTIONS = [
    decoding_options(3, 1, 10),
    decoding_options(1, 1, 10),
    decoding_options(2, 1, 10),
    decoding_options(5, 3, 10, num_return=5),
    decoding_options(4, 1, 10, repetition_penalty=1.5),
]


def golden(model, path, pictures, names, rng, count):
    """Everything one model's tests compare. count: texts, questions or option sets per kind; rng
    picks which.
    """
    reference, tensors = Reference(model, pictures), Tensors()
    some = lambda items, n: rng.sample(items, min(n, len(items)))
    out = {"path": path, "shape": vars(model.shape), "images": names, "pixels": {}, "vision": {}}
    for name in names:
        out["vision"][name] = tensors.add(reference.vision(name))
    out["pixels"][names[0]] = tensors.add(reference.pixels(names[0]))
    kind = model.shape.kind
    if kind == "caption":
        pairs = [(prompt, options) for options in CAPTION_OPTIONS for prompt in PROMPTS]
        runs = some(pairs, count)
        out["captions"] = [
            reference.caption(names if i % 3 == 0 else [rng.choice(names)], *run)
            for i, run in enumerate(runs)
        ]
    if kind == "match":
        texts = some(TEXTS, count) + [LONG_TEXT]
        out["matches"] = [reference.match(name, text) for name in names for text in texts]
        out["text_states"] = [
            {"image": name, "text": text, "states": tensors.add(reference.text_states(name, text))}
            for name in names[:2]
            for text in texts[:2]
        ]
        out["image_vectors"] = {name: tensors.add(reference.image_vector(name)) for name in names}
        out["text_vectors"] = {text: tensors.add(reference.text_vector(text)) for text in texts}
    if kind == "vqa":
        pairs = [(question, options) for options in ANSWER_OPTIONS for question in QUESTIONS]
        out["answers"] = [reference.ask(rng.choice(names), *run) for run in some(pairs, count)]
        out["question_states"] = [
            {"image": names[0], "text": q, "states": tensors.add(reference.question(names[0], q))}
            for q in some(QUESTIONS, 2)
        ]
        out["ranks"] = [
            reference.rank(name, rng.choice(QUESTIONS), some(ANSWERS, n), keep)
            for name in names
            for n, keep in ((16, 128), (16, 5), (9, 3), (1, 128))
        ]
    out["attentions"] = attention.cases(
        reference, tensors, out.get("captions", []), out.get("answers", [])
    )
    return out, tensors


def drop_unstable(out):
    """For committed goldens: cases decided by less than NOISE are left out, and counted."""
    dropped = 0
    for key in ("captions", "answers", "ranks"):
        kept = [case for case in out.get(key, []) if case["stable"]]
        dropped += len(out.get(key, [])) - len(kept)
        if key in out:
            out[key] = kept
    out["skipped_near_ties"] = dropped
    return out


def write(out, tensors, folder):
    (folder / "golden.json").write_text(
        json.dumps(out, indent=None, separators=(",", ":"), ensure_ascii=True) + "\n"
    )
    tensors.save(folder / "golden.f32")


def folder_size(folder):
    return sum(f.stat().st_size for f in pathlib.Path(folder).rglob("*") if f.is_file())
