#!/usr/bin/env python3
"""What a job costs beside the work: a folder captioned without output, with rows (JSONL), with
sidecars, and with both, in turn.

    python3 bench/jobs.py --blip build/release/bin/blip                  # tiny model: microseconds
    python3 bench/jobs.py --blip ... --model blip-base/ --count 200      # the share itself

The first is with random weights of a few thousand parameters and pictures of 16 x 16 pixels, so
that nearly all the time is what a job adds. Files are written, and synced, by a thread of their own
beside the work: what a job takes away from it is processor time, of which the last column is the
share in a caption of BLIP-base on two cores (--per-picture, in ms); with a model that is given it
is what the whole took longer, as the median of the rounds and their middle half. Needs nothing
outside Python's standard library.
"""

import os
import resource
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import arguments

SOURCE = Path(__file__).resolve().parent.parent
TINY = SOURCE / "tests/data/parity/caption"
KINDS = {
    "no output": (),
    "rows": ("-o", "out.jsonl"),
    "sidecars": ("--sidecar", ".txt", "--existing", "overwrite"),
    "rows and sidecars": ("-o", "out.jsonl", "--sidecar", ".txt", "--existing", "overwrite"),
}


def png(seed):
    """A picture of 16 x 16 pixels."""
    rows = b"".join(
        b"\0" + bytes((seed * 31 + x * y * c) % 256 for x in range(16) for c in (1, 5, 9))
        for y in range(16)
    )
    chunk = lambda kind, body: (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(options, folder, kind):
    """(seconds, seconds of a processor)"""
    for name in ("out.jsonl", "out.jsonl.job"):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / "pictures").glob("*.txt"):
        path.unlink()
    os.sync()
    command = [options.blip, "caption", "pictures", "-q", "--beams", "1", "--max-length", "6"]
    command += ["--batch", str(options.batch), "--model", options.model, *KINDS[kind]]
    begun, before = time.monotonic(), processor_seconds()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun, processor_seconds() - before


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", required=True, type=arguments.program)
    parser.add_argument("--model", default=str(TINY), type=os.path.abspath)
    parser.add_argument("--count", type=arguments.count, default=5000, help="pictures")
    parser.add_argument("--rounds", type=arguments.count, default=5)
    parser.add_argument("--batch", type=arguments.count, default=4)
    parser.add_argument("--per-picture", type=float, default=250, help="ms that the work takes")
    parser.add_argument("--folder", help="where to work, to choose the disk")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="blip-bench-", dir=options.folder))
    try:
        (folder / "pictures").mkdir()
        for i in range(options.count):
            (folder / "pictures" / f"{i:06}.png").write_bytes(png(i))
        times = {kind: [] for kind in KINDS}
        for number in range(options.rounds):
            kinds = list(KINDS)
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                times[kind].append(seconds(options, folder, kind))
    finally:
        shutil.rmtree(folder)
    medians = {
        kind: [statistics.median(one[i] for one in runs) for i in (0, 1)]
        for kind, runs in times.items()
    }
    own = options.model != str(TINY)
    plain = medians["no output"]
    print("| %d pictures | s | pictures/s | processor us more each | share |" % arguments.count)
    print("|---|---|---|---|---|")
    for kind, (wall, processor) in medians.items():
        more = (processor - plain[1]) / arguments.count * 1e6
        rate = arguments.count / wall
        share = f"{more / options.per_picture / 10:.2f} %"
        if own:
            ratios = sorted(a[0] / b[0] for a, b in zip(times[kind], times["no output"]))
            low, middle, high = (
                100 * (statistics.median(part) - 1)
                for part in (ratios[: (len(ratios) + 1) // 2], ratios, ratios[len(ratios) // 2 :])
            )
            share = f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})"
        print(f"| {kind} | {wall:.2f} | {rate:.1f} | {more:.0f} | {share} |")


if __name__ == "__main__":
    main()
