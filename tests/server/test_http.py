"""HTTP as strangers speak it: malformed requests with the status of each, deadlines, taken
connections, names, ending.
"""

import json
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

from harness import EMULATED, TIMEOUT, Server, ServerTest, b64, picture, wait_until


def exchange(port, data, timeout=20, address="127.0.0.1"):
    """Everything that comes back until the server closes or falls silent."""
    with socket.create_connection((address, port), timeout) as client:
        try:
            client.sendall(data)
        except OSError:  # it may close before it has read all
            pass
        return read_all(client)


def read_all(client):
    answer = b""
    try:
        while piece := client.recv(65536):
            answer += piece
    except OSError:
        pass
    return answer


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


HOST = b"Host: localhost\r\n"
POST = b"POST /v1/caption HTTP/1.1\r\n" + HOST
CLOSE = b"Connection: close\r\n"

MALFORMED = {
    "two different lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 4\r\n\r\nabcd", 400),
    "length and chunks": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked is not last": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "gzip before chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks in 1.0": (
        b"POST /v1/caption HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a space before the colon": (POST + b"Content-Length : 3\r\n\r\nabc", 400),
    "a space in a name": (b"GET / HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"abc\r\n\r\n", 400),
    "an empty name": (b"GET / HTTP/1.1\r\n" + HOST + b": c\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n c\r\n\r\n", 400),
    "a space before the first header": (b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "an empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: me@localhost\r\n\r\n", 400),
    "a host with a wrong port": (b"GET / HTTP/1.1\r\nHost: localhost:99999\r\n\r\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    "a bare line feed in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\nc: d\r\n\r\n", 400),
    "a bare carriage return": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\rc: d\r\n\r\n", 400),
    "a zero byte": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\0c\r\n\r\n", 400),
    "a zero byte in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a relative target": (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target of another scheme": (b"GET ftp://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target with a user": (b"GET http://me@localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method that is no word": (b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "lower case http": (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "a length with a plus": (POST + b"Content-Length: +5\r\n\r\nabcde", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x5\r\n\r\nabcde", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a length over 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "a large length": (POST + b"Content-Length: 999999999999\r\n\r\n", 413),
    "a chunk size of letters": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a negative chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    "a chunk with 0x": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk over 64 bits": (
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        400,
    ),
    "a chunk without size": (POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n", 400),
    "a chunk that is longer": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        400,
    ),
    "a line feed after a chunk's size": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        400,
    ),
    "an endless chunk extension": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 5000,
        400,
    ),
    "a wrong trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nab c\r\n\r\n", 400),
    "a long address": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "an endless address": (b"GET /" + b"a" * 200_000, 414),
    "long headers": (b"GET / HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 70_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"\r\n", 431),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/3.1": (b"GET / HTTP/3.1\r\n" + HOST + b"\r\n", 505),
    "connect": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 501),
}


class Malformed(ServerTest):
    def test_each_is_refused_and_the_connection_closed(self):
        for name, (data, status) in MALFORMED.items():
            with self.subTest(name):
                # What follows must not be taken for a request.
                answer = exchange(
                    self.server.port, data + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 60
                )
                self.assertEqual(statuses(answer), [status], answer[:300])
                self.assertIn(b"Connection: close\r\n", answer)
                problem = json.loads(answer.split(b"\r\n\r\n", 1)[1])
                self.assertEqual(problem["status"], status)
                self.assertGreater(len(problem["detail"]), 10)
        self.assertEqual(self.server.get("/healthz").status, 200)

    def test_bytes_one_by_one_are_the_same(self):
        for name in (
            "two different lengths",
            "a folded header",
            "a chunk that is longer",
            "a zero byte",
        ):
            with self.subTest(name), socket.create_connection(
                ("127.0.0.1", self.server.port), 20
            ) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    for byte in MALFORMED[name][0]:
                        client.sendall(bytes([byte]))
                except OSError:
                    pass
                self.assertEqual(statuses(read_all(client)), [400])


class WellFormed(ServerTest):
    def send(self, data):
        return exchange(self.server.port, data)

    def test_absolute_addresses(self):
        answer = self.send(
            b"GET http://localhost:%d/healthz?x=1 HTTP/1.1\r\n" % self.server.port
            + HOST
            + CLOSE
            + b"\r\n"
        )
        self.assertEqual(statuses(answer), [200])
        self.assertIn(b'{"status":"ok"}', answer)

    def test_pipelined_requests_are_answered_in_order(self):
        body = picture(1)
        caption = POST + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        health = b"GET /healthz HTTP/1.1\r\n" + HOST
        answer = self.send(
            caption
            + health
            + b"\r\n"
            + caption
            + b"GET /nothing HTTP/1.1\r\n"
            + HOST
            + CLOSE
            + b"\r\n"
        )
        self.assertEqual(statuses(answer), [200, 200, 200, 404])
        self.assertEqual(answer.count(b'"caption":'), 2)

    def test_http_1_0(self):
        answer = self.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertEqual(statuses(answer), [200])
        self.assertIn(b"Connection: close", answer)
        one = b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
        self.assertEqual(statuses(self.send(one + b"GET /healthz HTTP/1.0\r\n\r\n")), [200, 200])
        body = picture(1)
        answer = self.send(
            b"POST /v1/caption?stream=true HTTP/1.0\r\nContent-Type: image/png\r\nContent-Length: "
            b"%d\r\n\r\n" % len(body) + body
        )
        self.assertNotIn(b"chunked", answer)
        self.assertTrue(answer.rstrip().endswith(b"}"), answer[-200:])
        self.assertIn(b"event: done", answer)

    def test_head_and_options(self):
        answer = self.send(b"HEAD /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
        head, body = answer.split(b"\r\n\r\n", 1)
        self.assertEqual((statuses(head), body), ([200], b""))
        self.assertIn(b"Content-Length: 16", head)
        self.assertEqual(
            statuses(self.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")), [204]
        )

    def test_continue(self):
        body = picture(1)
        with socket.create_connection(("127.0.0.1", self.server.port), 20) as client:
            client.sendall(
                POST
                + CLOSE
                + b"Expect: 100-continue\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                % len(body)
            )
            self.assertEqual(client.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(body)
            self.assertEqual(statuses(read_all(client)), [200])
        answer = self.send(
            b"POST /nothing HTTP/1.1\r\n"
            + HOST
            + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"
        )
        self.assertEqual(statuses(answer), [404])

    def test_chunks_with_extensions_and_trailers(self):
        body = picture(1)
        chunks = (
            b"%x;a=b\r\n" % 10
            + body[:10]
            + b"\r\n%X\r\n" % len(body[10:])
            + body[10:]
            + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        data = POST + b"Content-Type: image/png\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks
        self.assertEqual(
            statuses(self.send(data + b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")),
            [200, 200],
        )

    def test_a_refused_body_keeps_the_connection(self):
        data = b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nabcde"
        self.assertEqual(
            statuses(self.send(data + b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")),
            [404, 200],
        )

    def test_a_client_that_shuts_down_its_side_gets_its_answer(self):
        with socket.create_connection(("127.0.0.1", self.server.port), 20) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(statuses(read_all(client)), [200])


class Deadlines(unittest.TestCase):
    def start(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(server.stop)
        return server

    def test_headers_bodies_and_silence(self):
        server = self.start("--header-timeout", 1, "--body-timeout", 2, "--idle-timeout", 1)
        started = time.monotonic()
        self.assertEqual(statuses(exchange(server.port, b"GET / HTTP/1.1\r\nHost: loc")), [408])
        self.assertEqual(
            statuses(exchange(server.port, POST + b"Content-Length: 1000\r\n\r\nabc")), [408]
        )
        self.assertEqual(exchange(server.port, b""), b"")
        self.assertEqual(
            statuses(exchange(server.port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")), [200]
        )
        self.assertLess(time.monotonic() - started, 15)

    def test_a_client_that_does_not_read_is_given_up(self):
        server = self.start("--min-rate", 1_000_000)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            try:
                client.settimeout(40)
                for _ in range(3000):
                    client.sendall(b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n")
                self.assertTrue(
                    wait_until(lambda: server.metric("blip_requests_in_flight") == 1, 40)
                )
            except OSError:
                pass  # it was closed while we wrote: as well
        self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") == 1, 40))

    def test_dribblers_do_not_keep_others_out(self):
        server = self.start("--max-connections", 64)
        clients, stop = [], threading.Event()
        self.addCleanup(lambda: [client.close() for client in clients])
        for i in range(96):
            client = socket.create_connection(("127.0.0.1", server.port), 10)
            client.sendall(
                POST + b"Content-Length: 1000\r\n\r\n" if i % 2 else b"GET / HTTP/1.1\r\nX"
            )
            clients.append(client)

        def dribble():
            while not stop.wait(0.5):
                for client in clients:
                    try:
                        client.sendall(b"x")
                    except OSError:
                        pass

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            for _ in range(20):
                started = time.monotonic()
                self.assertEqual(server.get("/healthz").status, 200)
                self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)
                self.assertLess(time.monotonic() - started, 5 * (30 if EMULATED else 1))
        finally:
            stop.set()
            thread.join()

    def test_health_is_answered_when_all_connections_are_at_work(self):
        server = self.start(
            "--max-connections",
            4,
            "--batch",
            1,
            "--timeout",
            900,
            "--max-images",
            100,
            "--max-work",
            10_000_000,
        )
        pictures = 4 if EMULATED else 64
        body = json.dumps(
            {
                "images": [b64(picture(i)) for i in range(pictures)],
                "beams": 8,
                "min_length": 40,
                "max_length": 44,
            }
        ).encode()
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        for _ in range(4):
            client = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
            client.sendall(
                POST
                + CLOSE
                + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            clients.append(client)
        time.sleep(0.1)
        answer = exchange(server.port, b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(statuses(answer), [503])
        self.assertIn(b"all 4 connections are at work", answer)
        for _ in range(40):  # more than are kept for it
            self.assertEqual(server.get("/healthz").status, 200)
        for client in clients:
            self.assertEqual(statuses(read_all(client)), [200])

    def test_one_client_has_a_limit(self):
        server = self.start("--max-connections-per-client", 5)
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        for _ in range(8):
            clients.append(
                socket.create_connection(("127.0.0.1", server.port), 5, ("127.0.0.2", 0))
            )
        time.sleep(0.5)
        gone = 0
        for client in clients:
            client.setblocking(False)
            try:
                gone += client.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                gone += 1
        self.assertEqual(gone, 3)
        self.assertEqual(server.get("/healthz").status, 200)


class Names(unittest.TestCase):
    def start(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(server.stop)
        return server

    def status(self, server, host, path="/v1/models", **headers):
        reply = server.request(
            "GET",
            path,
            headers={"Host": host, **{k.replace("_", "-"): v for k, v in headers.items()}},
        )
        return reply.status

    def test_a_page_whose_name_leads_here_reads_nothing(self):
        server = self.start()
        for host in (
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "notlocalhost",
            "8.8.8.8",
            "[2001:db8::1]",
            "127.0.0.1.evil.example",
        ):
            for path in ("/", "/v1/history", "/v1/models", "/metrics", "/openapi.json", "/nothing"):
                reply = server.request("GET", path, headers={"Host": host})
                self.assertEqual(
                    (reply.status, reply.json["code"]), (421, "unknown_host"), (host, path)
                )
            self.assertIn("--allowed-host", reply.json["detail"])
            self.assertEqual(
                server.request("DELETE", "/v1/history", headers={"Host": host}).status, 421
            )
            self.assertEqual(
                server.request(
                    "OPTIONS",
                    "/v1/models",
                    headers={
                        "Host": host,
                        "Access-Control-Request-Method": "GET",
                        "Origin": "http://" + host,
                    },
                ).status,
                421,
            )
            self.assertEqual(self.status(server, host, "/healthz"), 200)
        for host in (
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ):
            self.assertEqual(self.status(server, host), 200, host)
        evil = b"GET http://evil.example/v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
        self.assertEqual(
            statuses(
                exchange(server.port, evil + b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
            ),
            [421, 200],
        )

    def test_allowed_hosts(self):
        server = self.start(
            "--allowed-host",
            "blip.example.org",
            "--allowed-host",
            ".lan:8080",
            "--allowed-host",
            "192.0.2.7",
        )
        for host, status in (
            ("blip.example.org", 200),
            ("BLIP.example.org.:99", 200),
            ("a.blip.example.org", 421),
            ("x.lan:8080", 200),
            ("lan:8080", 200),
            ("x.lan", 421),
            ("192.0.2.7:1", 200),
            ("192.0.2.8", 421),
        ):
            self.assertEqual(self.status(server, host), status, host)
        self.assertEqual(self.status(self.start("--allowed-host", "*"), "whatever.example"), 200)
        with self.assertRaisesRegex(RuntimeError, "is no host"):
            Server("--allowed-host", "http://x")

    def test_origins(self):
        server = self.start("--allowed-host", "blip.example.org")
        for host, headers, status in (
            # nginx's plain proxy_pass: its own name for us, the public one in Origin
            ("127.0.0.1:8080", {"Origin": "https://blip.example.org"}, 200),
            ("127.0.0.1:8080", {"Origin": "https://evil.example"}, 403),
            ("127.0.0.1:8080", {"Origin": "https://blip.example.org:444"}, 403),
            ("blip.example.org", {"Origin": "https://blip.example.org"}, 200),
            ("localhost:8080", {"Origin": "http://localhost:8080"}, 200),
            ("localhost:8080", {"Origin": "http://localhost:3000"}, 403),
            ("localhost:8080", {"Origin": "null"}, 403),
            ("localhost:8080", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
            ("localhost:8080", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 403),
            ("localhost:8080", {"Sec_Fetch_Site": "same-origin"}, 200),
            ("localhost:8080", {"Sec_Fetch_Site": "none"}, 200),
        ):
            self.assertEqual(self.status(server, host, **headers), status, (host, headers))
        self.assertEqual(
            self.status(
                server, "localhost", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate"
            ),
            200,
        )

    def test_keys_in_any_case(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("secret key\n")
            file.flush()
            server = self.start("--api-key-file", file.name)
            for value in ("Bearer secret key", "bearer secret key", "BEARER    secret key"):
                self.assertEqual(
                    server.get("/v1/models", {"Authorization": value}).status, 200, value
                )
            for value in (
                "Bearersecret key",
                "Basic secret key",
                "bearer",
                "bearer secret",
                "bearer  secret keys",
            ):
                self.assertEqual(
                    server.get("/v1/models", {"Authorization": value}).status, 401, value
                )
            file.seek(0)
            file.truncate()
            file.write("new\n")
            file.flush()
            server.signal(signal.SIGHUP)
            self.assertTrue(
                wait_until(
                    lambda: server.get("/v1/models", {"Authorization": "Bearer new"}).status == 200
                )
            )
            self.assertEqual(
                server.get("/v1/models", {"Authorization": "Bearer secret key"}).status, 401
            )
            os.truncate(file.name, 0)
            server.signal(signal.SIGHUP)
            self.assertTrue(
                wait_until(
                    lambda: any(
                        "stay as they are" in line["message"] for line in server.log_lines("keys")
                    )
                )
            )
            self.assertEqual(server.get("/v1/models", {"Authorization": "Bearer new"}).status, 200)
            self.assertEqual(server.get("/v1/models").status, 401)

    def test_openai_in_browsers(self):
        server = self.start("--cors-origin", "https://example.org")
        wanted = (
            "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-retry-count"
        )
        headers = {
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": wanted,
        }
        reply = server.request("OPTIONS", "/v1/chat/completions", headers=headers)
        self.assertEqual(
            (
                reply.status,
                reply.headers["Access-Control-Allow-Headers"],
                reply.headers["Access-Control-Allow-Origin"],
            ),
            (204, wanted, "https://example.org"),
        )
        self.assertIn("Access-Control-Request-Headers", reply.headers["Vary"])
        foreign = server.request(
            "OPTIONS",
            "/v1/chat/completions",
            headers={**headers, "Origin": "https://other.example"},
        )
        self.assertIsNone(foreign.headers["Access-Control-Allow-Headers"])

    def test_serving_strangers_without_keys_is_said(self):
        server = self.start("--host", "0.0.0.0", "-q")
        self.assertTrue(wait_until(lambda: len(server.log_lines("exposed")) == 1))
        self.assertEqual(server.log_lines("exposed")[0]["level"], "warning")
        self.assertIn("--api-key-file", server.log_lines("exposed")[0]["message"])
        self.assertEqual(self.status(server, "0.0.0.0:80"), 200)
        self.assertEqual(self.status(server, "evil.example"), 421)
        quiet = self.start()
        quiet.get("/healthz")
        self.assertEqual(quiet.log_lines("exposed"), [])


class Ending(unittest.TestCase):
    def test_sigterm_ends_while_clients_retry(self):
        server = Server("--drain-timeout", 20)
        stop, seen = threading.Event(), []

        def retry():
            with socket.create_connection(("127.0.0.1", server.port), 5) as client:
                while not stop.is_set():
                    try:
                        client.sendall(b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n")
                        answer = client.recv(65536)
                        seen.append(statuses(answer)[:1])
                        if not answer or b"Connection: close" in answer:
                            return
                    except OSError:
                        return

        threads = [threading.Thread(target=retry) for _ in range(8)]
        for thread in threads:
            thread.start()
        idle = socket.create_connection(("127.0.0.1", server.port), 5)
        time.sleep(0.3)
        started = time.monotonic()
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - started, 8)
        stop.set()
        for thread in threads:
            thread.join()
        idle.close()
        self.assertIn([200], seen)
        self.assertTrue(all(one in ([], [200], [503]) for one in seen), seen[-10:])
        self.assertEqual(len(server.log_lines("stopped")), 1)
        server.stop()

    def test_what_takes_too_long_is_cut_off(self):
        server = Server("--drain-timeout", 1)
        with socket.create_connection(("127.0.0.1", server.port), 30) as client:
            client.sendall(POST + b"Content-Length: 1000\r\n\r\nabc")
            self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") == 2))
            started = time.monotonic()
            server.signal()
            self.assertEqual(server.wait(), 0)
            self.assertLess(time.monotonic() - started, 10)
            self.assertEqual(read_all(client), b"")
        self.assertEqual(server.log_lines("cut_off")[0]["requests"], 1)
        server.stop()

    def test_lines_of_one_kind_are_limited(self):
        server = Server()
        one = b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n"
        exchange(server.port, one * 2000 + b"GET /nothing HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
        server.signal()
        self.assertEqual(server.wait(), 0)
        written = [line for line in server.log_lines("request") if line["status"] == 404]
        suppressed = sum(
            line["lines"]
            for line in server.log_lines("suppressed")
            if line["kind"] == "request 404"
        )
        self.assertEqual(len(written) + suppressed, 2001)
        self.assertLess(len(written), 500)
        server.stop()

    def test_a_log_that_nobody_reads_holds_nothing_up(self):
        read, write = os.pipe()
        process_log = os.fdopen(write, "wb")
        try:
            import subprocess
            from harness import MODEL, PROGRAM

            with subprocess.Popen(
                [PROGRAM, "serve", "-m", MODEL, "--port", "0", "--no-history"],
                stdout=subprocess.PIPE,
                stderr=process_log,
            ) as process:
                port = int(process.stdout.readline().decode().rstrip("/\n").rsplit(":", 1)[1])
                answer = exchange(
                    port,
                    (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 5000
                    + b"GET /healthz HTTP/1.1\r\n"
                    + HOST
                    + CLOSE
                    + b"\r\n",
                )
                self.assertEqual(len(statuses(answer)), 5001)
                process.terminate()
                self.assertEqual(process.wait(TIMEOUT), 0)
        finally:
            process_log.close()
            os.close(read)


if __name__ == "__main__":
    unittest.main()
