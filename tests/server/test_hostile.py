"""Honest clients among hostile ones: every honest request gets the right caption, no 5xx but 503,
memory stays flat.

A few seconds by default; BLIP_HOSTILE=full sends 20,000 requests from 200 clients. Hostile ones
send malformed HTTP, deep and broad JSON, huge claims, dribble, hang up in the middle of bodies and
answers, and retry without a pause.
"""

import collections
import json
import os
import random
import socket
import threading
import time
import unittest

from harness import EMULATED, SCENES, Server, b64, cli, in_parallel, scene, scene_names
from test_http import CLOSE, HOST, MALFORMED, POST, statuses

FULL = os.environ.get("BLIP_HOSTILE") == "full"
CLIENTS = 200 if FULL else 24
REQUESTS = 20_000 if FULL else (100 if EMULATED else 600)
HONEST = 0.3  # of the requests
WAIT = 120
RETRIED = (429, 503)


def request_of(path, body, kind=b"application/json"):
    return (
        b"POST %s HTTP/1.1\r\n" % path
        + HOST
        + CLOSE
        + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        + body
    )


class Client:
    def __init__(self, port, seed, captions):
        self.port, self.random, self.captions = port, random.Random(seed), captions
        self.seen, self.wrong = collections.Counter(), []

    def send(self, data, patience=WAIT, read=True):
        """What came back, as statuses; none where the server hung up."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), WAIT) as client:
            client.settimeout(patience)
            try:
                client.sendall(data)
            except OSError:  # refused before it was read: the answer is there
                pass
            try:
                while read and (piece := client.recv(65536)):
                    answer += piece
            except OSError:
                pass
        for status in statuses(answer):
            self.seen[status] += 1
        return answer

    def honest(self):
        name = self.random.choice(list(self.captions))
        body = json.dumps({"image": b64(scene(name)), "beams": 1}).encode()
        while True:  # a polite client comes back when it is told that there is no room
            answer = self.send(request_of(b"/v1/caption", body))
            if not set(statuses(answer)) & set(RETRIED):
                break
            time.sleep(0.1 + self.random.random() * 0.4)
        self.seen["honest"] += 1
        if f'"caption":{json.dumps(self.captions[name])}'.encode() not in answer:
            self.wrong.append((name, answer[:500]))

    def malformed(self):
        self.send(self.random.choice(list(MALFORMED.values()))[0])

    def nested_json(self):
        depth = self.random.choice([100, 5000, 60_000])
        field = self.random.choice(["images", "texts", "image"])
        path = self.random.choice(
            [b"/v1/caption", b"/v1/match", b"/v1/chat/completions", b"/v1/history"]
        )
        self.send(
            request_of(path, b'{"%s": ' % field.encode() + b"[" * depth + b"]" * depth + b"}")
        )

    def broad_json(self):
        self.send(request_of(b"/v1/match", b'{"texts": [' + b"1," * 50_000 + b"1]}"))

    def huge_claim(self):
        self.send(
            POST + b"Content-Length: %d\r\n\r\nabc" % self.random.choice([10**9, 10**15, 60 << 20]),
            0.2,
        )

    def dribble(self):
        with socket.create_connection(("127.0.0.1", self.port), WAIT) as client:
            try:
                for byte in POST[: self.random.randrange(8)]:
                    client.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass

    def hang_up_in_body(self):
        body = json.dumps({"image": b64(scene())}).encode()
        data = request_of(b"/v1/caption", body)
        self.send(data[: self.random.randrange(len(data))], read=False)

    def hang_up_in_answer(self):
        body = json.dumps(
            {"image": b64(scene()), "stream": True, "min_length": 40, "max_length": 60}
        ).encode()
        with socket.create_connection(("127.0.0.1", self.port), WAIT) as client:
            try:
                client.sendall(request_of(b"/v1/caption", body))
                client.recv(10)
            except OSError:
                pass

    def retry_storm(self):
        for _ in range(10):
            self.send(b"GET /nothing HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")

    HOSTILE = (
        malformed,
        nested_json,
        broad_json,
        huge_claim,
        dribble,
        hang_up_in_body,
        hang_up_in_answer,
        retry_storm,
    )

    def run(self, count):
        for _ in range(count):
            self.seen["requests"] += 1
            (
                self.honest
                if self.random.random() < HONEST
                else self.random.choice(self.HOSTILE).__get__(self)
            )()


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Hostile(unittest.TestCase):
    def test_honest_clients_among_hostile_ones(self):
        names = scene_names()[:12]
        captions = {
            name: one["caption"]
            for name, one in zip(
                names, cli("caption", *(SCENES / name for name in names), "--beams", 1)
            )
        }
        server = Server("--timeout", 600, "--header-timeout", 2)
        self.addCleanup(server.stop)
        memory, slow_health, stop = [], [], threading.Event()

        def watch():
            while not stop.wait(0.25):
                memory.append(resident_mib(server.process.pid))
                started = time.monotonic()
                if server.get("/healthz").status != 200:
                    slow_health.append("not 200")
                slow_health.append(time.monotonic() - started)

        watcher = threading.Thread(target=watch)
        watcher.start()
        clients = [Client(server.port, seed, captions) for seed in range(CLIENTS)]
        started = time.monotonic()
        failures = [
            one
            for one in in_parallel(CLIENTS, lambda i: clients[i].run(REQUESTS // CLIENTS))
            if one is not None
        ]
        taken = time.monotonic() - started
        stop.set()
        watcher.join()
        seen = sum((client.seen for client in clients), collections.Counter())
        half = len(memory) // 2
        print(
            f"{seen['requests']} requests in {taken:.1f} s: {dict(seen)}; MiB: {memory[0]:.0f} at "
            "first, "
            f"{max(memory[:half]):.0f} at most in the first half, {max(memory[half:]):.0f} in the "
            "second; "
            f"/healthz took {max(slow_health):.3f} s at most"
        )
        self.assertEqual(failures, [])
        self.assertEqual(sum((client.wrong for client in clients), [])[:3], [])
        self.assertGreater(seen["honest"], REQUESTS * HONEST / 2)
        self.assertEqual(
            [
                status
                for status in seen
                if isinstance(status, int) and status >= 500 and status not in (501, 503, 505)
            ],
            [],
        )
        self.assertLess(max(memory[half:]), 1.5 * max(memory[:half]) + 64)
        self.assertLess(max(slow_health), 30 if EMULATED else 5)
        self.assertIsNone(server.process.poll())


if __name__ == "__main__":
    unittest.main()
