"""Training batches, drawn endlessly from seeds: batch number n is the same in every run."""

from collections import Counter

import numpy as np
import torch
from PIL import Image

import scenes
import texts
import vocab

GRID = 8  # the vision tower's patches per side
QUESTIONS_EACH = 4
SIDES = (128, 192, 256)
# Every place a thing can have, as (pictures per row, reading order): what "second from the left of
# three" is to a patch.
PLACES = {
    place: i
    for i, place in enumerate(
        (tuple(layout), n)
        for layouts in scenes.LAYOUTS.values()
        for layout in layouts
        for n in range(sum(layout))
    )
}


def model_pixels(image, side=128):
    """What BLIP's preprocessing does to a picture's pixels: squash to the model's square with
    Pillow's BICUBIC.
    """
    return np.asarray(image.convert("RGB").resize((side, side), Image.BICUBIC))


def patch_labels(scene, ids):
    """Per patch: the kind there (1 + index, 0 for background, -1 where it is hard to say) and, of
    the thing there, the way to its centre, its place in the layout and how many of its kind there
    are (the latter two -1 where there is no thing)."""
    h, w = ids.shape
    blocks = ids.reshape(GRID, h // GRID, GRID, w // GRID)
    things = scene.things
    share = np.stack(
        [(blocks == i).mean((1, 3), dtype=np.float32) for i in range(1, len(things) + 1)]
    )
    best = share.argmax(0)
    kinds = np.array([t.kind for t in things])[best] + 1
    kinds[share.max(0) < 0.12] = -1
    kinds[share.sum(0) < 0.04] = 0
    centres = np.array([(t.x, t.y) for t in things], np.float32)[best]
    row, column = np.mgrid[0:GRID, 0:GRID]
    here = (np.stack([column, row], -1) + 0.5) / GRID
    places, twins = (
        np.where(kinds > 0, np.array(labels)[best], -1).reshape(-1)
        for labels in _places_and_twins(scene)
    )
    return kinds.reshape(-1), (centres - here).reshape(-1, 2).astype(np.float32), places, twins


def _places_and_twins(scene):
    layout, things = tuple(map(len, scene.rows)), scene.things
    twins = Counter(t.kind for t in things)
    return [PLACES.get((layout, i), -1) for i in range(len(things))], [
        min(twins[t.kind], 4) - 1 for t in things
    ]


def picture(rng, scene, sides=(0.7, 0.18, 0.12)):
    """A training picture at one of several sizes and shapes, with its patch labels."""
    side = int(rng.choice(SIDES, p=sides))
    width, height = side, side
    if rng.random() < 0.15:
        width, height = (side, side * 3 // 4) if rng.random() < 0.5 else (side * 3 // 4, side)
    image, ids = scenes.render(scene, width, height, with_ids=True)
    return (
        model_pixels(image),
        *patch_labels(scene, ids),
        texts.COLOURS.index(scene.background) if scene.background else -1,
    )


def crowd_batch(number, size):
    rng = scenes.rng_for(scenes.TRAIN, 2 * number)
    rows = [picture(rng, scenes.draw_crowd(rng), (0.94, 0.06, 0)) for _ in range(size)]
    return _pixels(rows)


def _pixels(rows):
    names = ("pixels", "kinds", "offsets", "places", "twins", "grounds")
    return {name: torch.from_numpy(np.stack(column)) for name, column in zip(names, zip(*rows))}


class _Rows:
    """Several texts side by side in one row; `part` numbers them (0 is padding), `at` restarts in
    each.
    """

    def __init__(self):
        self.ids, self.at, self.part, self.target = [], [], [], []

    def add(self, ids, part, target=None):
        start = len(self.ids)
        self.ids += ids
        self.at += range(len(ids))
        self.part += [part] * len(ids)
        self.target += target or []
        return start


def _stack(rows, field, fill, extra=0):
    longest = max(len(getattr(r, field)) for r in rows) + extra
    return torch.tensor(
        [getattr(r, field) + [fill] * (longest - len(getattr(r, field))) for r in rows]
    )


def _texts(rng, scene):
    """One scene's texts: encoder row (true and false statement, questions), caption, contrastive
    text, answer row.
    """
    enc, answers, caption, alone = _Rows(), _Rows(), _Rows(), _Rows()
    _, true, false = texts.statements(rng, scene)
    starts = [
        enc.add([vocab.CLS] + vocab.encode(t) + [vocab.SEP], i + 1)
        for i, t in enumerate((true, false))
    ]
    for i, (_, question, answer) in enumerate(texts.questions(rng, scene, QUESTIONS_EACH)):
        enc.add([vocab.ENC] + vocab.encode(question) + [vocab.SEP], i + 3)
        ids = vocab.encode(answer)
        answers.add([vocab.DEC] + ids, i + 3, ids + [vocab.SEP])
    plain = texts.caption(scene)
    prompt, ids = vocab.encode(texts.PROMPT), vocab.encode(plain)
    caption.add([vocab.DEC] + prompt + ids, 1, [-100] * len(prompt) + ids + [vocab.SEP])
    alone.add([vocab.CLS] + (prompt if rng.random() < 0.3 else []) + ids + [vocab.SEP], 1)
    return enc, starts, answers, caption, alone


def scene_batch(number, size):
    rng = scenes.rng_for(scenes.TRAIN, 2 * number + 1)
    drawn = [scenes.draw_scene(rng) for _ in range(size)]
    batch = _pixels([picture(rng, s) for s in drawn])
    enc, starts, answers, caption, alone = zip(*(_texts(rng, s) for s in drawn))
    for name, rows, extra in (
        ("enc", enc, 1),
        ("answer", answers, 0),
        ("caption", caption, 0),
        ("alone", alone, 0),
    ):
        # One padded place always: see answer_mask in losses.
        batch[name] = _stack(rows, "ids", vocab.PAD, extra)
        batch[name + "_at"] = _stack(rows, "at", 0, extra)
        batch[name + "_part"] = _stack(rows, "part", 0, extra)
        if rows[0].target:
            batch[name + "_target"] = _stack(rows, "target", -100, extra)
    batch["starts"] = torch.tensor(starts)
    return batch


class Stream(torch.utils.data.IterableDataset):
    """Batches for steps first, first + 1, ...: crowds before step `crowds`, scenes from there on.
    Each of `world` processes has its own.
    """

    def __init__(self, first, crowds, size, rank, world):
        self.first, self.crowds, self.size, self.rank, self.world = first, crowds, size, rank, world

    def __iter__(self):
        step = self.first
        while True:
            draw = crowd_batch if step < self.crowds else scene_batch
            yield draw(step * self.world + self.rank, self.size)
            step += 1
