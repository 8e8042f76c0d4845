"""Compiles networks of full size for the cycle model's figures, and remembers those."""

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import sample_graphs
from .calibration import write_exceptions
from .checkpoint import (
    BUNDLED_VOCABULARY,
    DEC,
    ENC,
    Checkpoint,
    TextSizes,
    VisionSizes,
    expected_shapes,
)
from .compiler import F32_ENDS, PRECISE, Compiler, graph_options
from .cycle_replay import RATES
from .cycle_table import (
    Target,
    checkpoint_of,
    compiled_as,
    own_stages,
    read_profiles,
    sample_builds,
)
from .networks import Builder, Options
from .precision import has_precise, operation_names

RESULTS = "results.json"
PRECISION = Path(__file__).with_name("precision.py")
PARTS = {"caption": ("caption",), "match": ("text",), "ask": ("question", "answer")}


def progress(message):
    print(f"cycles: {message}", file=sys.stderr, flush=True)


def random_checkpoint(task):
    """BLIP-base with random weights, which the cycle model does not look at."""
    vision = VisionSizes(480 if task == "ask" else 384, 16, 768, 12, 12, 1e-6)
    text = {part: TextSizes(768, 12, 12, 512, 30524, 1e-12) for part in PARTS[task]}
    vocabulary = BUNDLED_VOCABULARY.read_text(encoding="utf-8").splitlines() + [DEC, ENC]
    widths = {f"{part}.0.fc1.weight": np.empty((3072, 0)) for part in ("vision", *text)}
    c = Checkpoint(f"random {task}", vision, text, widths, vocabulary, has_itm=task == "match")
    random = np.random.default_rng(0)
    c.tensors = {
        name: random.standard_normal(shape, np.float32) * np.float32(0.02)
        for name, shape in expected_shapes(c).items()
    }
    return c


def sample_makers(task, c, lengths):
    """The networks of the vendor's sample: name -> a function that makes the graph."""
    if task == "caption":
        return {f"blip_cap_{n}": lambda n=n: sample_graphs.caption(c, n) for n in lengths.unrolled}
    if task == "match":
        return {"blip_itm": lambda: sample_graphs.match(c)}
    return {
        "blip_vqa_venc": lambda: sample_graphs.vision_encoder(c),
        "blip_vqa_tenc": lambda: sample_graphs.question_encoder(c),
        **{
            f"blip_vqa_tdec_{n}": lambda n=n: sample_graphs.answer_decoder(c, n)
            for n in lengths.unrolled
        },
    }


def own_makers(task, c, lengths, tasks, options):
    """Our networks that the tasks need: name -> a function that makes the Network."""
    b = Builder(c, options)
    makers = {
        "vision": b.vision,
        "question": b.question,
        "caption_prefill": b.prefill,
        "match": lambda: b.match(1),
        f"match_{lengths.match_rows}": lambda: b.match(lengths.match_rows),
        **{
            f"{part}_cross": lambda part=part: b.cross(part)
            for part in ("caption", "text", "question")
        },
        **{
            f"{part}_step{'' if rows == 1 else f'_{rows}'}": lambda part=part, rows=rows: b.step(
                part, rows
            )
            for part in ("caption", "answer")
            for rows in (1, lengths.beams)
        },
    }
    needed = dict.fromkeys(
        stage
        for other in tasks
        if checkpoint_of(other) == task
        for stage in own_stages(other, lengths)
    )
    return {stage: makers[stage] for stage in needed}


def _digest(model, kept):
    """Of what the cycle model looks at: operators, shapes, and which ends keep the chip's type.
    Values do not count.
    """
    graph, numbers = model.graph, {}
    number = lambda name: numbers.setdefault(name, len(numbers))
    parts = [
        (number(port.name), port.type.SerializeToString(deterministic=True)) for port in graph.input
    ]
    parts += [
        (number(tensor.name), list(tensor.dims), tensor.data_type) for tensor in graph.initializer
    ]
    for node in graph.node:
        attributes = [
            attribute.SerializeToString(deterministic=True) for attribute in node.attribute
        ]
        parts.append(
            (
                node.op_type,
                node.name,
                [number(name) for name in (*node.input, *node.output)],
                attributes,
            )
        )
    parts += [
        (number(port.name), port.type.SerializeToString(deterministic=True))
        for port in graph.output
    ]
    return _short(repr((parts, kept)).encode())


def _short(data):
    return hashlib.sha256(data).hexdigest()[:16]


def _precision(model, quantize):
    """What says which operators are more than halves, where any can be."""
    names = [node.name for node in model.graph.node]
    return (
        f" {_short(PRECISION.read_bytes())}" if quantize in PRECISE and has_precise(names) else ""
    )


def _eight_bits(mlir):
    """(calibration table, exceptions) of a network in 8 bits: the ranges of its numbers do not
    count, which operations stay in floating point does.
    """
    table = mlir.with_suffix(".calibration")
    names = operation_names(mlir.read_text(encoding="utf-8")).values()
    table.write_text("".join(f"{name} 1.0 -1.0 1.0\n" for name in names), encoding="utf-8")
    return table, write_exceptions(mlir, "F16")


def _with_memory(key, target, memory):
    """The key of a figure at a rate of the memory, which one core of BM1688 alone has two of."""
    one_rate = memory is None or target != Target("bm1688", 1)
    return key if one_rate else f"{key} memory {memory}"


class Measurer:
    def __init__(self, toolchain, work, version, memory=None):
        """memory: GB/s of BM1688's memory, instead of what the compiler takes; one of RATES."""
        self.toolchain, self.work, self.version = toolchain, Path(work), version
        self.memory = memory
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            self.results = json.loads((self.work / RESULTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.results = {}

    def _remember(self, key, value):
        self.results[key] = value
        part = self.work / (RESULTS + ".part")
        part.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(self.work / RESULTS)

    def measure(self, name, graph, kept, jobs):
        """Milliseconds of a graph for each (target, number type). Only what is not known yet is
        compiled, one after the other.
        """
        model = graph.model()
        digest = _digest(model, kept)
        keys = {
            job: f"{digest}{_precision(model, job[1])} {job[0].chip} {job[0].cores} "
            f"{job[1]} {self.version}"
            for job in jobs
        }
        known = {job: _with_memory(keys[job], job[0], self.memory) for job in jobs}
        missing = [job for job in jobs if known[job] not in self.results]
        if missing:
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self.work) as folder:
                self._compile(name, graph, kept, missing, keys, Path(folder))
        return {job: self.results[known[job]] for job in jobs}

    def _compile(self, name, graph, kept, jobs, keys, folder):
        graph.save(folder / f"{name}.onnx")
        mlir = Compiler(self.toolchain, jobs[0][0].chip, 1, folder).transform(f"{name}.onnx", name)
        keep = set(folder.iterdir())
        for target, quantize in jobs:
            start = time.monotonic()
            ends = ((), ()) if quantize in F32_ENDS else kept
            tables = _eight_bits(mlir) if quantize == "INT8" else ()
            Compiler(self.toolchain, target.chip, target.cores, folder).deploy(
                mlir, quantize, folder / "out.bmodel", *ends, *tables
            )
            profiles, key = sorted(folder.glob("compiler_profile_*.txt")), keys[target, quantize]
            figure = read_profiles(profiles)
            self._remember(key, figure)
            for rate in RATES:
                other = _with_memory(key, target, rate)
                if other != key:
                    self._remember(other, read_profiles(profiles, rate))
            progress(
                f"{name} {quantize} {target}: {figure:.2f} ms (compiled in "
                f"{time.monotonic() - start:.0f} s)"
            )
            for path in set(folder.iterdir()) - keep:  # gigabytes
                if path.is_file():
                    path.unlink()


def measure_all(figures, measurer, checkpoints, tasks, targets, dtypes):
    """checkpoints: task -> a function that opens one. Fills figures.times."""
    for task in dict.fromkeys(checkpoint_of(task) for task in tasks):
        c = checkpoints[task]()
        builds = list(dict.fromkeys(of for target in targets for of in sample_builds(target)))
        for name, make in sample_makers(task, c, figures.lengths).items():
            for (target, quantize), ms in measurer.measure(name, make(), ((), ()), builds).items():
                figures.times[task, name, target, quantize] = ms
        forms = {}
        for target in targets:
            for dtype in dtypes:
                form = tuple(graph_options(target.chip, dtype, target.cores).items())
                forms.setdefault(form, []).append((target, dtype))
        for form, wanted in forms.items():
            options = Options(**dict(form))
            for name, make in own_makers(task, c, figures.lengths, tasks, options).items():
                network = make()
                jobs = [(target, compiled_as(name, dtype)) for target, dtype in wanted]
                times = measurer.measure(
                    name,
                    network.graph,
                    (network.kept_inputs, network.kept_outputs),
                    list(dict.fromkeys(jobs)),
                )
                for (target, quantize), ms in times.items():
                    figures.times[task, name, target, quantize] = ms
