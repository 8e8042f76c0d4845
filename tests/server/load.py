"""Measures a server under load with wrk (`apt install wrk`). Run it on an otherwise idle machine:

    export BLIP_PROGRAM=build/release/bin/blip BLIP_SOURCE=.
    python3 tests/server/load.py FIGURE... [--model PATH] [--seconds 10]

FIGURE: ask       questions about one picture, per second, from one client and from eight
        distinct  captions of distinct pictures per second from eight clients (--rounds, the
                  median), beside `blip caption` on the same files
        overhead  what HTTP adds to the model's own time, in milliseconds: median and 95th
                  percentile
        memory    the server's memory after 1,000 requests and after --requests more
Each prints one JSON object.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

from harness import MODEL, PROGRAM, Server, in_parallel, png_file

CLIENTS = 8
SIZE = (320, 240)
BATCH = 4  # of `blip caption`, its default
QUESTION = "/v1/ask?question=is+there+a+cat"
HERE = Path(__file__).parent


def picture(seed):
    """A PNG of the usual proportions that no other seed gives; gradients, as a photo has, and
    edges.
    """
    width, height = SIZE
    rows = (
        b"\0"
        + bytes(
            (
                (x * (seed % 5 + 1)) // 3
                + y // (c + 1)
                + (90 if (x // 40 + y // 40 + seed) % 3 == c else 0)
                + seed * 37
            )
            % 256
            for x in range(width)
            for c in range(3)
        )
        for y in range(height)
    )
    return png_file(width, height, zlib.compress(b"".join(rows), 1))


def write_pictures(folder, count):
    files = [Path(folder) / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        file.write_bytes(picture(i))
    return files


def wrk(server, path, folder, clients, seconds):
    """Answers per second."""
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds}s",
        "--timeout",
        "60s",
        "-s",
        str(HERE / "load.lua"),
        f"http://127.0.0.1:{server.port}{path}",
        "--",
        str(folder),
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    return float(re.search(r"Requests/sec: +([0-9.]+)", output)[1])


class Client:
    """Keeps its connection."""

    def __init__(self, server):
        self.connection = server.connect()

    def post(self, path, body):
        """The answer and the milliseconds it took."""
        started = time.perf_counter()
        self.connection.request("POST", path, body, {"Content-Type": "image/png"})
        response = self.connection.getresponse()
        answer = response.read()
        taken = (time.perf_counter() - started) * 1000
        if response.status != 200:
            raise RuntimeError(answer.decode())
        return json.loads(answer), taken


def ask(options):
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder, 1)
        server = Server("-q", "--no-history", keep_history=False, model=options.model)
        try:
            wrk(server, QUESTION, folder, 1, 1)  # the picture is known, the processor warm
            rounds = [
                [
                    wrk(server, QUESTION, folder, clients, max(1, options.seconds // 3))
                    for clients in (1, CLIENTS)
                ]
                for _ in range(3)
            ]
        finally:
            server.stop()
    one, eight = (statistics.median(figures) for figures in zip(*rounds))
    return {
        "ask_1_client_per_s": round(one, 2),
        f"ask_{CLIENTS}_clients_per_s": round(eight, 2),
        "ratio": round(eight / one, 2),
    }


def fixed_count(server, path, files, count):
    """Answers per second, for models that are too slow for wrk's fixed time: the clients share
    `count` requests.
    """
    waiting = [files[i % len(files)].read_bytes() for i in range(count)]

    def work(_):
        client = Client(server)
        while waiting:
            client.post(path, waiting.pop())

    started = time.perf_counter()
    for failure in in_parallel(CLIENTS, work):
        if failure is not None:
            raise failure
    return count / (time.perf_counter() - started)


def cli_per_second(model, files, count):
    """From the first batch's captions on, so that loading the model does not count."""
    names = [str(files[i % len(files)]) for i in range(BATCH + count)]
    with subprocess.Popen(
        [PROGRAM, "caption", *names, "--json", "-q", "-m", model, "--batch", str(BATCH)],
        stdout=subprocess.PIPE,
        bufsize=1 << 20,
    ) as process:
        for _ in range(BATCH):
            process.stdout.readline()
        started = time.perf_counter()
        lines = sum(1 for _ in process.stdout)
        taken = time.perf_counter() - started
    if process.returncode != 0 or lines != count:
        raise RuntimeError(
            f"blip caption: exit code {process.returncode}, {BATCH + lines} of {BATCH + count} "
            "captions"
        )
    return count / taken


def distinct(options):
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(folder, 64)
        server = Server(
            "-q", "--no-history", "--cache-entries", 0, keep_history=False, model=options.model
        )
        figures = []
        try:
            warm = fixed_count(server, "/v1/caption", files, 2 * CLIENTS)
            for _ in range(options.rounds):
                if warm > 20:
                    served = wrk(server, "/v1/caption", folder, CLIENTS, options.seconds)
                else:
                    served = fixed_count(
                        server,
                        "/v1/caption",
                        files,
                        CLIENTS * max(2, round(warm * options.seconds / CLIENTS)),
                    )
                figures.append(
                    (
                        served,
                        cli_per_second(
                            options.model,
                            files,
                            CLIENTS * max(2, round(served * options.seconds / CLIENTS)),
                        ),
                    )
                )
        finally:
            server.stop()
    served, alone = (statistics.median(column) for column in zip(*figures))
    return {
        f"caption_{CLIENTS}_clients_per_s": round(served, 3),
        "blip_caption_per_s": round(alone, 3),
        "ratio": round(served / alone, 3),
    }


def overhead(options):
    server = Server("-q", "--no-history", keep_history=False, model=options.model)
    extra = []
    try:
        client, body = Client(server), picture(0)
        client.post(QUESTION, body)
        until = time.perf_counter() + options.seconds
        while time.perf_counter() < until:
            answer, taken = client.post(QUESTION, body)
            extra.append(taken - answer["results"][0]["timings_ms"]["task"])
    finally:
        server.stop()
    return {
        "overhead_median_ms": round(statistics.median(extra), 3),
        "overhead_p95_ms": round(statistics.quantiles(extra, n=20)[-1], 3),
        "requests": len(extra),
    }


def memory_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def memory(options):
    """New pictures all the time, so that the cache fills and turns over."""
    with tempfile.TemporaryDirectory() as folder:
        bodies = [file.read_bytes() for file in write_pictures(folder, 64)]
    server = Server("-q", "--cache-entries", 32, model=options.model)
    try:
        client = Client(server)

        def send(count):
            for i in range(count):
                client.post(
                    "/v1/caption?beams=1&max_length=8" if i % 4 == 0 else QUESTION + "&beams=1",
                    bodies[i * 7 % len(bodies)],
                )
            return memory_mib(server)

        before = send(1000)
        return {
            "memory_mib_after_1000": round(before, 1),
            f"memory_mib_after_{1000 + options.requests}": round(send(options.requests), 1),
        }
    finally:
        server.stop()


FIGURES = {"ask": ask, "distinct": distinct, "overhead": overhead, "memory": memory}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="+", choices=FIGURES)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="of distinct")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    options.seconds = round(options.seconds)
    for name in options.figures:
        print(json.dumps(FIGURES[name](options)), flush=True)


if __name__ == "__main__":
    main()
