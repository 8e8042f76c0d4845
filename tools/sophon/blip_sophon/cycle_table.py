"""The compiler's cycle model: reading its figures, and adding them up to the time of a task. Needs
nothing but Python.
"""

import re
from dataclasses import dataclass

from .compiler import PLAIN, compiled_as
from .cycle_replay import replay
from .errors import BuildError

_FIGURE = re.compile(r"^flops:.*?\bruntime: *([0-9.]+) *ms", re.MULTILINE)
_FIGURE_LINE = re.compile(r"^flops:.*$", re.MULTILINE)
CHIP_NAMES = {"bm1684x": "BM1684X", "bm1688": "BM1688"}


def read_profile(text, where, memory=None):
    """Milliseconds of one core: what a compiler_profile_*.txt says at its end, all parts of the
    network together. memory: GB/s that its commands are replayed with instead.
    """
    figures = [float(figure) for figure in _FIGURE.findall(text)]
    if not figures:
        raise BuildError(
            f'{where}: no figure of the cycle model; expected a line "flops: ..., runtime: ... ms"'
        )
    if memory is None:
        return sum(figures)
    parts = _FIGURE_LINE.split(text)[:-1]
    for part, figure in zip(parts, figures):
        if abs(replay(part, where) - figure) > 1e-3 * figure:
            raise BuildError(
                f"{where}: the commands take {replay(part, where):.2f} ms one after the other; "
                f"the compiler says {figure:.2f}"
            )
    return sum(replay(part, where, memory) for part in parts)


def read_profiles(paths, memory=None):
    """Milliseconds of a network: those of the core that takes longest."""
    if not paths:
        raise BuildError(
            "the compiler wrote no compiler_profile_*.txt; it has no cycle model for this chip"
        )
    return max(
        read_profile(path.read_text(encoding="utf-8", errors="replace"), path, memory)
        for path in paths
    )


def at_tokens(tokens, short, long):
    """The time of an unrolled decoder on a straight line through two shorter ones: (tokens, ms)
    each.
    """
    (n1, t1), (n2, t2) = short, long
    return t1 + (t2 - t1) * (tokens - n1) / (n2 - n1)


@dataclass(frozen=True)
class Lengths:
    """How much text a task makes."""

    caption: int = 16  # new tokens of a caption, the prompt not counted
    answer: int = 9  # of an answer: [DEC] and these are the 10 that the official code allows
    unrolled: tuple = (2, 4)  # what the sample's decoders are compiled at
    match_rows: int = 8  # texts of one launch
    beams: int = 3


def sample_tokens(given):
    """New tokens of the sample's captions and answers: a number given for both, or the usual."""
    return (given, given) if given else (Lengths.caption, Lengths.answer)


# A task as its networks and how often each runs. The caption prompt's pass gives the first new
# token, a step each further one.
def own_stages(task, lengths):
    steps = lengths.caption - 1
    return {
        "caption": {"vision": 1, "caption_cross": 1, "caption_prefill": 1, "caption_step": steps},
        "caption, 3 beams": {
            "vision": 1,
            "caption_cross": 1,
            "caption_prefill": 1,
            f"caption_step_{lengths.beams}": steps,
        },
        "match": {"vision": 1, "text_cross": 1, "match": 1},
        "match, further text": {f"match_{lengths.match_rows}": 1 / lengths.match_rows},
        "ask, picture": {"vision": 1},
        "ask": {"vision": 1, "question_cross": 1, "question": 1, "answer_step": lengths.answer},
        "ask, further question": {"question": 1, "answer_step": lengths.answer},
    }[task]


DTYPES = ("f32", "f16", "bf16", "w8f16", "int8")


# The sample's task that each of ours is compared with. It decodes greedily and reads the picture
# again for every text.
SAMPLE_STAGES = {
    "caption": ("blip_cap",),
    "caption, 3 beams": ("blip_cap",),
    "match": ("blip_itm",),
    "match, further text": ("blip_itm",),
    "ask, picture": ("blip_vqa_venc",),
    "ask": ("blip_vqa_venc", "blip_vqa_tenc", "blip_vqa_tdec"),
    "ask, further question": ("blip_vqa_tenc", "blip_vqa_tdec"),
}
TASKS = tuple(SAMPLE_STAGES)


def checkpoint_of(task):
    return task.split(",")[0]


@dataclass(frozen=True)
class Target:
    chip: str
    cores: int

    def __str__(self):
        name = CHIP_NAMES[self.chip]
        if self.chip == "bm1684x":
            return name
        return f"{name}, {self.cores} core{'s' if self.cores > 1 else ''}"


class Figures:
    """Milliseconds by (checkpoint, network, target, number type)."""

    def __init__(self, lengths):
        self.lengths, self.times = lengths, {}

    def own(self, task, target, dtype):
        return sum(
            count * self.times[checkpoint_of(task), stage, target, compiled_as(stage, dtype)]
            for stage, count in own_stages(task, self.lengths).items()
        )

    def sample(self, task, target, quantize):
        return sum(
            self._sample_network(checkpoint_of(task), name, target, quantize)
            for name in SAMPLE_STAGES[task]
        )

    def _sample_network(self, checkpoint, name, target, quantize):
        wanted = {"blip_cap": self.lengths.caption, "blip_vqa_tdec": self.lengths.answer}.get(name)
        if wanted is None:
            return self.times[checkpoint, name, target, quantize]
        return at_tokens(
            wanted,
            *(
                (n, self.times[checkpoint, f"{name}_{n}", target, quantize])
                for n in self.lengths.unrolled
            ),
        )


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def sample_builds(target):
    """What the sample's graphs are compiled as, to be compared with ours: as published, in F32 for
    one core, and like ours, in F16 for as many cores.
    """
    return ((Target(target.chip, 1), "F32"), (target, PLAIN))


def task_table(figures, tasks, target, dtypes):
    """Markdown: milliseconds of each task, and how many times as fast as the sample's graphs in F32
    on one core of the chip, and as those in F16.
    """
    builds = sample_builds(target)
    heads = [f"sample, {quantize.split()[0].lower()} ({of})" for of, quantize in builds]
    lines = [
        _row(["task", *heads, *(f"{dtype} ({target})" for dtype in dtypes)]),
        _row(["---"] * (1 + len(builds) + len(dtypes))),
    ]
    for task in tasks:
        samples = [figures.sample(task, *build) for build in builds]
        cells = [f"{sample:.1f}" for sample in samples]
        for dtype in dtypes:
            ms = figures.own(task, target, dtype)
            cells.append(f"{ms:.1f} ({', '.join(f'{sample / ms:.2f} x' for sample in samples)})")
        lines.append(_row([task, *cells]))
    return "\n".join(lines)


def network_table(figures, columns):
    """Markdown: milliseconds of each network; a column is (target, the compiler's number type)."""
    names = list(dict.fromkeys((checkpoint, name) for checkpoint, name, *_ in figures.times))
    lines = [
        _row(["checkpoint", "network", *(f"{q} {target}" for target, q in columns)]),
        _row(["---"] * (2 + len(columns))),
    ]
    for checkpoint, name in names:
        cells = [figures.times.get((checkpoint, name, target, q)) for target, q in columns]
        if any(cell is not None for cell in cells):
            lines.append(
                _row([checkpoint, name, *("" if cell is None else f"{cell:.2f}" for cell in cells)])
            )
    return "\n".join(lines)
