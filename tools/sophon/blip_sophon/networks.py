"""The networks of NETWORKS.md: what a checkpoint needs, and the ONNX graph of each."""

from dataclasses import dataclass, field

import numpy as np

from .errors import BuildError
from .graph import HIDDEN, INT, Graph
from .layouts import BY_TOKEN, LONG_AXIS, cross_shape
from .towers import (
    TextTower,
    Weights,
    causal_mask,
    cross_keys_values,
    text_inputs,
    vision_tower,
)


@dataclass
class Options:
    """What is fixed when networks are built."""

    slots: int = 32
    prompt: int = 8
    match_rows: list = field(default_factory=lambda: [1, 8])
    text_rows: list = field(default_factory=lambda: [1])
    step_rows: list = field(default_factory=lambda: [1, 3])
    written_out_norm: bool = False
    # The GELU of the picture and of texts that are compared, as arithmetic.
    written_out_gelu: bool = False
    # The picture's attention is one operator of the compiler's, but in layers that have F32.
    fused_attention: bool = False
    # How what texts see of the picture is kept (layouts).
    cross_layout: str = LONG_AXIS
    # Steps of several rows take in which row of the cache each continues.
    reorders: bool = True


@dataclass
class Network:
    role: str
    rows: int
    graph: Graph
    kept_inputs: list  # positions of the inputs and outputs that stay in the chip's memory
    kept_outputs: list

    @property
    def stem(self):
        return self.role if self.rows == 1 else f"{self.role}_{self.rows}"


class Builder:
    def __init__(self, checkpoint, options):
        self.c, self.o = checkpoint, options
        self._check()

    def _check(self):
        for part in ("caption", "answer"):
            if part in self.c.text and self.o.slots > self.c.text[part].positions:
                raise BuildError(
                    f"--slots {self.o.slots} is more than the {self.c.text[part].positions} "
                    f"positions of the {part} decoder"
                )
        if "caption" in self.c.text and not 1 <= self.o.prompt <= self.o.slots:
            raise BuildError(
                f"--prompt-tokens {self.o.prompt} must be 1 to {self.o.slots}, the slots of the "
                "cache"
            )

    def _graph(self, name, gains_by_gelu=False):
        """gains_by_gelu: whether the network is faster with its GELU written out."""
        o = self.o
        return Graph(
            name, o.written_out_norm, gains_by_gelu and o.written_out_gelu, o.fused_attention
        )

    def _layout(self, part):
        """By token is for texts that are compared, whose queries are many."""
        layout = self.o.cross_layout
        return LONG_AXIS if layout == BY_TOKEN and part != "text" else layout

    def _cross_shape(self, part):
        seen = self.c.max_text if part == "answer" else self.c.vision.tokens
        return cross_shape(self.c.text[part], seen, self._layout(part))

    def cache_shape(self, part, rows):
        sizes = self.c.text[part]
        return [rows, 2 * sizes.layers * sizes.heads, self.o.slots, sizes.width // sizes.heads]

    # ---- image

    def vision(self):
        v = self.c.vision
        g = self._graph("vision", gains_by_gelu=True)
        tokens = vision_tower(g, self.c, g.input("pixels", [1, 3, v.image_size, v.image_size]))
        g.output(tokens, "tokens", [1, v.tokens, v.width])
        if self.c.embed_dim:
            first = g.reshape(g.slice(tokens, 1, 0, 1), 1, v.width)
            vector = g.linear(
                first,
                "itc.vision",
                self.c.values("itc.vision.weight"),
                self.c.values("itc.vision.bias"),
            )
            g.output(vector, "image_vector", [1, self.c.embed_dim])
        return Network("vision", 1, g, [], [0])

    def cross(self, part):
        v = self.c.vision
        g = self._graph(f"{part}_cross")
        tokens = g.input("tokens", [1, v.tokens, v.width])
        g.output(
            cross_keys_values(g, self.c, part, tokens, v.tokens, self._layout(part)),
            "cross",
            self._cross_shape(part),
        )
        return Network(g.name, 1, g, [0], [0])

    # ---- encoders

    def _encode(self, g, part, rows, with_image):
        tower = TextTower(g, self.c, part, rows, self.c.max_text, self._layout(part))
        ids, mask = text_inputs(g, rows, self.c.max_text)
        cross = g.input("cross", self._cross_shape(part)) if with_image else None
        return tower.states(tower.layers(tower.embed(ids, tower.first_positions()), mask, cross))

    def _first(self, g, states, rows, width):
        return g.reshape(g.slice(states, 1, 0, 1), rows, width)

    def match(self, rows):
        g, width = self._graph("match", gains_by_gelu=True), self.c.text["text"].width
        states = self._encode(g, "text", rows, with_image=True)
        g.output(
            g.linear(
                self._first(g, states, rows, width),
                "itm",
                self.c.values("itm.weight"),
                self.c.values("itm.bias"),
            ),
            "logits",
            [rows, 2],
        )
        g.output(states, "states", [rows, self.c.max_text, width])
        return Network("match", rows, g, [2], [1])

    def text(self, rows):
        g, width = self._graph("text", gains_by_gelu=True), self.c.text["text"].width
        first = self._first(g, self._encode(g, "text", rows, with_image=False), rows, width)
        vector = g.linear(
            first, "itc.text", self.c.values("itc.text.weight"), self.c.values("itc.text.bias")
        )
        g.output(vector, "text_vector", [rows, self.c.embed_dim])
        return Network("text", rows, g, [], [])

    def question(self):
        g, length = self._graph("question"), self.c.max_text
        states = self._encode(g, "question", 1, with_image=True)
        g.output(states, "states", [1, length, self.c.text["question"].width])
        g.output(
            cross_keys_values(g, self.c, "answer", states, length, self._layout("answer")),
            "answer_cross",
            self._cross_shape("answer"),
        )
        return Network("question", 1, g, [2], [0, 1])

    # ---- decoders

    def prefill(self):
        """The first tokens of the caption prompt in one pass."""
        length, slots = self.o.prompt, self.o.slots
        g = self._graph("caption_prefill")
        tower = TextTower(g, self.c, "caption", 1, length, self._layout("caption"))
        ids = g.input("ids", [1, length], INT)
        last = g.input("last", [1, 1, length])
        cross = g.input("cross", self._cross_shape("caption"))
        cache = []

        def remember(i, keys, values):
            cache.extend([keys, values])
            return keys, values

        x = tower.embed(ids, tower.first_positions())
        x = tower.layers(x, g.constant("causal", causal_mask(length)), cross, remember=remember)
        tower.length = 1
        g.output(tower.logits(g.op("MatMul", last, x)), "logits", [1, tower.sizes.vocab])
        filled = g.concat(cache, axis=1)
        if slots > length:
            heads, h = 2 * tower.sizes.layers * tower.sizes.heads, tower.h
            filled = g.concat(
                [
                    filled,
                    g.constant("empty_slots", np.zeros((1, heads, slots - length, h), np.float32)),
                ],
                axis=2,
            )
        g.output(filled, "cache", self.cache_shape("caption", 1))
        return Network(g.name, 1, g, [2], [1])

    def _at_position(self, g, part, position):
        """What depends on the position p alone, in arithmetic: BM1684 looks up at most one table in
        a network, and that is the words'.

        write, keep [1, 1, C, 1]: 1 and 0 at slot p, 0 and 1 elsewhere; mask [1, 1, 1, C]: 0 up to
        p; place [1, 1, D]: its position row.
        """
        slots = self.o.slots
        scaled = lambda x, factor: g.op("Mul", x, g.scalar(factor))
        behind = g.add(
            g.constant("slots", np.arange(slots, dtype=np.float32).reshape(1, 1, slots, 1)),
            scaled(g.reshape(position, 1, 1, 1, 1), -1.0),
        )
        distance = g.add(g.op("Relu", behind), g.op("Relu", scaled(behind, -1.0)))
        write = g.op("Relu", g.add(scaled(distance, -1.0), g.scalar(1.0)))
        keep = g.add(scaled(write, -1.0), g.scalar(1.0))
        # 1 behind slot p, 0 elsewhere.
        later = g.add(
            g.op("Relu", behind), scaled(g.op("Relu", g.add(behind, g.scalar(-1.0))), -1.0)
        )
        table = g.constant(f"{part}.positions", Weights(self.c, part)("position")[None, :slots])
        place = g.op(
            "ReduceSum", g.op("Mul", table, g.reshape(write, 1, slots, 1)), g.ints([1]), keepdims=1
        )
        return write, keep, g.reshape(scaled(later, HIDDEN), 1, 1, 1, slots), place

    def step(self, part, rows):
        """One token of every row: see NETWORKS.md, Decoding."""
        slots = self.o.slots
        masked = part == "answer"
        g = self._graph(f"{part}_step")
        tower = TextTower(g, self.c, part, rows, 1, self._layout(part))
        sizes, heads = tower.sizes, tower.sizes.heads
        ids, position = g.input("ids", [rows, 1], INT), g.input("position", [1, 1])
        cache = g.input("cache", self.cache_shape(part, rows))
        cross = g.input("cross", self._cross_shape(part))
        cross_mask = g.input("mask", [1, 1, 1, self.c.max_text]) if masked else None
        if rows > 1 and self.o.reorders:
            cache = g.gather(cache, g.input("parents", [rows], INT))

        write, keep, mask, place = self._at_position(g, part, position)
        parts = []

        def fill(i, k, new):
            """cache · keep + new · write: [B, H, C, h]"""
            old = g.slice(cache, 1, (2 * i + k) * heads, (2 * i + k + 1) * heads)
            parts.append(g.add(g.op("Mul", old, keep), g.op("Mul", new, write)))
            return parts[-1]

        x = tower.layers(
            tower.embed(ids, place),
            mask,
            cross,
            cross_mask,
            lambda i, k, v: (fill(i, 0, k), fill(i, 1, v)),
        )
        g.output(tower.logits(x), "logits", [rows, sizes.vocab])
        g.output(g.concat(parts, axis=1), "next_cache", self.cache_shape(part, rows))
        return Network(g.name, rows, g, [2, 3], [1])

    # ---- all

    def networks(self):
        """A function for each network, so that only one graph is in memory at a time."""
        c, o = self.c, self.o
        makers = [self.vision]
        if c.has_itm:
            makers += [
                lambda: self.cross("text"),
                *(lambda r=r: self.match(r) for r in o.match_rows),
            ]
        if c.embed_dim:
            makers += [lambda r=r: self.text(r) for r in o.text_rows]
        if "answer" in c.text:
            makers += [
                lambda: self.cross("question"),
                self.question,
                *(lambda r=r: self.step("answer", r) for r in o.step_rows),
            ]
        if "caption" in c.text:
            makers += [
                lambda: self.cross("caption"),
                self.prefill,
                *(lambda r=r: self.step("caption", r) for r in o.step_rows),
            ]
        return makers
