"""Where transformers' towers look: heat maps of words from the cross-attention weights they
return.
"""

import torch


def looked_at(tower, ids, states, layers, **extra):
    """Weights [T, N] of each token of ids over states: mean over heads and the last `layers` layers
    (0 = the later half).
    """
    ids = torch.tensor([ids])
    out = tower(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        encoder_hidden_states=states,
        encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long),
        output_attentions=True,
        **extra,
    )
    chosen = out.cross_attentions[-(layers or (len(out.cross_attentions) + 1) // 2) :]
    return torch.stack([layer[0].mean(0) for layer in chosen]).mean(0)


def words_of(decode, ids, decode_after=None):
    """The text's words, and for each token which of them it is part of (None: of none)."""
    decode_after = decode_after or decode
    words, place = decode_after(ids).split(), []
    for i, token in enumerate(ids):
        so_far = len(decode_after(ids[: i + 1]).split())
        place.append(min(so_far, len(words)) - 1 if decode([token]) else None)
    return words, place


def maps(decode, ids, rows, decode_after=None):
    """rows: [T, N] of the steps that decided ids. One map [P] a word: its tokens' sum over the
    patches, together 1.
    """
    words, place = words_of(decode, ids, decode_after)
    result = torch.zeros(len(words), rows.shape[1] - 1)
    for word, row in zip(place, rows):
        if word is not None:
            result[word] += row[1:]  # without the class token
    return words, result / result.sum(1, keepdim=True)


@torch.no_grad()
def caption_case(reference, tensors, case, layers):
    """case: one of the captions' goldens; its first picture's best text."""
    name, text = case["images"][0], case["results"][0][0]
    start = len(reference.prompt_ids(case["prompt"]))
    rows = looked_at(reference.decoder, text["ids"], reference.vision(name), layers)
    prompt = text["ids"][:start]
    words, weights = maps(
        reference.decode,
        text["ids"][start:],
        rows[start - 1 :],
        lambda ids: reference.decode_after(prompt + ids, start),
    )
    return {
        "image": name,
        "prompt": case["prompt"],
        **named(text),
        "layers": layers,
        "words": words,
        "weights": tensors.add(weights),
    }


@torch.no_grad()
def answer_case(reference, tensors, case, layers):
    name, question, text = case["image"], case["question"], case["results"][0]
    ids = reference.question_ids(question)[0].tolist()
    on_picture = looked_at(reference.net.text_encoder, ids, reference.vision(name), layers)
    on_question = looked_at(
        reference.decoder, text["ids"], reference.question(name, question), layers
    )
    words, weights = maps(reference.decode, text["ids"][1:], on_question @ on_picture)
    # [ENC] is no word.
    question_words, question_weights = maps(reference.decode, ids[1:], on_picture[1:])
    return {
        "image": name,
        "question": question,
        **named(text),
        "layers": layers,
        "words": words,
        "weights": tensors.add(weights),
        "question_words": question_words,
        "question_weights": tensors.add(question_weights),
    }


def named(text):
    return {"text": text["text"], "ids": text["ids"]}


def cases(reference, tensors, captions, answers):
    """Of a few texts, over the later half of the layers, the last and all."""
    return [
        make(reference, tensors, case, layers)
        for make, some in ((caption_case, captions[:4]), (answer_case, answers[:4]))
        for case in some
        for layers in (0, 1, 12)
    ]
