#!/usr/bin/env python3
"""Reference answers for src/decode: texts by transformers' own `generate`, distributions by its
logits processors, and answer rankings by torch, all over a toy model whose logits are a hash of the
text so far. The hash gives multiples of a power of two, so that the C++ tests compute the same
floats from a few integers.

    python3 tests/reference/decode.py    # rewrites tests/data/decode/*.txt

A larger set, and the C++ tests over it:

    python3 tests/reference/decode.py --out DIR --cases 5000 --seed 1
    BLIP_DECODE_CASES=DIR test_decode --gtest_filter='Golden.*'
"""

import argparse
import pathlib
import random
import warnings

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

MASK = (1 << 64) - 1
PAD = 0
LOG_STEPS = 1 << 18  # to an octave, where logits are logarithms
TORCH_TOPK = torch.topk


def mix(x):
    """MurmurHash3's 64-bit finaliser, on Python integers or on uint64 arrays."""
    if isinstance(x, int):
        x &= MASK
        x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCD & MASK
        x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
        return x ^ (x >> 33)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        return x ^ (x >> np.uint64(33))


class Toy:
    """The next token's logits, in multiples of `step`: uniform over `levels` of them, or with
    levels = 0 the negative binary logarithm of a uniform number (a few tokens stand out, as from a
    real model). The end token's is moved by eos_bias steps."""

    def __init__(self, vocab, levels, step, eos, eos_bias):
        self.vocab, self.levels, self.step, self.eos, self.eos_bias = (
            vocab,
            levels,
            step,
            eos,
            eos_bias,
        )

    def logits(self, ids, salt):
        h = salt
        for token in ids[-3:]:
            h = mix(h + token + 1)
        h = mix(h + len(ids))
        tokens = np.arange(self.vocab, dtype=np.uint64)
        with np.errstate(over="ignore"):
            values = mix(tokens * np.uint64(0x9E3779B97F4A7C15) + np.uint64(h)) >> np.uint64(24)
        if self.levels:
            values = (values % np.uint64(self.levels)).astype(np.int64)
        else:
            values = (values | np.uint64(1)).astype(np.int64)
            exponent = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1  # exact: 40 bits
            fraction = (values << (40 - exponent)) >> 22 & LOG_STEPS - 1
            values = (39 - exponent) * LOG_STEPS + (LOG_STEPS - 1 - fraction)
        values[self.eos] += self.eos_bias
        return (values * self.step).astype(np.float32)

    def text(self):
        return f"{self.vocab} {self.levels} {number(self.step)} {self.eos} {self.eos_bias}"


class ToyConfig(PretrainedConfig):
    model_type = "toy"


class ToyModel(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, toy):
        super().__init__(ToyConfig(vocab_size=toy.vocab))
        self.toy = toy
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.generation_config = GenerationConfig()

    def prepare_inputs_for_generation(self, input_ids, salt=None, attention_mask=None, **_):
        return {"input_ids": input_ids, "salt": salt}

    def forward(self, input_ids, salt=None, attention_mask=None, return_dict=True):
        rows = [
            self.toy.logits(ids, int(s) & MASK) for ids, s in zip(input_ids.tolist(), salt.tolist())
        ]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None, :])


def stable_topk(values, k, dim=-1, **_):
    """torch.topk, but of equal values the one with the lower index first, which torch leaves
    open.
    """
    ordered, indices = torch.sort(values, dim=dim, descending=True, stable=True)
    return ordered.narrow(dim, 0, k), indices.narrow(dim, 0, k)


def number(x):
    return f"{float(np.float32(x)):.9g}"


def f32(x):
    """The Python float that a C++ float option of this value is."""
    return float(np.float32(x))


def run(toy, salts, prompt, **options):
    inputs = torch.tensor([prompt] * len(salts))
    return ToyModel(toy).generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        salt=torch.tensor(salts),
        eos_token_id=toy.eos,
        pad_token_id=PAD,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )


def run_rounded(seed, *args, **options):
    """run() with the float logarithms inside log_softmax one last place up or down at random. Texts
    whose scores differ only by rounding come out differently, and say nothing about the order of
    equal ones."""
    random_bits = torch.Generator().manual_seed(seed)

    def log_softmax(x, dim):
        shifted = x - x.amax(dim, keepdim=True)
        log_sum = shifted.double().exp().sum(dim, keepdim=True).log().float()
        up = torch.randint(2, log_sum.shape, generator=random_bits).bool()
        return shifted - torch.nextafter(log_sum, torch.where(up, torch.inf, -torch.inf))

    functional, original = torch.nn.functional, torch.nn.functional.log_softmax
    functional.log_softmax = log_softmax
    out = run(*args, **options)
    functional.log_softmax = original
    return out


def cut(ids, prompt_length, eos):
    """Without the padding behind the end token."""
    if eos in ids[prompt_length:]:
        return ids[: ids.index(eos, prompt_length) + 1]
    return ids


def text_case(rng, vocab=None, ties=False):
    logarithmic = vocab is not None or not ties and rng.random() < 0.5
    vocab = vocab or rng.choice([24, 40, 61, 100, 257])
    beams = rng.choice([1, 1, 2, 3, 3, 4, 5, 5, 8])
    if ties:
        levels, step = rng.choice([(2, 1.0), (3, 0.5), (5, 1.0)])
    elif logarithmic:
        levels, step = 0, rng.choice([1.0, 0.5]) / LOG_STEPS
    else:
        levels, step = rng.choice([(1 << 16, 2.0**-12), (1 << 18, 2.0**-14), (1 << 18, 2.0**-16)])
    eos = rng.randrange(1, vocab)
    bias = rng.choice([0, 0, 0.1, 0.2, 0.3, 0.5, -0.2])
    toy = Toy(vocab, levels, step, eos, round(bias * (levels or 16 * LOG_STEPS)))
    prompt = [
        rng.choice([t for t in range(vocab) if t != eos]) for _ in range(rng.choice([1, 1, 3, 5]))
    ]
    options = dict(
        num_beams=beams,
        num_return_sequences=rng.randint(1, beams),
        min_length=rng.choice([0, 1, 3, 5, 8, 12]),
        max_length=len(prompt) + rng.choice([1, 2, 3, 5, 8, 10, 15, 20]),
        length_penalty=f32(rng.choice([1, 1, 1, 0, 2, -1, 0.6])),
        repetition_penalty=f32(rng.choice([1, 1, 1, 1.1, 1.5, 3, 0.8])),
    )
    salts = [rng.getrandbits(62) for _ in range(rng.choice([1, 1, 2, 3, 4]))]
    torch.topk = stable_topk if ties else TORCH_TOPK
    out = run(toy, salts, prompt, do_sample=False, early_stopping=False, **options)
    for seed in range(4 if ties else 0):
        again = run_rounded(
            seed, toy, salts, prompt, do_sample=False, early_stopping=False, **options
        )
        if not torch.equal(out.sequences, again.sequences):
            return text_case(rng, ties=True)
    torch.topk = TORCH_TOPK
    scores = out.sequences_scores.tolist() if beams > 1 else [0.0] * len(out.sequences)
    lines = [
        " ".join(
            map(
                str,
                [
                    toy.text(),
                    len(salts),
                    *salts,
                    len(prompt),
                    *prompt,
                    beams,
                    options["num_return_sequences"],
                    options["min_length"],
                    options["max_length"],
                    number(options["length_penalty"]),
                    number(options["repetition_penalty"]),
                ],
            )
        )
    ]
    for ids, score in zip(out.sequences.tolist(), scores):
        ids = cut(ids, len(prompt), eos)
        lines.append(" ".join(map(str, [number(score), len(ids), *ids])))
    return "\n".join(lines)


def sampled(toy, salt, prompt, settings, more, end):
    """The line of what a token is drawn from. settings: min_length, repetition_penalty,
    temperature, top_k and top_p; more: transformers' others; end: what the line says of them.
    """
    min_length, repetition, temperature, top_k, top_p = settings
    out = run(
        toy,
        [salt],
        prompt,
        do_sample=True,
        num_beams=1,
        max_length=len(prompt) + 1,
        min_length=min_length,
        repetition_penalty=repetition,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        **more,
    )
    words = [
        toy.text(),
        salt,
        len(prompt),
        *prompt,
        min_length,
        number(repetition),
        number(temperature),
        top_k,
        number(top_p),
    ]
    return distribution([*words, *end], out)


def warp_case(rng):
    """The distribution of one sampled token, through all processors and warpers that generate
    builds.
    """
    vocab = rng.choice([10, 24, 40, 64])
    eos = rng.randrange(1, vocab)
    prompt = [
        rng.choice([t for t in range(vocab) if t != eos]) for _ in range(rng.choice([1, 3, 6]))
    ]
    salt = rng.getrandbits(62)
    temperature = f32(rng.choice([1, 1, 0.7, 0.25, 1.9]))
    top_k, top_p = rng.choice([0, 0, 1, 3, 8, 1000]), f32(
        rng.choice([1, 1, 0.9, 0.9, 0.5, 0.31, 0.99])
    )
    min_p = f32(rng.choice([0, 0, 0.02, 0.1, 0.5, 1]))
    # Top-k keeps all that tie with the k-th. Which of several equal tokens top-p cuts is up to
    # torch.sort, so it gets none.
    uniform = [(1 << 18, 2.0**-14), (1 << 18, 2.0**-16)]
    levels, step = rng.choice(
        [(4, 1.0), (16, 0.25)] if top_p == 1 else [*uniform, (0, 1.0 / LOG_STEPS)]
    )
    toy = Toy(vocab, levels, step, eos, 0)
    repetition, min_length = f32(rng.choice([1, 1.1, 2.5])), rng.choice([0, 4])
    settings = min_length, repetition, temperature, top_k, top_p
    return sampled(toy, salt, prompt, settings, {"min_p": min_p}, [number(min_p)])


def distribution(head, out):
    """A case of a distribution: what it was made with, then the tokens that can be drawn."""
    probabilities = torch.softmax(out.scores[0][0], dim=-1)
    kept = [(t, p) for t, p in enumerate(probabilities.tolist()) if p > 0]
    drawn = " ".join(f"{t} {number(p)}" for t, p in kept)
    return " ".join(map(str, [*head, len(kept)])) + "\n" + drawn


def rank_case(rng):
    """rank_answer of salesforce/BLIP: top-k by the first token, then the label-smoothed loss summed
    over an answer's tokens.
    """
    vocab = rng.choice([24, 61, 257])
    bos, eos = 1, 2
    toy = Toy(vocab, 1 << 14, 2.0**-10, eos, 0)
    salt, smoothing = rng.getrandbits(62), f32(rng.choice([0.1, 0.1, 0.1, 0, 0.3]))
    # Few of them: shared and tied first tokens.
    first = [rng.randrange(3, vocab) for _ in range(rng.choice([2, 5, 20]))]
    answers = []
    for _ in range(rng.choice([1, 2, 7, 20, 70])):
        length = rng.choice([0, 1, 1, 2, 3, 5])
        answers.append(
            [
                bos,
                *[rng.choice(first) if i == 0 else rng.randrange(3, vocab) for i in range(length)],
                eos,
            ]
        )
    if len(answers) > 6:
        answers[3] = answers[1]  # a duplicate
        answers[4] = answers[2][:-1] + [5, eos]  # a prefix
    keep = rng.choice([1, 2, 5, 128])
    logits = torch.from_numpy(toy.logits([bos], salt))[None]
    first_probability = torch.softmax(logits, dim=1).index_select(
        1, torch.tensor([a[1] for a in answers])
    )
    kept = first_probability.topk(min(keep, len(answers)), dim=1)[1][0].tolist()
    width = max(len(answers[i]) for i in kept)
    targets = torch.full((len(kept), width), -100)
    scores = torch.zeros(len(kept), width, vocab)
    for row, i in enumerate(kept):
        targets[row, : len(answers[i])] = torch.tensor(answers[i])
        for position in range(len(answers[i])):
            scores[row, position] = torch.from_numpy(toy.logits(answers[i][: position + 1], salt))
    loss = (
        torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing)(
            scores[:, :-1].reshape(-1, vocab), targets[:, 1:].reshape(-1)
        )
        .view(len(kept), -1)
        .sum(1)
    )
    order = torch.sort(loss, stable=True)[1].tolist()
    lines = [
        " ".join(map(str, [toy.text(), salt, keep, number(smoothing), len(answers), len(kept)]))
    ]
    lines += [" ".join(map(str, [len(a), *a])) for a in answers]
    lines.append(" ".join(f"{kept[i]} {number(loss[i])}" for i in order))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parents[1] / "data" / "decode",
    )
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=20)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    kinds = {
        "texts": [text_case(rng) for _ in range(args.cases)]
        + [text_case(rng, vocab=30524) for _ in range(args.cases // 50)],
        "ties": [text_case(rng, ties=True) for _ in range(args.cases // 5)],
        "distributions": [warp_case(rng) for _ in range(args.cases // 5)],
        "rankings": [rank_case(rng) for _ in range(args.cases // 8)],
    }
    for name, cases in kinds.items():
        (args.out / f"{name}.txt").write_text(f"{len(cases)}\n" + "\n".join(cases) + "\n")


if __name__ == "__main__":
    main()
