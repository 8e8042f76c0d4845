#!/usr/bin/env python3
"""Writes a small transformer encoder layer as ONNX, and an input for it: what install-toolchain
compiles to check the compiler.

    sample_layer.py layer.onnx input.npz
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH, HEADS = 32, 64, 2


class Graph:
    """Nodes and weights, each named after what made it."""

    def __init__(self):
        self.nodes, self.weights = [], []
        self.random = np.random.default_rng(0)

    def weight(self, value):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator, inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def linear(self, x, columns_in, columns_out):
        matrix = self.random.normal(size=(columns_in, columns_out)) / np.sqrt(columns_in)
        product = self.add("MatMul", [x, self.weight(matrix.astype(np.float32))])
        return self.add("Add", [product, self.weight(np.zeros(columns_out, np.float32))])

    def layer_norm(self, x):
        ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
        return self.add(
            "LayerNormalization", [x, self.weight(ones), self.weight(zeros)], axis=-1, epsilon=1e-5
        )

    def heads(self, x, order):
        split = self.add(
            "Reshape", [x, self.weight(np.array([1, TOKENS, HEADS, WIDTH // HEADS], np.int64))]
        )
        return self.add("Transpose", [split], perm=order)


def build(graph):
    x = graph.layer_norm("x")
    query, key, value = (
        graph.heads(graph.linear(x, WIDTH, WIDTH), order)
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = graph.add(
        "Mul",
        [graph.add("MatMul", [query, key]), graph.weight(np.float32((WIDTH // HEADS) ** -0.5))],
    )
    mixed = graph.add("MatMul", [graph.add("Softmax", [scores], axis=-1), value])
    joined = graph.add(
        "Reshape",
        [
            graph.add("Transpose", [mixed], perm=[0, 2, 1, 3]),
            graph.weight(np.array([1, TOKENS, WIDTH], np.int64)),
        ],
    )
    attended = graph.add("Add", ["x", graph.linear(joined, WIDTH, WIDTH)])
    wide = graph.linear(graph.layer_norm(attended), WIDTH, 4 * WIDTH)
    gate = graph.add("Erf", [graph.add("Div", [wide, graph.weight(np.float32(np.sqrt(2)))])])
    gelu = graph.add(
        "Mul",
        [
            graph.add("Mul", [wide, graph.add("Add", [gate, graph.weight(np.float32(1))])]),
            graph.weight(np.float32(0.5)),
        ],
    )
    return graph.add("Add", [attended, graph.linear(gelu, 4 * WIDTH, WIDTH)])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    graph = Graph()
    output = build(graph)
    shape = [1, TOKENS, WIDTH]
    model = helper.make_graph(
        graph.nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        graph.weights,
    )
    onnx.save(
        helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        sys.argv[1],
    )
    np.savez(sys.argv[2], x=np.random.default_rng(1).normal(size=shape).astype(np.float32))


if __name__ == "__main__":
    main()
