"""BLIP's towers in ONNX: the vision transformer, and BERT with cross-attention. Shapes as in
NETWORKS.md.
"""

import numpy as np

from .graph import HIDDEN, INT
from .layouts import BY_LAYER, BY_TOKEN, LONG_AXIS, cross_shape
from .precision import is_precise

MLP_PART = 512  # of the wide layer


class Weights:
    """The tensors of one part by their canonical names without the part."""

    def __init__(self, checkpoint, part):
        self._checkpoint, self.part = checkpoint, part
        self.sizes = checkpoint.vision if part == "vision" else checkpoint.text[part]

    def __call__(self, name):
        return self._checkpoint.values(f"{self.part}.{name}")

    def has(self, name):
        return f"{self.part}.{name}" in self._checkpoint.tensors

    def pair(self, name):
        return f"{self.part}.{name}", self(name + ".weight"), self(name + ".bias")

    @property
    def head_width(self):
        return self.sizes.width // self.sizes.heads


def query(g, x, name, weight, bias, h):
    """(x · weightᵀ + bias) / √h

    Heads that are 16 or 64 wide scale weights by a power of two, exactly. Others would round
    weights anew, halves too, and scores feel it: precise layers have such weights as two halves.
    """
    scale = np.float32(h**-0.5)
    if np.frexp(scale)[0] == 0.5 or not is_precise(name):
        return g.linear(x, name, weight * scale, bias * scale)
    return g.add(g.two_halves(x, name, weight * scale), g.constant(name + ".bias", bias * scale))


def mlp(g, w, i, x):
    """fc2(gelu(fc1(x))): [1, N, D]

    In parts of the wide layer: a part's weights, and what lies between its two products, stay in
    the chip's own memory. The half of what GELU takes is what the first product gives out, exactly.
    """
    first, weight, bias = w.pair(f"{i}.fc1")
    second, out, out_bias = w.pair(f"{i}.fc2")
    if not g.written_out_gelu:
        return g.linear(g.gelu(g.linear(x, first, weight, bias)), second, out, out_bias)
    total, parts = None, max(1, len(bias) // MLP_PART)
    for part, rows in enumerate(np.array_split(np.arange(len(bias)), parts)):
        half = g.linear(x, f"{first}_{part}", weight[rows] / 2, bias[rows] / 2)
        # The others have a bias too, of zeros: products without one are put into no such group.
        y = g.linear(
            g.gelu_of_twice(half),
            f"{second}_{part}",
            out[:, rows],
            np.zeros_like(out_bias) if part else out_bias,
        )
        total = y if total is None else g.add(total, y)
    return total


# ---- vision


def _vision_layer(g, w, i, x, tokens):
    """x + proj(attention(norm1(x))), then + fc2(gelu(fc1(norm2(x)))): [1, N, D]"""
    d, heads, h = w.sizes.width, w.sizes.heads, w.head_width
    normed = g.layer_norm(x, *w.pair(f"{i}.norm1"), w.sizes.eps)
    qkv, bias = w(f"{i}.qkv.weight"), w(f"{i}.qkv.bias")
    # The compiler knows attention by its division, and knows no F32 in it.
    fused = g.fused_attention and not is_precise(f"vision.{i}.q")
    split = []
    for k, name in enumerate("qkv"):
        part = (normed, f"vision.{i}.{name}", qkv[k * d : (k + 1) * d], bias[k * d : (k + 1) * d])
        y = query(g, *part, h) if name == "q" and not fused else g.linear(*part)
        split.append(g.transpose(g.reshape(y, 1, tokens, heads, h), 0, 2, 1, 3))
    attended = g.attention(*split, divisor=h**0.5 if fused else None)
    context = g.reshape(g.transpose(attended, 0, 2, 1, 3), 1, tokens, d)
    x = g.add(x, g.linear(context, *w.pair(f"{i}.proj")))
    normed = g.layer_norm(x, *w.pair(f"{i}.norm2"), w.sizes.eps)
    return g.add(x, mlp(g, w, i, normed))


def _patches(g, w, checkpoint, pixels, side):
    """The tower's first residual [1, N, D]: class token and patches · weight + bias, all of them +
    position

    Pixels were bytes: as (byte - 128) / 64 halves hold them exactly. Weights are two halves, the
    rounded value and the rest. The class token is a row of zeros until biases and positions are
    added, which saves a copy of the larger result.
    """
    v, patch = w.sizes, w.sizes.patch_size
    mean, std = (
        255 * np.array(values, np.float64).reshape(1, 3, 1, 1)
        for values in (checkpoint.mean, checkpoint.std)
    )
    pixels = g.add(
        g.op("Mul", pixels, g.constant("vision.pixel.factor", np.float32(std / 64))),
        g.constant("vision.pixel.shift", np.float32((mean - 128) / 64)),
    )
    x = g.transpose(g.reshape(pixels, 1, 3, side, patch, side, patch), 0, 2, 4, 1, 3, 5)
    rows = 3 * patch * patch
    x = g.concat(
        [
            g.constant("vision.first", np.zeros((1, 1, rows), np.float32)),
            g.reshape(x, 1, side * side, rows),
        ],
        axis=1,
    )
    exact = w("patch.weight").astype(np.float64)
    weight = np.float32(exact * 64 / std).reshape(v.width, rows)
    table = w("position")[None].copy()
    table[:, :1] += w("class_token").reshape(1, 1, -1)
    table[:, 1:] += np.float32(w("patch.bias") + (exact * (128 - mean) / std).sum((1, 2, 3)))
    return g.add(
        g.two_halves(x, "vision.start.patch", weight), g.constant("vision.position", table)
    )


def vision_tower(g, checkpoint, pixels):
    """[1, 3, S, S] -> tokens [1, N, D]"""
    w = Weights(checkpoint, "vision")
    v = w.sizes
    side = v.image_size // v.patch_size
    if side * v.patch_size != v.image_size:  # a rest that fills no patch is not looked at
        pixels = g.slice(g.slice(pixels, 2, 0, side * v.patch_size), 3, 0, side * v.patch_size)
    g.scope = "vision.start."
    x = _patches(g, w, checkpoint, pixels, side)
    for i in range(v.layers):
        g.scope = f"vision.{i}."
        x = _vision_layer(g, w, i, x, v.tokens)
    g.scope = "vision.end."
    return g.layer_norm(x, *w.pair("norm"), v.eps)


# ---- text


class TextTower:
    """One BERT tower over B rows of T tokens. x is [1, B·T, D], so that every product with weights
    is one of two matrices.
    """

    def __init__(self, g, checkpoint, part, rows, length, layout=LONG_AXIS):
        """layout: how the image's keys and values are kept."""
        self.g, self.w, self.rows, self.length = g, Weights(checkpoint, part), rows, length
        self.layout = layout
        self.sizes, self.h = self.w.sizes, self.w.head_width

    def embed(self, ids, position_rows):
        """norm(word[ids] + position): ids [B, T] -> x; position_rows [1, T, D]"""
        self.g.scope = f"{self.w.part}.start."
        words = self.g.gather(self.g.constant(f"{self.w.part}.word", self.w("word")), ids)
        return self.g.layer_norm(
            self.flat(self.g.add(words, position_rows)), *self.w.pair("norm"), self.sizes.eps
        )

    def flat(self, y):
        """[B, T, ...] -> [1, B·T, D]"""
        return self.g.reshape(y, 1, self.rows * self.length, self.sizes.width)

    def states(self, x):
        """[1, B·T, D] -> [B, T, D]"""
        return x if self.rows == 1 else self.g.reshape(x, self.rows, self.length, self.sizes.width)

    def first_positions(self):
        """Rows 0 ... T-1 of the position table: [1, T, D]"""
        return self.g.constant(f"{self.w.part}.positions", self.w("position")[None, : self.length])

    def project(self, x, name, scaled=False):
        """A query, key or value of every token: x -> [B, H, T, h]"""
        heads = (self.rows, self.length, self.sizes.heads, self.h)
        y = (
            query(self.g, x, *self.w.pair(name), self.h)
            if scaled
            else self.g.linear(x, *self.w.pair(name))
        )
        if self.length == 1:  # nothing to move
            return self.g.reshape(y, self.rows, self.sizes.heads, 1, self.h)
        return self.g.transpose(self.g.reshape(y, *heads), 0, 2, 1, 3)

    def merge(self, context):
        """[B, H, T, h] -> [1, B·T, D]"""
        if self.length != 1:
            context = self.g.transpose(context, 0, 2, 1, 3)
        return self.flat(context)

    def add_and_norm(self, x, y, norm):
        return self.g.layer_norm(self.g.add(x, y), *self.w.pair(norm), self.sizes.eps)

    def self_attention(self, i, x, mask, remember):
        """norm(x + out(attention(q, k, v of x))). remember(i, k, v) gives the keys and values to
        look at.
        """
        queries = self.project(x, f"{i}.self.q", scaled=True)
        keys, values = remember(i, self.project(x, f"{i}.self.k"), self.project(x, f"{i}.self.v"))
        context = self.merge(self.g.attention(queries, keys, values, mask))
        return self.add_and_norm(
            x, self.g.linear(context, *self.w.pair(f"{i}.self.out")), f"{i}.self.norm"
        )

    def cross_attention(self, i, x, cross, mask):
        """norm(x + out(attention(q of x; k, v of the image))). All rows see one image: their tokens
        are queries of one product.
        """
        g, heads, queries = self.g, self.sizes.heads, self.rows * self.length
        q = query(g, x, *self.w.pair(f"{i}.cross.q"), self.h)
        q = g.transpose(g.reshape(q, 1, queries, heads, self.h), 0, 2, 1, 3)
        axis, per, order = {
            LONG_AXIS: (1, heads, (0, 1, 3, 2)),
            BY_TOKEN: (2, heads, (0, 2, 1, 3)),
            BY_LAYER: (0, 1, (0, 2, 1, 3)),
        }[self.layout]
        keys, values = (
            g.transpose(g.slice(cross, axis, k * per, (k + 1) * per), *order)
            for k in (2 * i, 2 * i + 1)
        )
        context = self.flat(g.transpose(g.attention(q, keys, values, mask), 0, 2, 1, 3))
        out, weight, bias = self.w.pair(f"{i}.cross.out")
        bias = bias + weight @ self.w(f"{i}.cross.v.bias")  # which the kept values lack
        return self.add_and_norm(x, g.linear(context, out, weight, bias), f"{i}.cross.norm")

    def layers(self, x, mask=None, cross=None, cross_mask=None, remember=lambda i, k, v: (k, v)):
        for i in range(self.sizes.layers):
            self.g.scope = f"{self.w.part}.{i}.self."
            x = self.self_attention(i, x, mask, remember)
            if cross is not None:
                self.g.scope = f"{self.w.part}.{i}.cross."
                x = self.cross_attention(i, x, cross, cross_mask)
            self.g.scope = f"{self.w.part}.{i}."
            x = self.add_and_norm(x, mlp(self.g, self.w, i, x), f"{i}.norm")
        self.g.scope = f"{self.w.part}.end."
        return x

    def logits(self, x):
        """The language-model head: [1, B, D] -> [B, V]"""
        g, w = self.g, self.w
        x = g.layer_norm(
            g.gelu(g.linear(x, *w.pair("head.dense"))), *w.pair("head.norm"), self.sizes.eps
        )
        weight = w("head.weight" if w.has("head.weight") else "word")
        return g.reshape(
            g.linear(x, f"{w.part}.head", weight, w("head.bias")), self.rows, self.sizes.vocab
        )


def cross_keys_values(g, checkpoint, part, states, count, layout=LONG_AXIS):
    """Keys and values of all layers: states [1, N, Dv] -> cross_shape

    Biases added along the long axis would take longer than the product. The softmax does not feel
    those of keys, for they add the same to every score; and as its weights sum to 1, those of
    values come through it whole: cross_attention adds them behind it.
    """
    w = Weights(checkpoint, part)
    weights = [w(f"{i}.cross.{k}.weight") for i in range(w.sizes.layers) for k in "kv"]
    name = f"{part}.cross_kv.weight"
    if layout == BY_LAYER:
        products = [
            g.op("MatMul", states, g.constant(f"{name}.{i}", weight.T))
            for i, weight in enumerate(weights)
        ]
        y = g.concat(products, 0)
    elif layout == BY_TOKEN:
        y = g.op("MatMul", states, g.constant(name, np.concatenate(weights).T))
    else:
        y = g.op(
            "MatMul", g.constant(name, np.concatenate(weights)[None]), g.transpose(states, 0, 2, 1)
        )
    return g.reshape(y, *cross_shape(w.sizes, count, layout))


def causal_mask(length):
    """[1, 1, T, T]"""
    return np.triu(np.full((1, 1, length, length), HIDDEN, np.float32), 1)


def text_inputs(g, rows, length):
    """ids [B, T] and the additive mask [B, 1, 1, T]"""
    return g.input("ids", [rows, length], INT), g.input("mask", [rows, 1, 1, length])
