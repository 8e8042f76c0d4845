#!/usr/bin/env python3
"""blip beside what one would run instead, on this machine, in one sitting. Prints Markdown tables
of milliseconds and of ratios.

    bench/setup.sh
    bench/.venv/bin/python bench/compare.py --blip build/release/bin/blip \\
        [--work bench/work] [--threads 2] [--rounds 9] [--runs 2] [--isa avx2] [--only torch]
        [--case "caption, greedy to 20"]

Everybody takes turns, work by work: a round measures each peer and then blip (the next one blip
first) within the same minute, and a ratio is made of two figures of one round. The tables have the
medians of the rounds and, for ratios, the range of the middle half of them and of all: many short
rounds say more than a few long ones where a machine's speed changes from minute to minute.
Everything else on the machine should be still. The peers stay loaded, each engine in a process of
its own; all of them take 12 GB.
"""

import collections
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

import arguments
from program import bench

HERE = pathlib.Path(__file__).resolve().parent
# What is compared, with the model, the stage of `blip bench` that does it and how many pictures.
WORKS = {
    "vision 384": ("caption", "vision", 1),
    "vision 384, 8 pictures": ("caption", "vision", 8),
    "caption, greedy to 20": ("caption", "caption, greedy to 20", 1),
    "caption, greedy to 20, 8 pictures": ("caption", "caption, greedy to 20", 8),
    "caption, 3 beams to 20": ("caption", "caption, 3 beams to 20", 1),
    "match, 10 texts of 35": ("itm", "match, 10 texts of 35", 1),
    "ask, greedy to 10": ("vqa", "ask, greedy to 10", 1),
}


class Peers:
    """An engine's process (peers.py --serve)."""

    def __init__(self, engine, options):
        command = [
            sys.executable,
            HERE / "peers.py",
            "--serve",
            "--work",
            options.work,
            "--threads",
            str(options.threads),
            "--runs",
            str(options.runs),
            "--only",
            engine,
        ]
        if options.isa:
            command += ["--isa", options.isa]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.cases = self.answer()
        self.unlimited = set()  # number types with kernels that --isa did not limit

    def answer(self):
        for line in self.process.stdout:  # libraries print there too
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(line)
        sys.exit(
            f"{' '.join(map(str, self.process.args))}: exit code {self.process.wait()}; run it to "
            "see why"
        )

    def measure(self, work):
        for number, case in enumerate(self.cases):
            if case["work"] == work:
                print(number, file=self.process.stdin, flush=True)
                figure = self.answer()
                if not figure["limited"]:
                    self.unlimited.add(f"{figure['engine']} {figure['dtype']}")
                yield figure["engine"], figure["dtype"], figure["median_ms"]


def measure_blip(work, options):
    model, stage, batch = WORKS[work]
    environment = {**os.environ, **({"BLIP_FORCE_ISA": options.isa} if options.isa else {})}
    settings = ("--batch", batch, "--runs", options.runs, "--threads", options.threads)
    for row in bench(options.blip, options.work / model, [stage], *settings, env=environment):
        yield "blip", row["dtype"], row["median_ms"]


def print_table(figures, options):
    columns = list(dict.fromkeys((engine, dtype) for engine, dtype, _ in figures))
    print("| work, ms | " + " | ".join(f"{engine} {dtype}" for engine, dtype in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for work in options.cases:
        cells = [figures.get((engine, dtype, work)) for engine, dtype in columns]
        print(
            f"| {work} | "
            + " | ".join(f"{statistics.median(c):.0f}" if c else "" for c in cells)
            + " |"
        )
    print(f"\nMedians of {options.rounds} rounds, in turn, of up to {options.runs} runs each.\n")


def print_limits(peers, options):
    unlimited = sorted(set().union(*(engine.unlimited for engine in peers)))
    print(
        f"Everybody is limited to {options.isa}"
        + (
            f", but for these, which took no such limit: {', '.join(unlimited)}.\n"
            if unlimited
            else ".\n"
        )
    )


def print_ratios(figures, options):
    """How many times faster blip is than the best of each round."""

    def row(work, ours, peers):
        mine, theirs = figures.get(("blip", ours, work)), [
            figures[key] for key in peers if key in figures
        ]
        if not mine or not theirs:
            return
        ratios = [min(peer[i] for peer in theirs) / ms for i, ms in enumerate(mine)]
        names = ", ".join(f"{engine} {dtype}" for engine, dtype, _ in peers)
        low, _, high = (
            statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        )
        print(
            f"| {work} | {'best of ' if len(peers) > 1 else ''}{names} | {ours} | "
            f"{statistics.median(ratios):.2f} x | {low:.2f} to {high:.2f} | "
            f"{min(ratios):.2f} to {max(ratios):.2f} |"
        )

    print(
        "| work | against | blip in | faster by | middle half | rounds "
        "|\n|---|---|---|---:|---:|---:|"
    )

    def peers_of(work, keep):
        return sorted(key for key in figures if key[2] == work and key[0] != "blip" and keep(key))

    for work in options.cases:
        for dtype in ("f32", "bf16", "int8"):
            row(work, dtype, peers_of(work, lambda key: key[1] == dtype))
    # What most people run: transformers, in the type that is fastest there.
    fastest = "f32" if options.isa else "bf16"
    for work in (work for work in options.cases if WORKS[work][1] != "vision"):
        for dtype in ("bf16", "int8"):
            row(work, dtype, peers_of(work, lambda key: key[:2] == ("torch", fastest)))


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", type=arguments.program, required=True, help="the program")
    parser.add_argument(
        "--work",
        type=pathlib.Path,
        default=HERE / "work",
        help="folder for checkpoints and exports",
    )
    parser.add_argument("--threads", type=arguments.count, default=len(os.sched_getaffinity(0)))
    arguments.add_peers(parser)
    parser.add_argument(
        "--isa",
        choices=("avx2",),
        help="limit everybody to this instruction set; says for whom that did not take",
    )
    parser.add_argument(
        "--case",
        dest="cases",
        action="append",
        choices=list(WORKS),
        help="only this line of the table (may be repeated)",
    )
    parser.add_argument("--rounds", type=arguments.count, default=9)
    parser.add_argument(
        "--runs",
        type=arguments.count,
        default=2,
        help="of each work in a round, at most: peers as many as fit in 3 seconds",
    )
    options = parser.parse_args()
    options.cases = options.cases or list(WORKS)
    figures = collections.defaultdict(list)
    print("loading the peers; the first time their checkpoints are made", file=sys.stderr)
    peers = [Peers(engine, options) for engine in options.only]
    for number in range(options.rounds):
        for work in options.cases:
            print(f"round {number + 1} of {options.rounds}: {work}", file=sys.stderr)
            turns = [lambda engine=engine: engine.measure(work) for engine in peers] + [
                lambda: measure_blip(work, options)
            ]
            for turn in turns if number % 2 == 0 else reversed(turns):
                for engine, dtype, ms in turn():
                    figures[engine, dtype, work].append(ms)
    print_table(figures, options)
    if options.isa:
        print_limits(peers, options)
    print_ratios(figures, options)
    for engine in peers:
        engine.process.stdin.close()


if __name__ == "__main__":
    main()
