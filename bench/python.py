#!/usr/bin/env python3
"""What the Python package costs over C++ and the program: calls, loading, a folder of pictures, the
import.

    cmake --build --preset release -j --target blip blip_shared bench_calls
    python3 bench/python.py

--model takes another model than the bundled one, whose short calls show the cost best.

Both sides of each figure are measured in turn, round after round, and medians of the rounds'
differences or ratios printed beside what they should not exceed. Exits with 1 where one does. Run
it on an idle machine.
"""

import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import arguments

SOURCE = pathlib.Path(__file__).resolve().parent.parent
SCENES = SOURCE / "demo" / "scenes"
TASKS = ("caption", "match", "ask", "embed")
MAX_CALL_MS, MAX_LOAD_MS, MIN_FOLDER, MAX_IMPORT_MS = 0.2, 50.0, 0.97, 60.0


def median_ms(count, call):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


class CppCalls:
    """bench/calls.cpp at work."""

    def __init__(self, build, model, picture):
        self.process = subprocess.Popen(
            [str(build / "bench" / "bench_calls"), model, picture],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )

    def ms(self, task, count):
        self.process.stdin.write("%s %d\n" % (task, count))
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure_calls(options, blipcpp):
    """Milliseconds of Python over C++, by task; and of loading."""
    picture = str(SCENES / "clock.png")
    model = blipcpp.Model.load(options.model)
    encoded = model.encode(picture)
    calls = {
        "caption": lambda: model.caption(encoded),
        "match": lambda: model.match(encoded, "a clock"),
        "ask": lambda: model.ask(encoded, "is there a clock?"),
        "embed": lambda: model.embed(encoded),
        "load": lambda: blipcpp.Model.load(options.model),
    }
    calls = {name: call for name, call in calls.items() if name in (*model.info.tasks, "load")}
    counts = dict.fromkeys(TASKS, options.calls)
    counts["load"] = 5
    cpp = CppCalls(options.build, options.model, picture)
    over = {}
    for task, call in calls.items():
        pairs = [
            (cpp.ms(task, counts[task]), median_ms(counts[task], call))
            for _ in range(options.rounds)
        ]
        over[task] = [python - base for base, python in pairs]
        print("%-8s C++ %8.3f ms, Python %8.3f ms" % (task, *map(statistics.median, zip(*pairs))))
    cpp.close()
    return {task: statistics.median(values) for task, values in over.items()}


def measure_folder(options, blipcpp):
    """Pictures per second of the generator, of those of `blip caption`."""
    model = blipcpp.Model.load(options.model)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        scenes = sorted(SCENES.glob("*.png"))
        for i in range(options.pictures):
            shutil.copy(str(scenes[i % len(scenes)]), str(folder / ("%05d.png" % i)))
        command = [
            str(options.build / "bin" / "blip"),
            "caption",
            name,
            "--model",
            options.model,
            "--batch",
            "8",
        ]
        for turn in range(options.rounds + 1):
            done = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
            )
            program = float(
                re.search(r"%d pictures in ([0-9.]+) s" % options.pictures, done.stderr).group(1)
            )
            start = time.perf_counter()
            captions = [str(c) for c in model.captions(sorted(folder.iterdir()), batch_size=8)]
            python = time.perf_counter() - start
            assert captions == [
                line.split("\t")[1] for line in done.stdout.splitlines()
            ], "the captions differ"
            if turn > 0:  # the first warms the caches
                ratios.append(program / python)
    print(
        "folder   of %d pictures: Python at %s of the program's pace"
        % (options.pictures, " ".join("%.3f" % r for r in ratios))
    )
    return statistics.median(ratios)


def measure_import(options):
    """Milliseconds of `import blipcpp` beyond NumPy's."""

    def run(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return 1e3 * (time.perf_counter() - start)

    run("import numpy, blipcpp")
    return statistics.median(
        run("import numpy, blipcpp") - run("import numpy") for _ in range(3 * options.rounds)
    )


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build" / "release")
    parser.add_argument("--model", default=str(SOURCE / "models" / "blip-demo.gguf"))
    parser.add_argument("--rounds", type=arguments.count, default=7)
    parser.add_argument(
        "--calls", type=arguments.count, default=100, help="calls of a task in a round"
    )
    parser.add_argument("--pictures", type=arguments.count, default=400, help="in the folder")
    options = parser.parse_args()
    os.environ["BLIPCPP_LIBRARY"] = str(options.build / "src" / "libblip.so")
    os.environ["PYTHONPATH"] = str(SOURCE / "python" / "src")
    sys.path.insert(0, os.environ["PYTHONPATH"])
    import blipcpp

    over = measure_calls(options, blipcpp)
    results = [
        ("a call of %s over C++'s, ms" % task, over[task], over[task] <= MAX_CALL_MS, MAX_CALL_MS)
        for task in TASKS
        if task in over
    ]
    results.append(
        ("Model.load over C++'s, ms", over["load"], over["load"] <= MAX_LOAD_MS, MAX_LOAD_MS)
    )
    pace = measure_folder(options, blipcpp)
    results.append(("a folder, of the program's pace", pace, pace >= MIN_FOLDER, MIN_FOLDER))
    beyond = measure_import(options)
    results.append(("import beyond NumPy's, ms", beyond, beyond <= MAX_IMPORT_MS, MAX_IMPORT_MS))
    for what, value, good, bound in results:
        print("%-34s %8.3f   (bound %.2f) %s" % (what, value, bound, "" if good else "MISSED"))
    return 0 if all(good for _, _, good, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
