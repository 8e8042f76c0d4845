#!/usr/bin/env python3
"""What a neighbour on one core costs: `blip bench` with all cores free, and with a competing
process pinned to one of them, in turn. Prints a Markdown table.

    bench/uneven.py --model MODEL [--blip build/release/bin/blip] [--dtype f32,bf16,int8]
        [--threads 2] [--rounds 5] [--runs 5]

The competitor computes all the time at the same priority, in the same session (where Linux groups
processes by session for scheduling, `nice` says nothing between groups), so half of one core is
its. With N threads N - 1/2 cores are left: what that allows is the time of free cores times
N / (N - 1/2), and the last column is the time with the competitor by that. 1 is as good as can be
where a stage computes; a stage that waits for memory may be below. Columns are medians of the
rounds. Both run on the first N of the CPUs that this process may use. Everything else on the
machine should be still.
"""

import collections
import os
import statistics
import subprocess
import sys

import arguments
from program import bench

STAGES = ("vision", "token", "caption, greedy to 20", "caption, 3 beams to 20")
COMPETE = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def measure(options, dtype, cpus):
    """Milliseconds by stage."""
    rows = bench(
        options.blip,
        options.model,
        STAGES,
        *("--dtype", dtype, "--threads", len(cpus), "--runs", options.runs),
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    return {row["stage"]: row["median_ms"] for row in rows}


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", type=arguments.program, default="build/release/bin/blip")
    parser.add_argument("--model", required=True)
    parser.add_argument(
        "--dtype",
        type=arguments.listed(str, "f32", "bf16", "int8"),
        default="f32,bf16,int8",
        help="number types, with commas",
    )
    parser.add_argument("--threads", type=arguments.count, default=2)
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--runs", type=arguments.count, default=5, help="of a stage, each round")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))[: options.threads]
    if len(cpus) < options.threads:
        sys.exit(f"uneven.py: {len(cpus)} CPUs may be used here; ask for fewer --threads")

    times = collections.defaultdict(list)
    for _ in range(options.rounds):
        for dtype in options.dtype:
            for stage, ms in measure(options, dtype, cpus).items():
                times[dtype, stage, "free"].append(ms)
            competitor = subprocess.Popen([sys.executable, "-c", COMPETE, str(cpus[-1])])
            try:
                for stage, ms in measure(options, dtype, cpus).items():
                    times[dtype, stage, "shared"].append(ms)
            finally:
                competitor.kill()
                competitor.wait()

    left = (len(cpus) - 0.5) / len(cpus)
    print("| type | stage | free, ms | with a competitor, ms | allowed, ms | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    for dtype in options.dtype:
        for stage in STAGES:
            if (dtype, stage, "free") not in times:
                continue
            free = statistics.median(times[dtype, stage, "free"])
            shared = statistics.median(times[dtype, stage, "shared"])
            print(
                f"| {dtype} | {stage} | {free:.1f} | {shared:.1f} | {free / left:.1f} "
                f"| {shared * left / free:.2f} |"
            )


if __name__ == "__main__":
    main()
