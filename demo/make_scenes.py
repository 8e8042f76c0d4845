"""Draws the pictures in demo/scenes/ with what is true of them (scenes.json).

They come from the held-out seeds, behind the thousand that evaluate.py uses, and were picked by eye
for variety and small files.

    python make_scenes.py                      draw the chosen ones
    python make_scenes.py --sheet sheet.png    an overview of candidates to choose from
"""

import argparse
import io
import json
import pathlib

from PIL import Image, ImageDraw

import evaluate
import texts
from kinds import KINDS

FIRST, CANDIDATES, LARGEST = 1000, 400, 60_000
CHOSEN = {  # number: (file name, width, height)
    1034: ("clock.png", 320, 320),
    1068: ("cat-bus.png", 384, 288),
    1119: ("balloons.png", 320, 320),
    1029: ("fox-crown.png", 288, 288),
    1020: ("train-phone-lock.png", 320, 320),
    1069: ("robot-pizzas.png", 320, 320),
    1075: ("bicycle-ghost-sheep.png", 288, 384),
    1044: ("pencil-dog-turtle.png", 384, 288),
}
FOLDER = pathlib.Path(__file__).parent / "scenes"


def png(case, width, height):
    data = io.BytesIO()
    evaluate.scenes.render(case.scene, width, height).save(data, "PNG", optimize=True)
    return data.getvalue()


def facts(name, case):
    scene = case.scene
    what, true, false = case.statement
    return {
        "image": name,
        "seed": case.index,
        "caption": texts.caption(scene),
        "background": scene.background,
        "things": [
            {
                "kind": KINDS[t.kind].name,
                "x": round(t.x, 3),
                "y": round(t.y, 3),
                "size": round(t.size, 3),
            }
            for t in scene.things
        ],
        "statement": {"differs_in": what, "true": true, "false": false},
        "questions": [{"type": kind, "question": q, "answer": a} for kind, q, a in case.questions],
    }


def sheet(path, side=190, columns=7):
    shown = [
        c
        for c in map(evaluate.case, range(FIRST, FIRST + CANDIDATES))
        if not c.scene.look["grain"] and not c.scene.look["blur"] and len(c.scene.things) <= 3
    ][:42]
    overview = Image.new("RGB", (columns * side, -(-len(shown) // columns) * side))
    for i, c in enumerate(shown):
        x, y = i % columns * side, i // columns * side
        overview.paste(evaluate.scenes.render(c.scene, side, side), (x, y))
        ImageDraw.Draw(overview).text(
            (x + 2, y + 2),
            f"{c.index} {len(png(c, 320, 320)) // 1024}k",
            fill="black",
            stroke_fill="white",
            stroke_width=1,
        )
    overview.save(path)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--sheet", type=pathlib.Path)
    o = p.parse_args()
    if o.sheet:
        return sheet(o.sheet)
    FOLDER.mkdir(exist_ok=True)
    entries = []
    for number, (name, width, height) in CHOSEN.items():
        case = evaluate.case(number)
        data = png(case, width, height)
        if len(data) > LARGEST:
            raise SystemExit(f"{name} has {len(data)} bytes, more than {LARGEST}")
        (FOLDER / name).write_bytes(data)
        entries.append(facts(name, case))
    (FOLDER / "scenes.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
