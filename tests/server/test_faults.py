"""What goes wrong: bad input, limits, slow and vanished clients, full queues, signals."""

import http.client
import json
import signal
import socket
import struct
import tempfile
import time
import unittest
import zlib

from harness import (
    EMULATED,
    TIMEOUT,
    Server,
    ServerTest,
    b64,
    in_parallel,
    picture,
    png_file,
    scene,
    wait_until,
)

MIB = 1 << 20


class BadRequests(ServerTest):
    arguments = ("--max-body", MIB, "--max-images", 3, "--max-texts", 5, "--max-pixels", 1_000_000)

    def test_bad_json(self):
        for body in (
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"image": 3}',
            b'{"image": ["x"]}',
            b'{"images": "x"}',
            b"[" * 100_000,
            b"",
        ):
            self.problem(
                self.server.post("/v1/caption", body, "application/json"), 400, "invalid_request"
            )

    def test_fields_are_checked_and_named(self):
        image = b64(picture(1))
        for field, value, words in (
            ("beams", 0, "from 1 to 64"),
            ("beams", "3", "whole number"),
            ("beams", 1.5, "whole number"),
            ("beams", -1, "whole number"),
            ("beams", 10**30, "whole number"),
            ("temperature", 0, "number"),
            ("sample", "yes", "true or false"),
            ("prompt", 3, "must be text"),
            ("model", [], "must be text"),
            ("timeout_ms", 0, "number"),
            ("seed", -1, "whole"),
        ):
            problem = self.problem(
                self.server.post_json("/v1/caption", {"image": image, field: value}),
                400,
                "invalid_request",
                words,
            )
            self.assertIn(f'"{field}"', problem["detail"])
        self.problem(
            self.server.post_json("/v1/caption", {"image": image, "beam": 3}),
            400,
            "invalid_request",
            'unknown field "beam"',
        )
        self.problem(
            self.server.post("/v1/caption?beams=x", picture(1)), 400, "invalid_request", '"beams"'
        )
        self.problem(
            self.server.post_json(
                "/v1/caption", {"image": image, "min_length": 9, "max_length": 5}
            ),
            400,
            "invalid_request",
            "larger than",
        )
        self.problem(
            self.server.post_json("/v1/caption", {"image": image, "beams": 2, "num_captions": 3}),
            400,
            "invalid_request",
            "cannot come",
        )

    def test_a_field_is_sent_once_and_is_never_null(self):
        image = b64(picture(1))
        self.problem(
            self.server.post_json("/v1/caption?beams=2", {"image": image, "beams": 3}),
            400,
            "invalid_request",
            '"beams": is in the query and in the body',
        )
        self.problem(
            self.server.post_form("/v1/ask?question=a", [("image", picture(1)), ("question", "b")]),
            400,
            "invalid_request",
            "send it once",
        )
        self.problem(
            self.server.post_json("/v1/caption", {"image": image, "prompt": None}),
            400,
            "invalid_request",
            '"prompt": must not be null',
        )
        self.problem(
            self.server.post_json("/v1/match", {"image": image, "text": "a" * 1025}),
            400,
            "invalid_request",
            "longer than 1024 characters",
        )
        self.ok(self.server.post_json("/v1/match", {"image": image, "text": "\u56fe" * 1024}))

    def test_missing_parts(self):
        self.problem(self.server.post_json("/v1/caption", {}), 400, "invalid_request", "no picture")
        self.problem(
            self.server.post_json("/v1/match", {"image": b64(picture(1))}),
            400,
            "invalid_request",
            "no text",
        )
        self.problem(
            self.server.post_json("/v1/ask", {"image": b64(picture(1))}),
            400,
            "invalid_request",
            "no question",
        )
        self.problem(
            self.server.post_json("/v1/ask", {"image": b64(picture(1)), "question": " "}),
            400,
            "invalid_request",
            "empty",
        )
        self.problem(
            self.server.post_json("/v1/embed", {}), 400, "invalid_request", "nothing to embed"
        )

    def test_counts_are_limited(self):
        self.problem(
            self.server.post_json("/v1/caption", {"images": [b64(picture(i)) for i in range(4)]}),
            400,
            "invalid_request",
            "more than 3 pictures",
        )
        self.problem(
            self.server.post_json("/v1/match", {"image": b64(picture(1)), "texts": ["a"] * 6}),
            400,
            "invalid_request",
            "more than 5 texts",
        )
        self.problem(
            self.server.post_json("/v1/match", {"image": b64(picture(1)), "texts": ["a" * 5000]}),
            400,
            "invalid_request",
            "longer than",
        )

    def test_long_addresses_are_told_so(self):
        for query in ("text=" + "a" * 20_000, "&".join(["texts=%C3%A4bcdefghij"] * 1400)):
            self.problem(
                self.server.post("/v1/embed?" + query, b"{}", "application/json"),
                414,
                "uri_too_long",
                "send them in the body",
            )
        for query in ("&".join(["texts=a"] * 500), "&" * 5000):
            self.problem(
                self.server.post("/v1/embed?" + query, b"{}", "application/json"),
                400,
                "invalid_request",
                "send them in the body",
            )
        self.problem(
            self.server.post("/v1/embed?" + "&".join(["texts=a"] * 300), b"{}", "application/json"),
            400,
            "invalid_request",
            "more than 5 texts",
        )
        self.ok(self.server.post("/v1/embed?text=dog", b"{}", "application/json"))

    def test_pictures_are_checked(self):
        self.problem(
            self.server.post_json("/v1/caption", {"image": "!!!"}), 400, "invalid_request", "base64"
        )
        self.problem(
            self.server.post_json("/v1/caption", {"image": "https://example.org/a.png"}),
            400,
            "invalid_request",
            "fetches no addresses",
        )
        self.problem(
            self.server.post("/v1/caption", b"not a picture"), 422, "invalid_image", "picture 0"
        )
        self.problem(self.server.post("/v1/caption", scene()[:1000]), 422, "invalid_image")
        self.problem(
            self.server.post_json("/v1/caption", {"images": [b64(b"GIF87a"), b64(b"GIF89a")]}),
            422,
            "invalid_image",
            "picture 0",
        )

    def test_an_image_bomb_is_refused_before_it_is_decoded(self):
        bomb = png_file(60_000, 60_000, zlib.compress(b"\0" * 100_000))
        started = time.monotonic()
        self.problem(self.server.post("/v1/caption", bomb), 422, "invalid_image")
        self.assertLess(time.monotonic() - started, 10)

    def test_forms_are_checked(self):
        for body, kind in (
            (b"", "multipart/form-data; boundary=x"),
            (b"--x\r\n", "multipart/form-data; boundary=x"),
            (b"--x--", "multipart/form-data"),
            (b"--x\r\nno colon\r\n\r\ndata\r\n--x--", "multipart/form-data; boundary=x"),
            (b"image=%zz", "application/x-www-form-urlencoded"),
            (
                b"--x\r\nContent-Disposition: form-data\r\n\r\ndata\r\n--x--\r\n",
                "multipart/form-data; boundary=x",
            ),
        ):
            self.problem(self.server.post("/v1/caption", body, kind), 400, "invalid_request")
        self.problem(
            self.server.post("/v1/caption", b"hello", "text/plain"), 415, "unsupported_media_type"
        )

    def test_paths_and_methods(self):
        self.problem(self.server.get("/nothing"), 404, "not_found")
        self.problem(self.server.get("/%00%ff/../etc/passwd"), 404, "not_found")
        reply = self.server.get("/v1/caption")
        self.problem(reply, 405, "method_not_allowed")
        self.assertEqual(reply.headers["Allow"], "POST")
        self.problem(self.server.request("TRACE", "/healthz"), 405, "method_not_allowed")

    def test_a_large_body_is_told_so(self):
        self.problem(
            self.server.post("/v1/caption", b"x" * (2 * MIB)), 413, "payload_too_large", str(MIB)
        )

        def pieces():
            for _ in range(64):
                yield b"x" * 65536

        connection = self.server.connect()
        connection.request(
            "POST", "/v1/caption", pieces(), {"Content-Type": "image/png"}, encode_chunked=True
        )
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()

    def test_a_body_of_one_gigabyte_costs_no_memory(self):
        def pieces():
            for _ in range(1024):
                yield b"x" * MIB

        connection = self.server.connect()
        try:
            connection.request(
                "POST",
                "/v1/caption",
                pieces(),
                {"Content-Type": "image/png", "Content-Length": str(1024 * MIB)},
            )
            self.assertEqual(connection.getresponse().status, 413)
        finally:
            connection.close()
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        self.assertLess(peak, 900 * 1024)

    def test_garbage_instead_of_http(self):
        for garbage in (
            b"\0" * 1000,
            b"GET\r\n\r\n",
            b"A" * 200_000,
            b"POST /v1/caption HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
            b"chunked\r\n\r\nzz\r\n",
        ):
            with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT) as client:
                try:
                    client.sendall(garbage)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass
                except OSError:  # it hung up on us
                    pass
        self.ok(self.server.get("/healthz"))


class Access(unittest.TestCase):
    def start(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(server.stop)
        return server

    def test_keys(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("# ours\nfirst-key\nsecond-key\n")
            file.flush()
            server = self.start("--api-key-file", file.name)
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": "first-key"},
            {"Authorization": "Bearer first-ke"},
        ):
            reply = server.post("/v1/caption", picture(1), headers=headers)
            self.assertEqual(
                (reply.status, reply.json["code"], reply.headers["WWW-Authenticate"]),
                (401, "unauthorized", "Bearer"),
            )
            for path in ("/v1/models", "/metrics", "/v1/history", "/caption/get_result?id=1"):
                self.assertEqual(server.get(path, headers).status, 401, path)
        for key in ("first-key", "second-key"):
            self.assertEqual(
                server.post(
                    "/v1/caption", picture(1), headers={"Authorization": "Bearer " + key}
                ).status,
                200,
            )
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            self.assertEqual(server.get(path).status, 200, path)

    def test_foreign_pages_are_refused_unless_listed(self):
        server = self.start()
        own = {"Origin": f"http://127.0.0.1:{server.port}"}
        self.assertEqual(server.post("/v1/caption", picture(1), headers=own).status, 200)
        foreign = {"Origin": "https://example.org"}
        reply = server.post("/v1/caption", picture(1), headers=foreign)
        self.assertEqual((reply.status, reply.json["code"]), (403, "forbidden_origin"))
        self.assertIsNone(server.get("/healthz", foreign).headers["Access-Control-Allow-Origin"])
        listed = self.start("--cors-origin", "https://example.org")
        reply = listed.post("/v1/caption", picture(1), headers=foreign)
        self.assertEqual(
            (reply.status, reply.headers["Access-Control-Allow-Origin"]),
            (200, "https://example.org"),
        )
        asks = {
            **foreign,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        reply = listed.request("OPTIONS", "/v1/caption", headers=asks)
        self.assertEqual(
            (reply.status, reply.headers["Access-Control-Allow-Origin"]),
            (204, "https://example.org"),
        )
        self.assertEqual(
            listed.request(
                "OPTIONS", "/v1/caption", headers={**asks, "Origin": "https://other.example"}
            ).status,
            405,
        )


def slow_request(pictures=4, beams=16):
    """Keeps a model busy for a while, about as long under an emulator."""
    length = 8 if EMULATED else 40
    return {
        "images": [b64(picture(i)) for i in range(pictures)],
        "beams": beams // 4 if EMULATED else beams,
        "min_length": length,
        "max_length": length + 4,
    }


AS_MUCH_AS_THERE_IS = ("--max-beams", 64, "--max-work", 10**6)


class Overload(unittest.TestCase):
    def test_a_full_queue_answers_429_and_recovers(self):
        server = Server("--timeout", 900, "--queue", 8, "--batch", 1, "--batch-window", 0)
        try:
            replies = in_parallel(12, lambda i: server.post_json("/v1/caption", slow_request()))
            statuses = sorted(reply.status for reply in replies)
            self.assertEqual(set(statuses), {200, 429}, statuses)
            for reply in replies:
                if reply.status == 429:
                    self.assertEqual(reply.json["code"], "queue_full")
                    self.assertGreaterEqual(int(reply.headers["Retry-After"]), 1)
            self.assertEqual(
                server.metric('blip_rejected_total{reason="queue"}'), statuses.count(429)
            )
            self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)
        finally:
            server.stop()

    def test_too_many_requests_at_a_time_are_told_429(self):
        server = Server("--timeout", 900, "--max-requests", 2, "--batch", 1)
        try:
            statuses = [
                reply.status
                for reply in in_parallel(
                    10, lambda i: server.post_json("/v1/caption", slow_request())
                )
            ]
            self.assertEqual(set(statuses), {200, 429}, statuses)
        finally:
            server.stop()

    def test_a_deadline_ends_the_work(self):
        server = Server("--batch", 1, *AS_MUCH_AS_THERE_IS)
        try:
            reply = server.post_json("/v1/caption", {**slow_request(16, 64), "timeout_ms": 500})
            self.assertEqual((reply.status, reply.json["code"]), (504, "deadline_exceeded"))
            self.assertTrue(wait_until(lambda: server.metric("blip_queue_jobs") == 0))
            self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)
        finally:
            server.stop()

    def test_work_for_a_client_that_hung_up_is_dropped(self):
        server = Server("--batch", 1, *AS_MUCH_AS_THERE_IS)
        try:
            body = json.dumps(slow_request(16, 64)).encode()
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(
                    b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                    b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
                self.assertTrue(wait_until(lambda: server.metric("blip_queue_jobs") > 3))
            self.assertTrue(wait_until(lambda: server.metric("blip_queue_jobs") == 0))
            self.assertTrue(
                wait_until(
                    lambda: [
                        line["status"]
                        for line in server.log_lines("request")
                        if line["path"] == "/v1/caption"
                    ]
                    == [499]
                )
            )
            captions = server.metric('blip_batch_size_count{task="caption"}')
            self.assertLess(captions, 16, "the jobs of the client that is gone were computed")
        finally:
            server.stop()

    def test_a_stream_ends_with_its_client(self):
        server = Server()
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                body = picture(3)
                client.sendall(
                    b"POST /v1/caption?stream=true&min_length=400&max_length=500 HTTP/1.1\r\nHost: "
                    b"localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                    % len(body)
                    + body
                )
                self.assertIn(b"200 OK", client.recv(100))
                # A reset, as from a crash.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # The question itself.
            self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") == 1))
            self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)
        finally:
            server.stop()


class SlowClients(unittest.TestCase):
    def test_many_slow_clients_do_not_delay_others(self):
        server = Server("--concurrency", 2)
        clients = []
        try:
            for _ in range(100):
                client = socket.create_connection(("127.0.0.1", server.port))
                client.sendall(
                    b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                    b"image/png\r\nContent-Length: 1000\r\n\r\nabc"
                )
                clients.append(client)
            self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") == 101))
            self.assertEqual(server.post("/v1/caption", picture(1)).status, 200)
            for client in clients:
                client.close()
            self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") == 1))
        finally:
            for client in clients:
                client.close()
            server.stop()

    def test_a_body_that_drips_in_is_still_answered(self):
        server = Server()
        try:
            body = picture(2)
            with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
                client.sendall(
                    b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nConnection: "
                    b"close\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body)
                )
                for i in range(0, len(body), 300):
                    client.sendall(body[i : i + 300])
                    time.sleep(0.01)
                reply = http.client.HTTPResponse(client)
                reply.begin()
                self.assertEqual((reply.status, "caption" in reply.read().decode()), (200, True))
        finally:
            server.stop()


class Shutdown(unittest.TestCase):
    def test_sigterm_under_load_answers_every_request(self):
        server = Server("--timeout", 900, "--batch", 2)

        def ask(i):
            if i == 20:
                wait_until(lambda: server.metric("blip_queue_jobs") > 2)
                server.signal(signal.SIGTERM)
                return None
            try:
                return server.post_json(
                    "/v1/caption",
                    {"image": b64(picture(i)), "beams": 8, "min_length": 30, "max_length": 32},
                ).status
            except ConnectionRefusedError:
                return "refused"

        statuses = [status for status in in_parallel(21, ask) if status is not None]
        self.assertEqual(server.wait(), 0, server.log())
        self.assertTrue(set(statuses) <= {200, 503, "refused"}, statuses)
        self.assertGreater(statuses.count(200), 2)
        accepted = [
            line["status"] for line in server.log_lines("request") if line["path"] == "/v1/caption"
        ]
        self.assertEqual(accepted.count(200), statuses.count(200))
        self.assertEqual(len(server.log_lines("stopped")), 1)
        server.stop()

    def test_a_busy_port_is_said(self):
        server = Server()
        try:
            with self.assertRaisesRegex(RuntimeError, f"cannot listen on 127.0.0.1:{server.port}"):
                Server(port=server.port)
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
