"""What goes through the networks when real pictures are captioned, matched and asked about: the
ranges of 8-bit numbers.
"""

import re

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from .errors import BuildError
from .graph import HIDDEN
from .texts import QUESTIONS, TEXTS, Tokenizer

PROMPT = "a picture of "
STEPS = 8  # decoded of each caption and answer
MAX_SAMPLES = 64  # of one network: a decoder's take 44 MB each at BLIP's published size


def load_pixels(path, checkpoint):
    """As the program does it: bicubic to S x S, normalised, [1, 3, S, S]"""
    try:
        with Image.open(path) as file:
            image = (
                ImageOps.exif_transpose(file)
                .convert("RGB")
                .resize((checkpoint.vision.image_size,) * 2, Image.BICUBIC)
            )
    except OSError as error:
        raise BuildError(f"cannot read the picture {path}: {error}") from error
    pixels = (np.asarray(image, np.float32) / 255 - np.float32(checkpoint.mean)) / np.float32(
        checkpoint.std
    )
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def read_texts(path):
    if path is None:
        return ()
    try:
        return [
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"cannot read {path}: {error}") from error


class Calibration:
    """Runs each network in turn, as its graph is made; what it gives out is what later ones take
    in.
    """

    def __init__(self, checkpoint, options, images, texts=()):
        self._c, self._o = checkpoint, options
        self._pixels = [load_pixels(path, checkpoint) for path in images]
        self._tokenizer = Tokenizer(checkpoint.vocabulary)
        self._texts, self._questions = (
            texts or TEXTS,
            [t for t in texts if t.endswith("?")] or QUESTIONS,
        )
        self._tokens, self._cross, self._asked, self._prefilled = [], {}, [], []

    def samples(self, network, onnx, folder):
        """Runs the network on everything; writes the inputs of its first runs into folder, one npz
        each, unless that is None.
        """
        if folder:
            folder.mkdir()
        session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]
        count = 0

        def run(*values):
            nonlocal count
            inputs = dict(zip(names, values))
            if folder and count < MAX_SAMPLES:
                np.savez(folder / f"{count:04}.npz", **inputs)
            count += 1
            return session.run(None, inputs)

        part = network.role.split("_")[0]
        if network.role == "vision":
            self._tokens = [run(pixels)[0] for pixels in self._pixels]
        elif network.role.endswith("_cross"):
            self._cross[part] = [run(tokens)[0] for tokens in self._tokens]
        elif network.role in ("match", "text"):
            self._match(network, run)
        elif network.role == "question":
            self._ask(run)
        elif network.role == "caption_prefill":
            self._prefill(run)
        else:
            self._decode(part, network.rows, run)

    def _padded(self, rows, first, texts):
        length = self._c.max_text
        ids, mask = np.zeros((rows, length), np.int32), np.full(
            (rows, 1, 1, length), HIDDEN, np.float32
        )
        for i, text in enumerate(texts):
            tokens = self._tokenizer(text, first, length=length)
            ids[i, : len(tokens)] = tokens
            mask[i, ..., : len(tokens)] = 0
        return ids, mask

    def _match(self, network, run):
        for i in range(len(self._pixels)):
            texts = [self._texts[(i + k) % len(self._texts)] for k in range(network.rows)]
            run(
                *self._padded(network.rows, "[CLS]", texts),
                *([self._cross["text"][i]] if network.role == "match" else []),
            )

    def _ask(self, run):
        for i, cross in enumerate(self._cross["question"]):
            ids, mask = self._padded(1, "[ENC]", [self._questions[i % len(self._questions)]])
            self._asked.append((run(ids, mask, cross)[1], mask))

    def _prefill(self, run):
        """The model's own prompt is what decoding goes on from; other texts only widen the
        ranges.
        """
        prompts = [self._c.prompt or PROMPT, *self._texts]
        for i, cross in enumerate(self._cross["caption"]):
            self._prefilled.append(self._run_prompt(run, prompts[0], cross))
            self._run_prompt(run, prompts[1 + i % len(self._texts)], cross)

    def _run_prompt(self, run, text, cross):
        """(tokens, logits, cache)"""
        prompt = self._tokenizer(text, "[DEC]", last=None, length=self._o.prompt)
        ids = np.zeros((1, self._o.prompt), np.int32)
        ids[0, : len(prompt)] = prompt
        last = np.zeros((1, 1, self._o.prompt), np.float32)
        last[0, 0, len(prompt) - 1] = 1
        return len(prompt), *run(ids, last, cross)

    def _decode(self, part, rows, run):
        """Row r starts with the r-th best token, and each goes on with its best."""
        for i in range(len(self._pixels)):
            if part == "caption":
                position, logits, cache = self._prefilled[i]
                tokens, looked_at = np.argsort(-logits[0])[:rows], (self._cross[part][i],)
            else:
                sizes = self._c.text[part]
                cache = np.zeros(
                    (1, 2 * sizes.layers * sizes.heads, self._o.slots, sizes.width // sizes.heads),
                    np.float32,
                )
                position, tokens, looked_at = (
                    0,
                    [self._tokenizer.id("[DEC]")] * rows,
                    self._asked[i],
                )
            cache = np.repeat(cache, rows, 0)
            for place in range(position, min(position + STEPS, self._o.slots)):
                ids = np.array(tokens, np.int32).reshape(rows, 1)
                logits, cache = run(ids, np.array([[place]], np.float32), cache, *looked_at)
                order = np.argsort(-logits, axis=1)
                tokens = [order[r, r if place == 0 else 0] for r in range(rows)]


# Products that stay in floating point: the results themselves, what other networks keep, and
# attention: errors of queries and keys are multiplied by the softmax, and values and what is made
# of them lost as much as the two layers behind it together. Those layers are two thirds of the
# work; both or none of them, for the compiler computes nonsense if the second alone is in floating
# point. In the vision tower's first layer they are not: what it loses, every later one multiplies.
SENSITIVE = re.compile(
    r"^(itm|vision\.(start|0)\.\w+|itc\.\w+|\w+\.head|\w+\.head\.dense|\w+\.cross_kv|\w+\.\d+\.(\w+\.)?([qkv]|proj|out))(_|$)"
)


def float_operations(mlir):
    """Names of all operations of a top-level MLIR file but the products with weights that 8 bits
    suffice for.
    """
    text = mlir.read_text(encoding="utf-8")
    names = dict(re.findall(r'^(#loc\d*) = loc\("([^"]*)"\)', text, re.MULTILINE))
    operations = re.findall(
        r'^\s*(%\S+) = "top\.(\w+)"\(([^)]*)\).*loc\((#loc\d*)\)', text, re.MULTILINE
    )
    weights = {value for value, kind, _, _ in operations if kind == "Weight"}
    kept = []
    for _, kind, operands, place in operations:
        if kind in ("Weight", "None") or place not in names:
            continue
        product = kind == "MatMul" and operands.split(", ")[1] in weights
        if not product or SENSITIVE.match(names[place]):
            kept.append(names[place])
    return kept


def write_exceptions(mlir, float_type):
    """A quantize table of the compiler, beside the network: those operations in a floating type."""
    path = mlir.with_suffix(".float")
    path.write_text(
        "".join(f"{name} {float_type}\n" for name in float_operations(mlir)), encoding="utf-8"
    )
    return path
