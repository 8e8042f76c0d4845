"""Everything at once: clients of every endpoint, clients that hang up, a full queue, then SIGTERM.
What `make check` runs under the thread sanitizer, which ends the server with an error when it has
something to say.

BLIP_LOAD_SECONDS says for how long (default 6).
"""

import collections
import json
import os
import random
import signal
import socket
import threading
import time
import unittest

from harness import Server, b64, in_parallel, picture, scene, scene_names

SECONDS = float(os.environ.get("BLIP_LOAD_SECONDS", 6))
CLIENTS = 8
ANSWERS = {200, 201, 204, 404, 429, 503, 504}


class Client:
    """Sends requests of all kinds until it is told to stop; counts what came back."""

    def __init__(self, server, seed):
        self.server, self.random, self.seen = server, random.Random(seed), collections.Counter()

    def image(self):
        name = self.random.choice(scene_names())
        return (
            b64(scene(name))
            if self.random.random() < 0.7
            else b64(picture(self.random.randrange(200)))
        )

    def caption(self):
        return self.server.post_json(
            "/v1/caption",
            {
                "image": self.image(),
                "beams": self.random.choice([1, 3]),
                "attention": self.random.random() < 0.3,
            },
        )

    def stream(self):
        return self.server.post_json("/v1/caption", {"image": self.image(), "stream": True})

    def ask(self):
        return self.server.post_json(
            "/v1/ask",
            {
                "image": b64(scene()),
                "question": self.random.choice(["is there a bus?", "what animal is this?"]),
            },
        )

    def stream_answer(self):
        return self.server.post_json(
            "/v1/ask",
            {
                "image": self.image(),
                "question": "is there a bus?",
                "stream": True,
                "attention": True,
            },
        )

    def rank(self):
        return self.server.post_json(
            "/v1/ask",
            {"image": self.image(), "question": "is there a bus?", "answers": ["yes", "no"]},
        )

    def match(self):
        return self.server.post_json(
            "/v1/match", {"image": self.image(), "texts": ["a cat", "a bus"]}
        )

    def embed(self):
        return self.server.post_json("/v1/embed", {"image": self.image(), "texts": ["a cat"]})

    def attention(self):
        return self.server.post_json(
            "/v1/attention", {"image": self.image(), "text": "a cat", "format": "png"}
        )

    def chat(self):
        url = {"url": "data:image/png;base64," + self.image()}
        return self.server.post_json(
            "/v1/chat/completions",
            {
                "stream": self.random.random() < 0.5,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": url},
                            {"type": "text", "text": self.random.choice(["", "is it red?"])},
                        ],
                    }
                ],
            },
        )

    def sophon_demo(self):
        name = str(self.random.getrandbits(60))
        pushed = self.server.post_form(
            "/ask/push_data", [("id", name), ("image", self.image()), ("texts", "is there a bus?")]
        )
        reply = pushed
        while pushed.status == 200:  # until it is there
            reply = self.server.get("/ask/get_result?id=" + name)
            if reply.status != 400:
                break
        return reply

    def history(self):
        added = self.server.post_form(
            "/v1/history",
            [("task", "caption"), ("name", "x.png"), ("summary", "load"), ("image", scene())],
        )
        self.server.get("/v1/history?query=load")
        return (
            self.server.request("DELETE", f"/v1/history/{added.json['id']}")
            if added.status == 201
            else added
        )

    def metrics(self):
        self.server.get("/metrics")
        return self.server.get("/v1/models")

    def short_deadline(self):
        return self.server.post_json(
            "/v1/caption",
            {
                "image": self.image(),
                "beams": 16,
                "min_length": 60,
                "max_length": 64,
                "timeout_ms": 500,
            },
        )

    def hang_up(self):
        body = json.dumps(
            {
                "image": self.image(),
                "min_length": 60,
                "max_length": 64,
                "stream": self.random.random() < 0.5,
            }
        ).encode()
        with socket.create_connection(("127.0.0.1", self.server.port)) as client:
            client.sendall(
                b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            client.sendall(body[: self.random.choice([10, len(body)])])
            time.sleep(self.random.random() * 0.05)

    KINDS = (
        caption,
        stream,
        ask,
        stream_answer,
        rank,
        match,
        embed,
        attention,
        chat,
        sophon_demo,
        history,
        metrics,
        short_deadline,
        hang_up,
    )

    def one(self, kind):
        reply = kind(self)
        if reply is not None:
            self.seen[kind.__name__, reply.status] += 1
            if (
                reply.status == 200
                and reply.headers["Content-Type"] == "text/event-stream"
                and b"event: error" not in reply.body
            ):
                last = reply.events[-1]
                assert last[0] == "done" or last[1] == "[DONE]", last

    def run(self, stop):
        while not stop.is_set():
            try:
                self.one(self.random.choice(self.KINDS))
            except (ConnectionError, TimeoutError):
                if not stop.is_set():  # the server hangs up at its end only
                    raise


class Load(unittest.TestCase):
    def test_every_kind_of_request_at_once_then_sigterm(self):
        server = Server("-q", "--queue", 24, "--batch", 4, "--cache-entries", 6)
        self.addCleanup(server.stop)
        clients = [Client(server, seed) for seed in range(CLIENTS)]
        for kind in Client.KINDS:  # each at least once
            clients[0].one(kind)
        stop = threading.Event()

        def end():
            time.sleep(SECONDS)
            server.signal(signal.SIGTERM)
            stop.set()

        threading.Thread(target=end).start()
        failures = [
            result
            for result in in_parallel(CLIENTS, lambda i: clients[i].run(stop))
            if result is not None
        ]
        code = server.wait()
        seen = sum((client.seen for client in clients), collections.Counter())
        print(
            f"{sum(seen.values())} requests in {SECONDS} s:",
            dict(collections.Counter(status for _, status in seen.elements())),
        )
        self.assertEqual(failures, [])
        self.assertNotIn("ThreadSanitizer", server.log())
        self.assertEqual(code, 0, server.log()[-5000:])
        self.assertLessEqual({status for _, status in seen}, ANSWERS, seen)
        for kind in Client.KINDS:
            if kind is not Client.hang_up and kind is not Client.short_deadline:
                self.assertTrue(
                    {200, 204} & {status for name, status in seen if name == kind.__name__},
                    (kind.__name__, seen),
                )


if __name__ == "__main__":
    unittest.main()
