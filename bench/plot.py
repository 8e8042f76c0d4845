#!/usr/bin/env python3
"""Draws docs/performance.svg from the first table of docs/PERFORMANCE.md, which bench/compare.py
prints: every work as a group of bars, one for each program and number type, shorter is better.

    python3 bench/plot.py             # writes it
    python3 bench/plot.py --check     # is it what the table says?
"""

import sys
from html import escape
from pathlib import Path

import arguments

DOCS = Path(__file__).resolve().parent.parent / "docs"
# What is drawn of the table's columns, from above, and its colour.
PROGRAMS = {
    "torch f32": "#c9c3b8",
    "torch bf16": "#a79f91",
    "openvino bf16": "#8fb0a0",
    "openvino int8": "#6a9681",
    "blip bf16": "#e8a33d",
    "blip int8": "#d9601a",
}
WIDTH, LEFT, RIGHT, BAR, GAP = 760, 120, 76, 15, 12


def table():
    """(headers, rows) of the first table in which `blip int8` is a column."""
    lines = (DOCS / "PERFORMANCE.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|") and "blip int8" in line)
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows[0], rows[2:]


def draw(headers, rows):
    parts, y = [], 36
    for row in rows:
        times = {name: row[headers.index(name)] for name in PROGRAMS}
        times = {name: float(time.replace(",", "")) for name, time in times.items() if time}
        longest = max(times.values())
        parts.append(f'<text x="8" y="{y + 11}" font-size="13">{escape(row[0])}</text>')
        y += BAR + 3
        for name, time in times.items():
            length = max(2.0, (WIDTH - LEFT - RIGHT) * time / longest)
            blip = ' font-weight="600"' if name.startswith("blip") else ""
            parts += [
                f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end"{blip}>{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 3}" rx="2"'
                f' fill="{PROGRAMS[name]}"/>',
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 11}"{blip}>{time:,.0f} ms</text>',
            ]
            y += BAR
        y += GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" font-family="sans-serif" font-size="12" fill="#333">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>\n'
        '<text x="8" y="18" font-size="15">BLIP-base on 2 cores with AMX: milliseconds,'
        " shorter is better</text>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    plot, drawn = DOCS / "performance.svg", draw(*table())
    if not options.check:
        plot.write_text(drawn, encoding="utf-8")
    elif not plot.is_file() or plot.read_text(encoding="utf-8") != drawn:
        sys.exit("docs/performance.svg is not what the table says: run bench/plot.py")


if __name__ == "__main__":
    main()
