"""Building blocks of ONNX graphs. Each says its shapes and the expression it builds; a graph's
values are their names.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .precision import GELU_END, GELU_POWERS

OPSET = 17
IR_VERSION = 8
# Added to a score that must not be seen: exp() of it is 0, and half precision holds it.
HIDDEN = -10000.0
INT, FLOAT = TensorProto.INT32, TensorProto.FLOAT


class Graph:
    """A graph under construction.

    written_out_norm: LayerNorm as its arithmetic, for a compiler that makes of the operator what
    its chip lacks (BM1684).

    written_out_gelu: GELU as arithmetic, for chips that compute it in halves.

    fused_attention: attention as the compiler knows it for one operator, where it has one.
    """

    def __init__(self, name, written_out_norm=False, written_out_gelu=False, fused_attention=False):
        self.name, self.written_out_norm = name, written_out_norm
        self.written_out_gelu, self.fused_attention = written_out_gelu, fused_attention
        # Before the names of operators that have none of their own: the part and layer they are of.
        self.scope = ""
        self._nodes, self._initializers, self._inputs, self._outputs = [], {}, [], []
        self._count = 0
        self._named = set()

    # ---- ends and constants

    def input(self, name, shape, kind=FLOAT):
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value, name, shape, kind=FLOAT):
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, name, values):
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def ints(self, values):
        return self.constant(
            "i64_" + "_".join(str(v).replace("-", "m") for v in values), np.array(values, np.int64)
        )

    def scalar(self, value):
        return self.constant(
            f"f32_{value!r}".replace("-", "m").replace(".", "_"), np.array([value], np.float32)
        )

    # ---- operators

    def op(self, kind, *inputs, name=None, **attributes):
        self._count += 1
        if name is None or name in self._named:  # the same weights at another place
            name = f"{self.scope}{kind}_{self._count}"
        self._named.add(name)
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def add(self, a, b):
        return self.op("Add", a, b)

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.ints(shape))

    def transpose(self, x, *axes):
        return self.op("Transpose", x, perm=axes)

    def slice(self, x, axis, begin, end):
        return self.op("Slice", x, self.ints([begin]), self.ints([end]), self.ints([axis]))

    def concat(self, parts, axis):
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def gather(self, table, indices):
        """table[indices]: [rows, D], [...] -> [..., D]"""
        return self.op("Gather", table, indices, axis=0)

    def linear(self, x, name, weight, bias):
        """x · weightᵀ + bias: [..., in] -> [..., out]; weight [out, in] as torch keeps it. `name`
        stays that of the result.
        """
        y = self.op("MatMul", x, self.constant(name + ".weight", weight.T))
        return self.op("Add", y, self.constant(name + ".bias", bias), name=name)

    def two_halves(self, x, name, weight):
        """x · weightᵀ with weights as two halves, rounded values and the rest, for a compiler that
        rounds them
        """
        rounded = weight.astype(np.float16).astype(np.float32)
        parts = (
            self.op("MatMul", x, self.constant(f"{of}.weight", values.T), name=of)
            for of, values in ((name, rounded), (name + "_rest", weight - rounded))
        )
        return self.add(*parts)

    def gelu(self, x):
        """0.5 · x · (1 + erf(x / √2)), written as torch exports it, so that compilers know it
        again
        """
        erf = self.op("Erf", self.op("Div", x, self.scalar(1.4142135623730951)))
        return self.op("Mul", self.op("Mul", x, self.add(erf, self.scalar(1.0))), self.scalar(0.5))

    def gelu_of_twice(self, x):
        """GELU of 2 · x as arithmetic, which takes a third of the operator's time: x + |x| less
        what a polynomial is

        All of these the compiler puts into one group with the products around them. It does not do
        so with a Relu, which a clip from 0 would become.
        """
        magnitude = self.op("Abs", x)
        c = self.op("Clip", magnitude, self.scalar(-1.0), self.scalar(GELU_END))
        q = self.op("Mul", c, self.scalar(GELU_POWERS[0]))
        for power in GELU_POWERS[1:-1]:
            q = self.op("Mul", self.add(q, self.scalar(power)), c)
        q = self.add(q, self.scalar(GELU_POWERS[-1]))
        less = self.op("Mul", self.op("Mul", q, q), self.op("Mul", c, self.scalar(-1.0)))
        return self.add(self.add(x, magnitude), less)

    def layer_norm(self, x, name, weight, bias, eps):
        """(x - mean) / √(variance + eps) · weight + bias, over the last axis"""
        weight, bias = self.constant(name + ".weight", weight), self.constant(name + ".bias", bias)
        if not self.written_out_norm:
            return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1], keepdims=1))
        variance = self.op("ReduceMean", self.op("Mul", centred, centred), axes=[-1], keepdims=1)
        deviation = self.op("Sqrt", self.add(variance, self.scalar(float(eps))))
        return self.add(self.op("Mul", self.op("Div", centred, deviation), weight), bias)

    def attention(self, query, keys, values, mask=None, divisor=None):
        """softmax(query · keysᵀ + mask) · values: [b, H, q, h], [b, H, n, h] twice -> [b, H, q, h];
        the query is scaled already, or scores are divided
        """
        scores = self.op(
            "MatMul", query, self.transpose(keys, 0, 1, 3, 2), name=f"{self.scope}scores"
        )
        if divisor is not None:
            scores = self.op("Div", scores, self.scalar(divisor))
        if mask is not None:
            scores = self.op("Add", scores, mask, name=f"{self.scope}scores.masked")
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), values)

    # ---- the whole

    def model(self):
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._initializers.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="blip"
        )
        model.ir_version = IR_VERSION
        return model

    def save(self, path):
        onnx.save(self.model(), str(path))
