"""Starts `blip serve` and talks to it. Needs nothing outside Python's standard library; all traffic
stays on 127.0.0.1.

The environment says what to test: BLIP_PROGRAM, the program (or a script that runs it under an
emulator); BLIP_EXECUTABLE, the program's own file, if that is another; BLIP_SOURCE, the source
tree; BLIP_MODEL, the model (default: the bundled one).
"""

import base64
import http.client
import json
import os
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import uuid
import zlib
from pathlib import Path

PROGRAM = os.environ["BLIP_PROGRAM"]
SOURCE = Path(os.environ["BLIP_SOURCE"])
SCENES = SOURCE / "demo" / "scenes"
MODEL = os.environ.get("BLIP_MODEL") or str(SOURCE / "models" / "blip-demo.gguf")
EXECUTABLE = Path(os.environ.get("BLIP_EXECUTABLE") or PROGRAM)
EMULATED = EXECUTABLE != Path(PROGRAM)  # some thirty times slower
# Its memory is no measure.
SANITIZED = any(name in EXECUTABLE.read_bytes() for name in (b"__asan_init", b"__tsan_init"))
TIMEOUT = 600 if EMULATED or SANITIZED else 120  # seconds


def scene(name="cat-bus.png"):
    return (SCENES / name).read_bytes()


def scene_names():
    return sorted(path.name for path in SCENES.glob("*.png"))


def png_file(width, height, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def picture(seed):
    """A small PNG that differs from seed to seed."""
    rows = b"".join(
        b"\0"
        + bytes((seed * 31 + x * 7 + y * 3 + c * 50) % 256 for x in range(32) for c in range(3))
        for y in range(32)
    )
    return png_file(32, 32, zlib.compress(rows))


def b64(data):
    return base64.b64encode(data).decode()


def data_url(data):
    return "data:image/png;base64," + b64(data)


def cli(command, *arguments):
    """What the command line says, as JSON: the server must agree with it."""
    done = subprocess.run(
        [PROGRAM, command, *map(str, arguments), "--json", "-q", "-m", MODEL],
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    @property
    def events(self):
        """Server-sent events as (event, data) pairs; data is text."""
        result = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
            if fields:
                result.append((fields.get("event", ""), fields["data"]))
        return result


class Server:
    def __init__(
        self, *arguments, history=None, model=MODEL, port=0, keep_history=True, launcher=()
    ):
        """keep_history: name the history's file; without, blip chooses. launcher: a command that
        starts the server.
        """
        self.folder = tempfile.TemporaryDirectory(prefix="blip-server-")
        self.history = history or os.path.join(self.folder.name, "history.db")
        self.log_path = os.path.join(self.folder.name, f"log-{uuid.uuid4().hex}")
        patience = ("--timeout", TIMEOUT) if EMULATED and "--timeout" not in arguments else ()
        with open(self.log_path, "wb") as log:
            kept = ("--history", self.history) if keep_history else ()
            self.process = subprocess.Popen(
                [
                    *launcher,
                    PROGRAM,
                    "serve",
                    "-m",
                    model,
                    "--port",
                    str(port),
                    *kept,
                    *map(str, (*patience, *arguments)),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "XDG_DATA_HOME": self.folder.name},
            )
        line = self.process.stdout.readline().decode()
        if not line:
            self.process.wait()
            self.process.stdout.close()
            raise RuntimeError("the server did not start: " + self.log())
        self.port = int(line.rstrip().rstrip("/").rsplit(":", 1)[1])

    def log(self):
        return Path(self.log_path).read_text(encoding="utf-8")

    def log_lines(self, event):
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, content_type="application/octet-stream", headers=None):
        return self.request("POST", path, body, {"Content-Type": content_type, **(headers or {})})

    def post_json(self, path, value, headers=None):
        return self.post(path, json.dumps(value), "application/json", headers)

    def post_form(self, path, fields):
        """fields: (name, value) pairs; bytes go as a file."""
        boundary = uuid.uuid4().hex
        body = b""
        for name, value in fields:
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
            if isinstance(value, bytes):
                body += b'; filename="picture.png"\r\nContent-Type: image/png\r\n\r\n' + value
            else:
                body += b"\r\n\r\n" + str(value).encode()
            body += b"\r\n"
        return self.post(
            path, body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
        )

    def metric(self, name):
        """The value of a sample line, its labels included in the name; 0 where it is not there
        yet.
        """
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(TIMEOUT)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(TIMEOUT)
        self.process.stdout.close()
        self.folder.cleanup()


def in_parallel(count, call):
    """call(i) for each i, each on its own thread; the results in order, an exception as itself."""
    results = [None] * count

    def run(i):
        try:
            results[i] = call(i)
        except Exception as error:  # the caller looks at it
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def wait_until(condition, seconds=TIMEOUT):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


class ServerTest(unittest.TestCase):
    """Tests that share one server."""

    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.arguments)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        if cls.server.process.returncode != 0:
            raise AssertionError(f"exit code {cls.server.process.returncode}: {cls.server.log()}")

    def ok(self, reply, status=200):
        self.assertEqual(reply.status, status, reply.body[:2000])
        return reply.json

    def problem(self, reply, status, code, words=""):
        self.assertEqual(
            (reply.status, reply.headers["Content-Type"]),
            (status, "application/problem+json"),
            reply.body[:2000],
        )
        problem = reply.json
        self.assertEqual(
            (problem["status"], problem["code"], problem["type"]),
            (status, code, "urn:blip:problem:" + code),
        )
        self.assertEqual(problem["request_id"], reply.headers["X-Request-Id"])
        self.assertIn(words, problem["detail"])
        return problem
