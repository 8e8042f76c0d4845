"""What of a network is computed more precisely than in half precision, and the part of it that the
compiler has no option for.

The chips multiply halves and can give out the sums as they add them up, in F32; the compiler rounds
them to half. `Lowered` changes that in its own intermediate file, between the two steps of a
deployment. NETWORKS.md, Precision, has the reasons and what each brings.
"""

import re
from dataclasses import dataclass

FIRST_LAYERS = 2  # of the vision tower: what they lose, every later one multiplies
EVERY_LAYER = 1 << 30
# GELU(x) is max(x, 0) - c · q(c)² within 6e-6, where c is |x| / 2, at most the end: the powers of
# q, the last one first. The error of a half is 40 times as large.
GELU_END = 2.4
GELU_POWERS = (
    -0.01394986,
    0.12005046,
    -0.36976189,
    0.39272548,
    0.18061440,
    -0.29653208,
    -0.79987418,
    1.00003047,
)
_OP = re.compile(
    r'^\s*(%\w+) = "(\w+)\.(\w+)"\(([^)]*)\)(?: (\{.*\}))? : \((.*)\) -> (\S+) loc\((#loc\d*)\)\s*$'
)
_TOP = re.compile(r'^\s*%\w+ = "top\.(\w+)"\(.*loc\((#loc\d*)\)\s*$', re.MULTILINE)
_NAME = re.compile(r'^(#loc\d*) = loc\("([^"]*)"\)', re.MULTILINE)
_LAYER = re.compile(r"(\w+)\.(\d+|start|end)\.")
# A tower's last LayerNorm has the name of the output that it is.
_LAST = re.compile(r"(tokens|states)(_|$)")
_HALF = re.compile(r"xf16>")
# Attributes as the compiler writes them.
_CAST = "{round_mode = #tpu<round_mode HalfAwayFromZero>, with_scale = true}"
_ADD = "{do_relu = false, is_scalar = false, relu_limit = -1.000000e+00 : f64}"
_SUB = "{do_relu = false, is_reverse = false, is_scalar = false, relu_limit = -1.000000e+00 : f64}"


def operation_names(mlir):
    """{place: name} of the operations of an MLIR file."""
    return dict(_NAME.findall(mlir))


def is_precise(name, layers=FIRST_LAYERS):
    """Whether an operation is of a layer in which only factors of products are halves: the first
    ones of the picture, all that make numbers to match by.
    """
    layer = _LAYER.match(name)
    if not layer or layer[1] not in ("vision", "text"):
        return False
    return layer[1] == "text" or not layer[2].isdigit() or int(layer[2]) < layers


def has_precise(names):
    return any(map(is_precise, names))


def float_names(top, layers=FIRST_LAYERS):
    """Operations of a top-level MLIR file that are computed in F32: all arithmetic of precise
    layers but products.
    """
    names = operation_names(top)
    kinds = {"LayerNorm", "Softmax", "GELU", "Add", "Mul", "Scale"}
    kinds |= {"Abs", "Clip", "AddConst", "MulConst"}  # of a GELU written out
    found = [(kind, names.get(place, "")) for kind, place in _TOP.findall(top)]
    found = [(name, is_precise(name, layers)) for kind, name in found if kind in kinds]
    some = any(precise for _, precise in found)
    return [name for name, precise in found if precise or some and _LAST.match(name)]


def _is_wide(name, layers):
    """Products that give out F32: all but the MLP's wide layer, which gains little by it and takes
    BM1688 seven times as long.
    """
    return is_precise(name, layers) and not re.search(r"\.fc1(_|$)", name)


def _is_split(name):
    """Products that take what comes in as two halves, x rounded and the rest: those that make
    queries and keys.

    A softmax makes of the absolute error of a score a relative one, and scores are large. In the
    vision tower that pays in the first layer.
    """
    return bool(re.match(r"(vision\.0|text\.\d+\.(self|cross))\.[qk](_|$)", name))


@dataclass
class _Op:
    result: str
    dialect: str
    kind: str
    operands: list
    attributes: str
    types: list
    type: str
    place: str

    def line(self):
        return (
            f'    {self.result} = "{self.dialect}.{self.kind}"({", ".join(self.operands)}) '
            f"{self.attributes} : "
            f'({", ".join(self.types)}) -> {self.type} loc({self.place})'
        )


def _f32(kind):
    return _HALF.sub("xf32>", kind)


class Lowered:
    """A lowered network as the compiler writes it: one operation a line, weights in an npz file
    beside it.
    """

    def __init__(self, path, layers=FIRST_LAYERS):
        self._path, self._layers = path, layers
        text = path.read_text(encoding="utf-8")
        self._names = operation_names(text)
        self._weights_file = path.parent / re.search(r'module.weight_file = "([^"]*)"', text)[1]
        self._lines = [self._parse(line) for line in text.splitlines()]
        self._wide_weights = set()  # names
        self._count = 0
        self._rests, self._inserted = {}, set()
        self._index()

    @staticmethod
    def _parse(line):
        m = _OP.match(line)
        if not m:
            return line
        return _Op(
            m[1],
            m[2],
            m[3],
            m[4].split(", ") if m[4] else [],
            m[5] or "",
            re.findall(r"tensor<[^>]*>|none", m[6]),
            m[7],
            m[8],
        )

    def _index(self):
        self._ops = {line.result: line for line in self._lines if isinstance(line, _Op)}
        self._none = next(op.result for op in self._ops.values() if op.kind == "None")

    def _users(self, value):
        return [op for op in self._lines if isinstance(op, _Op) and value in op.operands]

    def _insert(self, after, dialect_kind, operands, kind, attributes):
        """A new operation behind the one called `after`."""
        self._count += 1
        place, name = f"#loc9{self._count:05}", f"blip_{self._count}"
        self._names[place] = name
        types = ["none" if value == self._none else self._ops[value].type for value in operands]
        op = _Op(f"%{name}", "tpu", dialect_kind, operands, attributes, types, kind, place)
        self._lines.insert(self._lines.index(self._ops[after]) + 1, op)
        self._ops[op.result] = op
        return op

    def _cast(self, value, to_half, after=None):
        kind = self._ops[value].type
        kind = kind.replace("xf32>", "xf16>") if to_half else _f32(kind)
        return self._insert(after or value, "Cast", [value], kind, _CAST).result

    def _replace(self, old, new, but=()):
        for op in self._users(old):
            if op.result not in but:
                op.types = [
                    self._ops[new].type if value == old else kind
                    for value, kind in zip(op.operands, op.types)
                ]
                op.operands = [new if value == old else value for value in op.operands]

    # ---- products

    def _widen(self, op):
        """The product gives out F32; a cast behind it gives the half that it gave before. Returns
        the F32 value.
        """
        if not _HALF.search(op.type):
            return op.result
        op.type = _f32(op.type)
        self._widen_bias(op)
        half = self._cast(op.result, True)
        self._inserted.add(half)
        self._replace(op.result, half, but=(half,))
        return op.result

    def _widen_bias(self, op):
        bias = op.operands[2]
        if bias == self._none or not _HALF.search(op.types[2]):
            return
        source = self._ops[bias]
        if source.kind == "Weight":
            self._wide_weights.add(self._names[source.place])
            source.type = _f32(source.type)
            for user in self._users(bias):
                user.types = [
                    source.type if value == bias else kind
                    for value, kind in zip(user.operands, user.types)
                ]
        else:  # a mask: in F32 before its cast
            op.operands[2] = (
                source.operands[0] if source.kind == "Cast" else self._cast(bias, False)
            )
            op.types[2] = self._ops[op.operands[2]].type

    def _rest(self, value):
        """What rounding to a half leaves of a value, as a half; None where the value is a half by
        birth.
        """
        if value not in self._rests:
            self._rests[value] = None
            op = self._ops[value]
            if op.kind == "Cast" and self._ops[op.operands[0]].type.endswith("xf32>"):
                whole, rounded = op.operands[0], self._cast(value, False)
                self._rests[value] = self._cast(
                    self._insert(
                        rounded, "Sub", [whole, rounded], self._ops[whole].type, _SUB
                    ).result,
                    True,
                )
        return self._rests[value]

    def _split(self, op):
        """product(x) + product(rest of x)"""
        rest = self._rest(op.operands[0])
        if not rest:
            return
        readers = self._users(op.result)
        part = self._insert(
            op.result, "MatMul", [rest, op.operands[1], *[self._none] * 3], op.type, op.attributes
        )
        total = self._insert(part.result, "Add", [op.result, part.result], op.type, _ADD).result
        for reader in readers:
            reader.operands = [total if value == op.result else value for value in reader.operands]
            self._lines.remove(reader)
            self._lines.insert(self._lines.index(self._ops[total]) + 1, reader)

    def _later(self, a, b):
        return max(a, b, key=lambda value: self._lines.index(self._ops[value]))

    # ---- the whole

    def _read_unrounded(self):
        """Casts to F32 of halves that were F32 before take those."""
        for cast in [
            op
            for op in self._ops.values()
            if op.kind == "Cast" and op.type.endswith("xf32>") and "blip_" not in op.result
        ]:
            chain, value = [], cast.operands[0]
            while self._ops[value].kind in ("Reshape", "Permute"):
                chain.append(self._ops[value])
                value = chain[-1].operands[0]
            if value not in self._inserted:
                continue
            value = self._ops[value].operands[0]
            for move in reversed(chain):
                value = self._insert(
                    self._later(value, move.result),
                    move.kind,
                    [value, *move.operands[1:]],
                    _f32(move.type),
                    move.attributes,
                ).result
            self._replace(cast.result, value)

    def _cast_first(self):
        """A cast to halves of a reshape goes before it, where the compiler puts it together with
        what made the numbers: these are not written in F32.
        """
        for cast in [
            op for op in self._ops.values() if op.kind == "Cast" and _HALF.search(op.type)
        ]:
            move = self._ops[cast.operands[0]]
            if (
                move.kind != "Reshape"
                or len(self._users(move.result)) > 1
                or not move.types[0].endswith("xf32>")
            ):
                continue
            half = self._cast(move.operands[0], True)
            move.operands[0], move.types[0], move.type = half, self._ops[half].type, cast.type
            self._replace(cast.result, move.result)
            if move.result in self._outputs():
                self._give_out(self._cast(move.result, False), instead_of=move.result)

    def _drop_unused(self):
        while True:
            used = {value for op in self._lines if isinstance(op, _Op) for value in op.operands}
            used |= {
                value
                for line in self._lines
                if isinstance(line, str)
                for value in re.findall(r"%\w+", line)
            }
            kept = [
                op
                for op in self._lines
                if isinstance(op, str)
                or op.result in used
                or op.kind not in ("Cast", "Reshape", "Permute")
            ]
            if len(kept) == len(self._lines):
                return
            self._lines = kept

    def make_precise(self):
        """Products of precise layers give out F32; those of queries and keys take in two halves."""
        for op in [
            op
            for op in self._ops.values()
            if op.kind == "MatMul"
            and _is_wide(self._names[op.place], self._layers)
            and _HALF.search(op.type)
        ]:
            name = self._names[op.place]
            self._widen(op)
            if _is_split(name):
                self._split(op)
        self._read_unrounded()
        self._cast_first()
        self._drop_unused()

    def _return(self):
        """The place of the line that names the outputs."""
        return next(
            i
            for i, line in enumerate(self._lines)
            if isinstance(line, str) and line.lstrip().startswith("return ")
        )

    def _outputs(self):
        return re.findall(r"%\w+", self._lines[self._return()])

    def _give_out(self, new, instead_of):
        at = self._return()
        self._lines[at] = re.sub(re.escape(instead_of) + r"\b", new, self._lines[at], count=1)

    def halve_outputs(self, positions):
        """Outputs that other networks or a dump read are halves, as they would be without F32
        before them: the compiler takes the cast to F32 off.
        """
        outputs = self._outputs()
        for position in positions:
            value = outputs[position]
            op = self._ops[value]
            if op.kind == "Cast" and _HALF.search(op.types[0]):
                continue
            self._give_out(self._cast(self._cast(value, True), False), instead_of=value)

    def write(self):
        lines = [line if isinstance(line, str) else line.line() for line in self._lines]
        known = {line.split(" ", 1)[0] for line in lines if line.startswith("#loc")}
        lines += [
            f'{place} = loc("{name}")' for place, name in self._names.items() if place not in known
        ]
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if self._wide_weights:
            self._write_weights()

    def _write_weights(self):
        # pylint: disable-next=import-outside-toplevel; there in the toolchain's Python
        import numpy as np

        weights = dict(np.load(self._weights_file))
        for name in self._wide_weights:
            weights[name] = weights[name].view(np.float16).astype(np.float32)
        np.savez(self._weights_file, **weights)
