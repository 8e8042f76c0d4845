#!/usr/bin/env python3
"""blip beside what one would run instead, on this machine, in one sitting. Prints a Markdown table of milliseconds.

    bench/setup.sh
    bench/.venv/bin/python bench/compare.py --blip build/release/bin/blip [--work bench/work] [--threads 2] [--rounds 3]

Each round measures the peers and then blip; the table has the median of the rounds. Everything else on the machine should be still.
"""

import argparse
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORKS = ["vision 384", "caption, greedy to 20", "caption, 3 beams to 20", "match, 10 texts of 35", "ask, greedy to 10"]
STAGES = {"vision": "vision 384"}  # blip bench's name of the first; the others are called alike
MODELS = {"caption": ("vision", "caption, greedy to 20", "caption, 3 beams to 20"), "itm": ("match, 10 texts of 35",), "vqa": ("ask, greedy to 10",)}


def lines_of(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def measure_blip(options):
    for model, stages in MODELS.items():
        for line in lines_of([options.blip, "bench", "--model", options.work / model, "--threads", str(options.threads), "--json", "--quiet"]):
            if line.get("stage") in stages:
                yield "blip", line["dtype"], STAGES.get(line["stage"], line["stage"]), line["median_ms"]


def measure_peers(options):
    command = [sys.executable, HERE / "peers.py", "--work", options.work, "--threads", str(options.threads), "--only", options.only]
    for line in lines_of(command):
        yield line["engine"], line["dtype"], line["work"], line["median_ms"]


def print_table(figures, rounds):
    columns = list(dict.fromkeys((engine, dtype) for engine, dtype, _ in figures))
    print("| work, ms | " + " | ".join(f"{engine} {dtype}" for engine, dtype in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for work in WORKS:
        cells = [figures.get((engine, dtype, work)) for engine, dtype in columns]
        print(f"| {work} | " + " | ".join(f"{statistics.median(c):.0f}" if c else "" for c in cells) + " |")
    print(f"\nMedian of {rounds} rounds of 5 to 7 runs.\n")


def ratio(figures, ours, theirs, work):
    """How many times faster ours is: the median of the rounds' ratios."""
    mine, peers = figures.get(("blip", ours, work)), [figures[key] for key in theirs if key in figures]
    if not mine or not peers:
        return None
    return statistics.median(min(peer[i] for peer in peers) / mine[i] for i in range(len(mine)))


def print_ratios(figures):
    def row(work, against, ours):
        value = ratio(figures, ours, against, work)
        if value:
            names = ", ".join(f"{engine} {dtype}" for engine, dtype, _ in against)
            print(f"| {work} | best of {names} | {ours} | {value:.2f} x |")

    print("| work | against | blip in | faster by |\n|---|---|---|---:|")
    for dtype in ("f32", "bf16", "int8"):
        row("vision 384", [key for key in figures if key[0] != "blip" and key[1:] == (dtype, "vision 384")], dtype)
    for work in WORKS[1:]:
        for dtype in ("bf16", "int8"):
            row(work, [("torch", "bf16", work)], dtype)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blip", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "work", help="folder for checkpoints and exports")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="openvino,onnxruntime,torch", help="peers, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures = collections.defaultdict(list)
    # The first look at the peers makes the checkpoints.
    for number in range(options.rounds):
        for measure in (measure_peers, measure_blip):
            print(f"round {number + 1} of {options.rounds}: {measure.__name__.removeprefix('measure_')}", file=sys.stderr)
            for engine, dtype, work, ms in measure(options):
                figures[engine, dtype, work].append(ms)
    print_table(figures, options.rounds)
    print_ratios(figures)


if __name__ == "__main__":
    main()
