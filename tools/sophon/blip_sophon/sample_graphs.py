"""The whole-task graphs of the vendor's BLIP sample, as its export traces them from the official
code.

They are what our networks are compared with: pixels to token ids in one graph. The decoder is
unrolled, every token a copy of its layers; keys and values of earlier tokens and of the image are
used again. Operators and their order are the trace's, which decides what the compiler fuses.
"""

import numpy as np
from onnx import numpy_helper

from .errors import BuildError
from .graph import HIDDEN, INT, Graph
from .towers import Weights, causal_mask

PROMPT = ("[DEC]", "a", "picture", "of")  # compiled in
MIN_LENGTH = 5  # of a caption, prompt included
TEXT_LENGTH = 35


def _softmax_context(g, query, keys, values, mask, heads_width):
    """softmax(query · keysᵀ / √h + mask) · values, heads joined: [1, H, q, h] ... -> [1, q, D]"""
    queries, heads, width = heads_width
    scores = g.op(
        "Div", g.op("MatMul", query, g.transpose(keys, 0, 1, 3, 2)), g.scalar(float(np.sqrt(width)))
    )
    if mask is not None:
        scores = g.add(scores, mask)
    context = g.op("MatMul", g.op("Softmax", scores, axis=-1), values)
    return g.reshape(g.transpose(context, 0, 2, 1, 3), 1, queries, heads * width)


def _vision(g, checkpoint, pixels):
    """[1, 3, S, S] -> [1, N, D]"""
    w = Weights(checkpoint, "vision")
    v, tokens, h = w.sizes, w.sizes.tokens, w.head_width
    patches = g.op(
        "Conv",
        pixels,
        g.constant("patch.weight", w("patch.weight")),
        g.constant("patch.bias", w("patch.bias")),
        kernel_shape=[v.patch_size] * 2,
        strides=[v.patch_size] * 2,
    )
    patches = g.transpose(g.reshape(patches, 1, v.width, tokens - 1), 0, 2, 1)
    x = g.concat([g.constant("class_token", w("class_token").reshape(1, 1, -1)), patches], axis=1)
    x = g.add(x, g.constant("position", w("position")[None]))
    for i in range(v.layers):
        qkv = g.linear(g.layer_norm(x, *w.pair(f"{i}.norm1"), v.eps), *w.pair(f"{i}.qkv"))
        qkv = g.transpose(g.reshape(qkv, 1, tokens, 3, v.heads, h), 2, 0, 3, 1, 4)
        query, keys, values = (
            g.op(
                "Gather", qkv, g.op("Constant", value=numpy_helper.from_array(np.array(k))), axis=0
            )
            for k in range(3)
        )
        context = _softmax_context(g, query, keys, values, None, (tokens, v.heads, h))
        x = g.add(x, g.linear(context, *w.pair(f"{i}.proj")))
        normed = g.layer_norm(x, *w.pair(f"{i}.norm2"), v.eps)
        x = g.add(x, g.linear(g.gelu(g.linear(normed, *w.pair(f"{i}.fc1"))), *w.pair(f"{i}.fc2")))
    return g.layer_norm(x, *w.pair("norm"), v.eps)


class _Text:
    """BERT with cross-attention to states [1, N, Dv], for one row."""

    def __init__(self, g, checkpoint, part, states, count):
        self.g, self.w, self.count = g, Weights(checkpoint, part), count
        self.sizes = self.w.sizes
        self.cross = [
            [
                self._heads(g.linear(states, *self.w.pair(f"{i}.cross.{name}")), count)
                for name in "kv"
            ]
            for i in range(self.sizes.layers)
        ]
        self.past = [None] * self.sizes.layers

    def _heads(self, x, length):
        return self.g.transpose(
            self.g.reshape(x, 1, length, self.sizes.heads, self.w.head_width), 0, 2, 1, 3
        )

    def _attend(self, i, kind, x, length, keys_values, mask):
        query = self._heads(self.g.linear(x, *self.w.pair(f"{i}.{kind}.q")), length)
        context = _softmax_context(
            self.g, query, *keys_values, mask, (length, self.sizes.heads, self.w.head_width)
        )
        return self._add_and_norm(
            x, self.g.linear(context, *self.w.pair(f"{i}.{kind}.out")), f"{i}.{kind}.norm"
        )

    def _add_and_norm(self, x, y, norm):
        return self.g.layer_norm(self.g.add(y, x), *self.w.pair(norm), self.sizes.eps)

    def _remember(self, i, new):
        if self.past[i]:
            new = [self.g.concat(pair, axis=2) for pair in zip(self.past[i], new)]
        self.past[i] = new
        return new

    def __call__(self, ids, begin, length, mask, remember=False):
        """ids [1, T] at positions begin ... -> [1, T, D]"""
        g, w = self.g, self.w
        words = g.gather(g.constant(f"{w.part}.word", w("word")), ids)
        places = g.constant(
            f"{w.part}.position_{begin}", w("position")[None, begin : begin + length]
        )
        x = g.layer_norm(g.add(words, places), *w.pair("norm"), self.sizes.eps)
        for i in range(self.sizes.layers):
            new = [self._heads(g.linear(x, *w.pair(f"{i}.self.{name}")), length) for name in "kv"]
            x = self._attend(
                i, "self", x, length, self._remember(i, new) if remember else new, mask
            )
            x = self._attend(i, "cross", x, length, self.cross[i], None)
            y = g.linear(g.gelu(g.linear(x, *w.pair(f"{i}.fc1"))), *w.pair(f"{i}.fc2"))
            x = self._add_and_norm(x, y, f"{i}.norm")
        return x

    def last_logits(self, x, length):
        """[1, T, D] -> [1, V] of the last token"""
        g, w = self.g, self.w
        x = g.layer_norm(
            g.gelu(g.linear(x, *w.pair("head.dense"))), *w.pair("head.norm"), self.sizes.eps
        )
        weight = w("head.weight" if w.has("head.weight") else "word")
        logits = g.linear(x, f"{w.part}.head", weight, w("head.bias"))
        return g.reshape(g.slice(logits, 1, length - 1, length), 1, self.sizes.vocab)


def _greedy(g, text, checkpoint, prompt, tokens, min_length):
    """Token ids [1, prompt + tokens]. After [SEP] comes [PAD], computed all the same: nothing ends
    an unrolled loop.
    """
    ids = {token: i for i, token in enumerate(checkpoint.vocabulary)}
    missing = [token for token in (*prompt, "[SEP]", "[PAD]") if token not in ids]
    if missing:
        raise BuildError(
            f"{checkpoint.name}: its vocabulary lacks {', '.join(missing)}, which the sample's "
            "graphs have compiled in"
        )
    end, pad = ids["[SEP]"], ids["[PAD]"]
    parts = [g.constant("prompt", np.array([[ids[token] for token in prompt]], np.int64))]
    unfinished, x, begin = None, parts[0], 0
    for _ in range(tokens):
        length = len(prompt) if begin == 0 else 1
        mask = g.constant("causal", causal_mask(length)) if length > 1 else None
        states = text(x, begin, length, mask, remember=True)
        logits, begin = text.last_logits(states, length), begin + length
        if begin < min_length:
            index = g.constant("end_place", np.array([[0, end]], np.int64))
            logits = g.op(
                "ScatterND", logits, index, g.constant("never", np.array([-np.inf], np.float32))
            )
        x = g.op("ArgMax", logits, axis=-1, keepdims=1)
        if unfinished is not None:
            finished = g.op("Sub", g.constant("one", np.ones((1, 1), np.int64)), unfinished)
            x = g.add(
                g.op("Mul", x, unfinished),
                g.op("Mul", finished, g.constant("pad", np.full((1, 1), pad, np.int64))),
            )
        going = g.op(
            "Cast",
            g.op("Not", g.op("Equal", x, g.constant("end", np.full((1, 1), end, np.int64)))),
            to=7,
        )
        unfinished = going if unfinished is None else g.op("Mul", unfinished, going)
        parts.append(x)
    g.output(g.concat(parts, axis=1), "output", [1, len(prompt) + tokens], kind=7)


def _question_mask(g, mask):
    """1 and 0 as [1, T] -> 0 and HIDDEN as [1, 1, 1, T]"""
    hidden = g.op("Sub", g.scalar(1.0), g.op("Cast", g.reshape(mask, 1, 1, 1, TEXT_LENGTH), to=1))
    return g.op("Mul", hidden, g.scalar(HIDDEN))


def _text_inputs(g):
    return g.input("input_ids", [1, TEXT_LENGTH], INT), g.input(
        "attention_mask", [1, TEXT_LENGTH], INT
    )


def _pixels(g, checkpoint):
    side = checkpoint.vision.image_size
    return g.input("pixel_values", [1, 3, side, side])


def caption(checkpoint, tokens, written_out_norm=False):
    """pixels -> ids of the prompt and that many new tokens"""
    g = Graph("blip_cap", written_out_norm)
    text = _Text(
        g,
        checkpoint,
        "caption",
        _vision(g, checkpoint, _pixels(g, checkpoint)),
        checkpoint.vision.tokens,
    )
    _greedy(g, text, checkpoint, PROMPT, tokens, MIN_LENGTH)
    return g


def match(checkpoint, written_out_norm=False):
    """pixels, text -> match probability"""
    g = Graph("blip_itm", written_out_norm)
    pixels, (ids, mask) = _pixels(g, checkpoint), _text_inputs(g)
    text = _Text(g, checkpoint, "text", _vision(g, checkpoint, pixels), checkpoint.vision.tokens)
    states = text(ids, 0, TEXT_LENGTH, _question_mask(g, mask))
    first = g.reshape(g.slice(states, 1, 0, 1), 1, text.sizes.width)
    logits = g.linear(first, "itm", checkpoint.values("itm.weight"), checkpoint.values("itm.bias"))
    g.output(g.reshape(g.slice(g.op("Softmax", logits, axis=1), 1, 1, 2), 1), "output", [1])
    return g


def vision_encoder(checkpoint, written_out_norm=False):
    g = Graph("blip_vqa_venc", written_out_norm)
    g.output(
        _vision(g, checkpoint, _pixels(g, checkpoint)),
        "output",
        [1, checkpoint.vision.tokens, checkpoint.vision.width],
    )
    return g


def question_encoder(checkpoint, written_out_norm=False):
    g = Graph("blip_vqa_tenc", written_out_norm)
    v = checkpoint.vision
    states = g.input("image_embeds", [1, v.tokens, v.width])
    ids, mask = _text_inputs(g)
    text = _Text(g, checkpoint, "question", states, v.tokens)
    g.output(
        text(ids, 0, TEXT_LENGTH, _question_mask(g, mask)),
        "output",
        [1, TEXT_LENGTH, text.sizes.width],
    )
    return g


def answer_decoder(checkpoint, tokens, written_out_norm=False):
    g = Graph("blip_vqa_tdec", written_out_norm)
    states = g.input("question_states", [1, TEXT_LENGTH, checkpoint.text["question"].width])
    text = _Text(g, checkpoint, "answer", states, TEXT_LENGTH)
    _greedy(g, text, checkpoint, ("[DEC]",), tokens, 1)
    return g


def makers(checkpoint, caption_tokens, answer_tokens, written_out_norm=False):
    """The sample's networks that the checkpoint has: file name -> a function that makes the graph.
    Tokens are new ones of a text.
    """
    c, made, norm = checkpoint, {}, written_out_norm
    if "caption" in c.text:
        made["blip_cap"] = lambda: caption(c, caption_tokens, norm)
    if c.has_itm:
        made["blip_itm"] = lambda: match(c, norm)
    if "answer" in c.text:
        made["blip_vqa_venc"] = lambda: vision_encoder(c, norm)
        made["blip_vqa_tenc"] = lambda: question_encoder(c, norm)
        made["blip_vqa_tdec"] = lambda: answer_decoder(c, answer_tokens, norm)
    if not made:
        raise BuildError(f"{c.name} has no part of which the sample has a network")
    return made
