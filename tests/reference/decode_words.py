#!/usr/bin/env python3
"""Reference answers for forbidden and forced words and for repeated n-grams in src/decode, over the
toy model of decode.py.

    python3 tests/reference/decode_words.py             # with transformers 5
    python3 tests/reference/decode_words.py --forced    # with transformers 4 (4.52)

The first rewrites words.txt and word_distributions.txt in tests/data/decode, the second forced.txt.
Forced words are constrained beam search, which transformers 5 no longer has. With --out DIR --cases
N --seed S as decode.py.

A line of a case is that of decode.py's texts, then: no_repeat_ngram; the forbidden runs of tokens,
each after its length; and of forced.txt the forced words, each a list of alternatives. A text of
forced.txt says first whether it has all of them.
"""

import argparse
import pathlib
import random
import warnings

import torch
import transformers

import decode
from decode import LOG_STEPS, Toy, cut, f32, number


def runs(sequences):
    return " ".join(
        [str(len(sequences)), *(" ".join(map(str, [len(ids), *ids])) for ids in sequences)]
    )


def toy_of(rng, vocab):
    eos = rng.randrange(1, vocab)
    levels, step = rng.choice(
        [(1 << 18, 2.0**-14), (1 << 18, 2.0**-16), (0, 1.0 / LOG_STEPS), (0, 0.5 / LOG_STEPS)]
    )
    return Toy(
        vocab,
        levels,
        step,
        eos,
        round(rng.choice([0, 0, 0.1, 0.2, 0.3, -0.2]) * (levels or 16 * LOG_STEPS)),
    )


def prompt_of(rng, toy):
    return [
        rng.choice([t for t in range(toy.vocab) if t != toy.eos])
        for _ in range(rng.choice([1, 1, 3, 5]))
    ]


def common(rng, toy, prompt, beams):
    return dict(
        num_beams=beams,
        num_return_sequences=rng.randint(1, beams),
        min_length=rng.choice([0, 1, 3, 5, 8, 12]),
        max_length=len(prompt) + rng.choice([3, 5, 8, 10, 15, 20]),
        length_penalty=f32(rng.choice([1, 1, 1, 0, 2, -1, 0.6])),
        repetition_penalty=f32(rng.choice([1, 1, 1, 1.1, 1.5, 0.8])),
    )


def head(toy, salts, prompt, options):
    return " ".join(
        map(
            str,
            [
                toy.text(),
                len(salts),
                *salts,
                len(prompt),
                *prompt,
                options["num_beams"],
                options["num_return_sequences"],
                options["min_length"],
                options["max_length"],
                number(options["length_penalty"]),
                number(options["repetition_penalty"]),
            ],
        )
    )


def forbidden_runs(rng, toy, texts, prompt):
    """Runs that would be written without the ban, and some at random."""
    found = []
    for _ in range(rng.choice([1, 1, 2, 5, 12])):
        text = rng.choice(texts)
        length = rng.choice([1, 1, 2, 2, 3, 4])
        start = rng.randrange(max(1, len(text) - length))
        found.append(
            text[start : start + length]
            if rng.random() < 0.8
            else [rng.randrange(toy.vocab) for _ in range(length)]
        )
    return [run for run in found if toy.eos not in run]


def word_case(rng):
    """greedy and beams"""
    toy = toy_of(rng, rng.choice([40, 61, 100, 257]))
    prompt = prompt_of(rng, toy)
    options = common(rng, toy, prompt, rng.choice([1, 1, 2, 3, 3, 5]))
    salts = [rng.getrandbits(62) for _ in range(rng.choice([1, 1, 2, 3]))]
    free = decode.run(toy, salts, prompt, do_sample=False, early_stopping=False, **options)
    texts = [cut(ids, len(prompt), toy.eos) for ids in free.sequences.tolist()]
    forbidden = forbidden_runs(rng, toy, texts, prompt) if rng.random() < 0.75 else []
    ngram = rng.choice([0, 1, 2, 2, 3]) if forbidden else rng.choice([1, 2, 3])
    words = dict(bad_words_ids=forbidden) if forbidden else {}
    out = decode.run(
        toy,
        salts,
        prompt,
        do_sample=False,
        early_stopping=False,
        no_repeat_ngram_size=ngram,
        **words,
        **options,
    )
    scores = (
        out.sequences_scores.tolist() if options["num_beams"] > 1 else [0.0] * len(out.sequences)
    )
    lines = [f"{head(toy, salts, prompt, options)} {ngram} {runs(forbidden)}"]
    for ids, score in zip(out.sequences.tolist(), scores):
        ids = cut(ids, len(prompt), toy.eos)
        lines.append(" ".join(map(str, [number(score), len(ids), *ids])))
    return "\n".join(lines)


def distribution_case(rng):
    """The distribution that sampling draws from, the bans among decode.py's processors and
    warpers.
    """
    toy = Toy(rng.choice([24, 40, 64]), 1 << 18, 2.0 ** -rng.choice([14, 16]), 1, 0)
    # Few tokens, so that there are repeated runs.
    prompt = [rng.choice([0, 2, 3, 4, 5]) for _ in range(rng.choice([3, 6, 9]))]
    salt = rng.getrandbits(62)
    temperature, top_k = f32(rng.choice([1, 0.7])), rng.choice([0, 0, 3, 8])
    top_p = f32(rng.choice([1, 0.9, 0.5]))
    repetition, min_length = f32(rng.choice([1, 1.1])), rng.choice([0, 4])
    ngram = rng.choice([0, 1, 2, 3])
    forbidden = [
        [*prompt[len(prompt) - n :], rng.randrange(2, toy.vocab)]
        for n in rng.choices([0, 0, 1, 2], k=rng.choice([1, 4]))
    ]
    settings = min_length, repetition, temperature, top_k, top_p
    bans = {"no_repeat_ngram_size": ngram, "bad_words_ids": forbidden}
    return decode.sampled(toy, salt, prompt, settings, bans, [ngram, runs(forbidden)])


def has_words(forced, ids):
    from transformers.generation.beam_constraints import ConstraintListState

    state = ConstraintListState(constraints(forced))
    state.reset(ids)
    return state.completed


def constraints(forced):
    from transformers import DisjunctiveConstraint, PhrasalConstraint

    return [
        PhrasalConstraint(word[0]) if len(word) == 1 else DisjunctiveConstraint(word)
        for word in forced
    ]


def forced_word(rng, tokens):
    """Alternatives of one to three tokens, of which none begins another; often with a beginning in
    common.
    """
    stem = [rng.choice(tokens) for _ in range(rng.choice([0, 0, 1, 2]))]
    word = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        run = (stem if rng.random() < 0.7 else []) + [
            rng.choice(tokens) for _ in range(rng.choice([1, 1, 2, 3]))
        ]
        if not any(run[: len(other)] == other[: len(run)] for other in word):
            word.append(run)
    return word


def forced_case(rng):
    toy = toy_of(rng, rng.choice([40, 61, 100, 257]))
    prompt = prompt_of(rng, toy)
    options = common(rng, toy, prompt, rng.choice([2, 3, 3, 5]))
    tokens = [t for t in range(toy.vocab) if t != toy.eos]
    if rng.random() < 0.3:  # few, so that words share tokens and begin inside of others
        tokens = rng.sample(tokens, 4)
    left = options["max_length"] - len(prompt)
    forced = []
    for word in [forced_word(rng, tokens) for _ in range(rng.choice([1, 1, 2, 3]))]:
        if sum(max(map(len, w)) for w in [*forced, word]) <= left:
            forced.append(word)
    if not forced:
        return forced_case(rng)
    ngram = rng.choice([0, 0, 0, 3])
    forbidden = [[rng.choice(tokens)]] if rng.random() < 0.2 else []
    if any(run[0] in alternative for run in forbidden for word in forced for alternative in word):
        forbidden = []
    words = dict(bad_words_ids=forbidden) if forbidden else {}
    salts = [rng.getrandbits(62) for _ in range(rng.choice([1, 1, 2, 3]))]
    from transformers.generation.beam_search import BeamHypotheses

    # With texts that lack words beside others it stumbles over what it does not know of the former.
    add = BeamHypotheses.add
    BeamHypotheses.add = lambda self, *args, beam_indices=None, **named: add(
        self, *args, beam_indices=beam_indices or (), **named
    )
    sort = torch.Tensor.sort  # of equal candidates the earlier first, which torch leaves open
    torch.Tensor.sort = lambda values, descending: sort(values, descending=descending, stable=True)
    out = decode.run(
        toy,
        salts,
        prompt,
        do_sample=False,
        early_stopping=False,
        no_repeat_ngram_size=ngram,
        force_words_ids=[word[0] if len(word) == 1 else word for word in forced],
        **words,
        **options,
    )
    torch.Tensor.sort, BeamHypotheses.add = sort, add
    lines = [
        f"{head(toy, salts, prompt, options)} {ngram} {runs(forbidden)} {len(forced)} "
        f"{' '.join(map(runs, forced))}"
    ]
    for ids, score in zip(out.sequences.tolist(), out.sequences_scores.tolist()):
        ids = cut(ids, len(prompt), toy.eos)
        lines.append(
            " ".join(map(str, [int(has_words(forced, ids)), number(score), len(ids), *ids]))
        )
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
    parser.add_argument("--cases", type=int, default=240)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--forced", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.topk = decode.stable_topk  # many tokens of a row tie
    rng = random.Random(args.seed)
    if args.forced:
        kinds = {"forced": [forced_case(rng) for _ in range(args.cases)]}
    else:
        kinds = {
            "words": [word_case(rng) for _ in range(args.cases)],
            "word_distributions": [distribution_case(rng) for _ in range(args.cases // 3)],
        }
    for name, cases in kinds.items():
        (args.out / f"{name}.txt").write_text(f"{len(cases)}\n" + "\n".join(cases) + "\n")


if __name__ == "__main__":
    main()
