"""What one request, or a crowd of them, may take: memory, work, places; and what fails alone."""

import gzip
import json
import statistics
import struct
import threading
import time
import unittest
import zlib

from harness import (
    EMULATED,
    SANITIZED,
    SCENES,
    Server,
    ServerTest,
    b64,
    cli,
    data_url,
    in_parallel,
    picture,
    scene,
    wait_until,
)

MIB = 1 << 20


_black = {}


def bomb(seed, side=11_000):
    """A file of some 100 KB that decodes to 346 MB; each seed has its own bytes. No reader can know
    that it is one.
    """
    if side not in _black:
        _black[side] = zlib.compress(b"\0" * ((side + 1) * side), 9)

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tEXt", b"seed\0" + str(seed).encode())
        + chunk(b"IDAT", _black[side])
        + chunk(b"IEND", b"")
    )


def resident(pid, name="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name + ":"))


@unittest.skipIf(
    SANITIZED, "a sanitizer's memory is no measure, and models count by what they take"
)
class Memory(unittest.TestCase):
    def start(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(server.stop)
        return server

    def test_concurrent_bombs_stay_within_the_budget(self):
        server = self.start("--memory", "1G", "--timeout", 600)
        probe = server.post("/v1/caption", scene())
        self.assertEqual(probe.status, 200)
        seen, stop = [], threading.Event()

        def watch():
            while not stop.is_set():
                seen.append(resident(server.process.pid))
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        honest = []

        def send(i):
            if i < 8:
                return server.post("/v1/caption", bomb(i))
            for _ in range(5):
                started = time.monotonic()
                reply = server.post("/v1/caption", picture(i))
                honest.append((reply.status, time.monotonic() - started))
            return reply

        replies = in_parallel(10, send)
        stop.set()
        watcher.join()
        self.assertEqual(
            [reply.status for reply in replies], [200] * 10, [reply.body[:300] for reply in replies]
        )
        self.assertLess(max(seen), 1024 * MIB + 64 * MIB)
        self.assertEqual({status for status, _ in honest}, {200})
        # Small pictures do not wait for the memory that large ones wait for.
        self.assertLess(statistics.median(seconds for _, seconds in honest), 30 if EMULATED else 2)
        self.assertEqual(server.metric('blip_memory_bytes{kind="pictures"}'), 0)
        self.assertEqual(server.metric("blip_memory_limit_bytes"), 1024 * MIB)
        self.assertGreater(server.metric('blip_memory_bytes{kind="models"}'), MIB)
        self.assertGreater(server.metric('blip_memory_bytes{kind="cache"}'), 1000)

    def test_what_can_never_fit_is_refused_at_once(self):
        taken = int(self.start().metric('blip_memory_bytes{kind="models"}'))
        server = self.start("--memory", taken + 200 * MIB, "--max-body", 256 * MIB)
        started = time.monotonic()
        reply = server.post("/v1/caption", bomb(1))
        self.assertEqual((reply.status, reply.json["code"]), (422, "invalid_image"))
        self.assertRegex(
            reply.json["detail"],
            r"picture 0: decoding it takes .* of memory, and the server has at most .* "
            r"\(--memory\)",
        )
        reply = server.post("/v1/caption", b"\x89PNG\r\n\x1a\n" + b"\0" * (48 * MIB), "image/png")
        self.assertEqual((reply.status, reply.json["code"]), (413, "payload_too_large"), reply.body)
        self.assertIn("this server's limit", reply.json["detail"])
        self.assertLess(time.monotonic() - started, 30)
        self.assertEqual(server.post("/v1/caption", scene()).status, 200)

    def test_the_attention_of_very_many_texts_is_refused_at_once(self):
        taken = int(self.start().metric('blip_memory_bytes{kind="models"}'))
        server = self.start("--memory", taken + 100 * MIB)
        ask = {"image": b64(scene()), "questions": ["is there a bus?"] * 100, "attention": True}
        reply = server.post_json("/v1/ask", ask)
        self.assertEqual(
            (reply.status, reply.json["code"]), (400, "invalid_request"), reply.body[:500]
        )
        self.assertRegex(
            reply.json["detail"],
            r"the attention of 100 texts takes .* of memory, and the server has at most .* "
            r"\(--memory\)",
        )
        self.assertEqual(
            server.post_json("/v1/ask", {**ask, "questions": ["is there a bus?"] * 20}).status, 200
        )
        self.assertTrue(
            wait_until(lambda: server.metric('blip_memory_bytes{kind="requests"}') == 0)
        )

    def test_a_crowd_with_little_memory_is_answered(self):
        """Requests that hold memory never wait for memory that others hold who wait for it."""
        taken = int(self.start().metric('blip_memory_bytes{kind="models"}'))
        server = self.start("--memory", taken + 70 * MIB, "--cache-entries", 0, "--queue", 1000)

        def send(i):
            images = [b64(picture(100 * i + k)) for k in range(16)]
            return server.post_json(
                "/v1/caption", {"images": images, "attention": i % 2 == 0}
            ).status

        started = time.monotonic()
        statuses = in_parallel(40, send)
        self.assertEqual(set(statuses), {200}, statuses)
        self.assertLess(time.monotonic() - started, 600 if EMULATED else 50)
        for kind in ("bodies", "requests", "pictures", "work"):
            self.assertTrue(
                wait_until(lambda: server.metric(f'blip_memory_bytes{{kind="{kind}"}}') == 0), kind
            )

    def test_what_waits_too_long_is_503_and_no_invalid_picture(self):
        server = self.start("--memory", "1G", "--timeout", 600)
        replies = in_parallel(16, lambda i: server.post("/v1/caption?timeout_ms=500", bomb(i)))
        kinds = {(reply.status, reply.json.get("code")) for reply in replies}
        self.assertLessEqual(
            kinds,
            {(200, None), (503, "out_of_memory"), (504, "deadline_exceeded")},
            [reply.body[:200] for reply in replies],
        )
        self.assertIn((503, "out_of_memory"), kinds)
        for reply in replies:
            if reply.status == 503:
                self.assertGreaterEqual(int(reply.headers["Retry-After"]), 1)

    def test_bodies_have_a_share_of_it(self):
        taken = int(self.start().metric('blip_memory_bytes{kind="models"}'))
        server = self.start("--memory", taken + 200 * MIB, "--max-body", 256 * MIB)
        body, sent = b"x" * (10 * MIB), threading.Barrier(4)

        def send(_):
            connection = server.connect()
            connection.putrequest("POST", "/v1/caption")
            connection.putheader("Content-Type", "image/png")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:-1])
            sent.wait()  # all lie there at once
            connection.send(body[-1:])
            return connection.getresponse().status

        statuses = in_parallel(4, send)
        self.assertLessEqual(set(statuses), {422, 503}, statuses)
        self.assertIn(503, statuses)
        self.assertEqual(server.post("/v1/caption", body).status, 422)  # alone it is no picture
        self.assertTrue(wait_until(lambda: server.metric('blip_memory_bytes{kind="bodies"}') == 0))

    def test_suffixes_and_too_little(self):
        server = self.start("--memory", "2g")
        self.assertEqual(server.metric("blip_memory_limit_bytes"), 2 << 30)
        with self.assertRaisesRegex(
            RuntimeError, "--memory 1.0 MiB is too little: the program with its models takes"
        ):
            Server("--memory", "1M")
        with self.assertRaisesRegex(RuntimeError, "--memory"):
            Server("--memory", "much")


class WorkLimits(ServerTest):
    arguments = (
        "--max-beams",
        4,
        "--max-captions",
        3,
        "--max-tokens",
        30,
        "--max-work",
        400,
        "--queue",
        6,
    )

    def refused(self, path, fields, words):
        self.problem(
            self.server.post_json(path, {"image": b64(scene()), **fields}),
            400,
            "invalid_request",
            words,
        )

    def test_each_limit_names_its_option(self):
        self.refused(
            "/v1/caption", {"beams": 5}, "is more than 4, this server's limit (--max-beams)"
        )
        self.refused(
            "/v1/caption",
            {"sample": True, "num_captions": 4},
            '"num_captions": 4 is more than 3, this server\'s limit (--max-captions)',
        )
        self.refused(
            "/v1/ask",
            {"question": "a?", "sample": True, "num_answers": 4},
            '"num_answers": 4 is more than 3',
        )
        self.refused(
            "/v1/caption",
            {"max_length": 31},
            '"max_length": 31 is more than 30, this server\'s limit (--max-tokens)',
        )
        self.ok(
            self.server.post_json(
                "/v1/caption", {"image": b64(scene()), "beams": 4, "max_length": 30}
            )
        )

    def test_the_product_is_limited(self):
        images = [b64(picture(i)) for i in range(4)]
        problem = self.server.post_json(
            "/v1/caption", {"images": images, "beams": 4, "max_length": 30}
        )
        self.problem(
            problem,
            400,
            "invalid_request",
            "of 480 is more than 400, this server's limit (--max-work)",
        )
        self.ok(
            self.server.post_json(
                "/v1/caption", {"images": images[:3], "beams": 4, "max_length": 30}
            )
        )
        self.refused("/v1/match", {"texts": ["a cat and a dog and a bus " * 4] * 12}, "--max-work")
        self.problem(
            self.server.post_json("/v1/embed", {"texts": ["a cat and a dog and a bus " * 4] * 12}),
            400,
            "invalid_request",
            "--max-work",
        )
        self.refused("/v1/ask", {"questions": ["is there a bus?"] * 12}, "--max-work")

    def test_a_text_counts_what_the_model_reads_of_it(self):
        long = [
            "a cat and a dog and a bus " * 15
        ] * 10  # 120 tokens, of which 35 are read unless more are asked for
        self.ok(self.server.post_json("/v1/match", {"image": b64(scene()), "texts": long}))
        self.refused("/v1/match", {"texts": long, "max_text_length": 60}, "of 600 is more than 400")
        self.ok(
            self.server.post_json(
                "/v1/ask",
                {"image": b64(scene()), "question": long[0] * 2, "answers": ["yes", "no"]},
            )
        )

    def test_ranges_are_the_tables(self):
        for path, fields, words in (
            ("/v1/caption", {"num_captions": 257}, "from 1 to 256"),
            ("/v1/caption", {"beams": 65}, "from 1 to 64"),
            ("/v1/caption", {"length_penalty": 11}, "from -10.0 to 10.0"),
            ("/v1/ask", {"question": "a?", "top_k": 1000001}, "from 0 to 1000000"),
            (
                "/v1/ask",
                {"question": "a?", "answers": ["yes"], "rank_candidates": 1000001},
                "from 1 to 1000000",
            ),
            ("/v1/match", {"text": "a", "max_text_length": 2}, "from 3 to 1000000"),
            ("/v1/attention", {"layers": 1001}, "from 0 to 1000"),
        ):
            with self.subTest(path, **fields):
                self.refused(path, fields, words)

    def test_more_jobs_than_the_queue_ever_holds(self):
        self.refused(
            "/v1/ask", {"questions": ["is there a bus?"] * 7, "max_length": 5}, "(--queue)"
        )

    def test_chats_are_clamped(self):
        content = [{"type": "image_url", "image_url": {"url": data_url(scene())}}]
        answer = self.ok(
            self.server.post_json(
                "/v1/chat/completions",
                {"messages": [{"role": "user", "content": content}], "max_tokens": 4000},
            )
        )
        self.assertEqual(
            answer["choices"][0]["message"]["content"],
            "a cat to the left of a bus on a pink background",
        )
        self.problem(
            self.server.post_json(
                "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], "n": 4}
            ),
            400,
            "invalid_request",
            "--max-captions",
        )


class LimitsBelowDefaults(ServerTest):
    arguments = ("--max-beams", 2, "--max-tokens", 12)

    def test_a_default_moves_with_the_limits(self):
        (result,) = self.ok(self.server.post("/v1/caption", scene()))["results"]
        self.assertLessEqual(len(result["token_ids"]), 12)
        self.ok(
            self.server.post_json("/v1/ask", {"image": b64(scene()), "question": "is there a bus?"})
        )
        content = [{"type": "image_url", "image_url": {"url": data_url(scene())}}]
        self.ok(
            self.server.post_json(
                "/v1/chat/completions", {"messages": [{"role": "user", "content": content}]}
            )
        )
        self.problem(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "beams": 3}),
            400,
            "invalid_request",
            "--max-beams",
        )


class Turns(unittest.TestCase):
    def start(self, *arguments):
        server = Server("--timeout", 600, *arguments)
        self.addCleanup(server.stop)
        return server

    def worst(self):
        """About the most that the defaults allow with the bundled model."""
        length = 12 if EMULATED else 60
        return {
            "images": [b64(picture(i)) for i in range(16)],
            "beams": 16,
            "min_length": length - 2,
            "max_length": length,
        }

    def seconds(self, server, seed):
        started = time.monotonic()
        reply = server.post("/v1/caption", picture(seed))
        self.assertEqual(reply.status, 200, reply.body[:300])
        return time.monotonic() - started

    def test_a_short_request_beside_the_worst_allowed_one(self):
        server = self.start()
        alone = statistics.median(self.seconds(server, 100 + i) for i in range(5))
        done = []

        def run():
            started = time.monotonic()
            reply = server.post_json("/v1/caption", self.worst())
            done.append((reply.status, time.monotonic() - started))

        long = threading.Thread(target=run)
        long.start()
        self.assertTrue(wait_until(lambda: server.metric("blip_queue_jobs") > 8))
        beside = []
        while not done and len(beside) < 10:
            beside.append(self.seconds(server, 200 + len(beside)))
        long.join()
        self.assertEqual(done[0][0], 200)
        self.assertGreater(len(beside), 2)
        print(
            f"alone {alone:.3f} s, beside {statistics.median(beside):.3f} s (largest "
            f"{max(beside):.3f}), the long one {done[0][1]:.1f} s"
        )
        # It does not wait for the long one, nor for one of its sixteen pictures.
        self.assertLess(statistics.median(beside), max(20 * alone, done[0][1] / 16))
        self.assertLess(max(beside), done[0][1] / 2)

    def test_who_cannot_be_answered_in_time_is_told_at_once(self):
        server = self.start("--batch", 1)
        # Now its time is known.
        self.assertEqual(server.post_json("/v1/caption", self.worst()).status, 200)
        long = threading.Thread(target=lambda: server.post_json("/v1/caption", self.worst()))
        long.start()
        self.assertTrue(wait_until(lambda: server.metric("blip_queue_jobs") > 8))
        started = time.monotonic()
        reply = server.post_json("/v1/caption", {**self.worst(), "timeout_ms": 500})
        seconds = time.monotonic() - started
        long.join()
        self.assertEqual((reply.status, reply.json["code"]), (503, "overloaded"), reply.body)
        self.assertGreaterEqual(int(reply.headers["Retry-After"]), 1)
        self.assertLess(seconds, 10 if EMULATED else 0.5)
        self.assertEqual(server.metric('blip_rejected_total{reason="time"}'), 1)

    def test_those_who_wait_for_results_hold_up_nobody(self):
        server = self.start("--concurrency", 2)
        body = {"image": b64(picture(7)), "texts": "x"}
        pushed = [
            threading.Thread(
                target=lambda i=i: server.post_json(
                    "/v1/caption", {**self.worst(), "images": [b64(picture(40 + i))]}
                )
            )
            for i in range(8)
        ]
        for thread in pushed:
            thread.start()
        self.assertTrue(wait_until(lambda: server.metric("blip_requests_in_flight") >= 5))
        # An unknown field: read and refused.
        self.assertEqual(server.post_json("/v1/caption", body).status, 400)
        self.assertEqual(server.post("/v1/caption", picture(8)).status, 200)
        for thread in pushed:
            thread.join()


class FailsAlone(ServerTest):
    BAD = {"a file": b"not a picture", "a truncated one": scene()[:1000]}

    def test_a_bad_picture(self):
        for bad in self.BAD.values():
            images = [b64(scene()), b64(bad), b64(scene("clock.png"))]
            one, two, three = self.ok(self.server.post_json("/v1/caption", {"images": images}))[
                "results"
            ]
            self.assertEqual(
                (one["image"], one["caption"]),
                (0, "a cat to the left of a bus on a pink background"),
            )
            self.assertEqual(
                (three["image"], three["caption"]), (2, "a clock on a gray background")
            )
            self.assertEqual(
                (set(two), two["image"], two["error"]["code"]),
                ({"image", "error"}, 1, "invalid_image"),
            )
            self.assertTrue(two["error"]["detail"].startswith("picture 1: "), two)
            matched = self.ok(
                self.server.post_json("/v1/match", {"images": images, "text": "a clock"})
            )["results"]
            self.assertEqual(["matches" in result for result in matched], [True, False, True])
            answered = self.ok(
                self.server.post_json(
                    "/v1/ask",
                    {"images": images, "questions": ["is there a bus?", "what animal is this?"]},
                )
            )["results"]
            self.assertEqual(
                [result.get("answer") is None for result in answered],
                [False, False, True, True, False, False],
            )
            self.assertEqual([result["image"] for result in answered], [0, 0, 1, 1, 2, 2])
            embedded = self.ok(
                self.server.post_json("/v1/embed", {"images": images, "text": "a cat"})
            )
            self.assertEqual(
                ["embedding" in result for result in embedded["images"] + embedded["texts"]],
                [True, False, True, True],
            )
        self.assertGreater(self.server.metric('blip_part_failures_total{code="invalid_image"}'), 3)

    def test_one_that_is_no_base64_or_an_address(self):
        for bad, words in (
            ("!!!", "neither base64"),
            ("https://example.org/a.png", "fetches no addresses"),
        ):
            one, two = self.ok(
                self.server.post_json("/v1/caption", {"images": [b64(scene()), bad]})
            )["results"]
            self.assertIn("caption", one)
            self.assertEqual(two["error"]["code"], "invalid_request")
            self.assertIn(words, two["error"]["detail"])

    def test_when_all_fail_the_request_fails(self):
        self.problem(
            self.server.post_json("/v1/caption", {"images": [b64(b"a"), b64(b"b")]}),
            422,
            "invalid_image",
            "picture 0",
        )
        self.problem(
            self.server.post_json("/v1/caption", {"images": ["!", "?"]}),
            400,
            "invalid_request",
            "base64",
        )
        self.problem(
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": ["", " "]}),
            400,
            "invalid_request",
            "empty",
        )
        self.problem(
            self.server.post_json("/v1/ask", {"image": b64(scene()), "questions": [" "]}),
            400,
            "invalid_request",
            "empty",
        )

    def test_an_empty_text(self):
        for empty in ("", " \n", "\u200b"):
            (result,) = self.ok(
                self.server.post_json(
                    "/v1/match",
                    {"image": b64(scene()), "texts": ["a cat and a bus", empty, "a clock"]},
                )
            )["results"]
            one, two, three = result["matches"]
            alone = cli(
                "match", SCENES / "cat-bus.png", "--text", "a cat and a bus", "--text", "a clock"
            )
            self.assertIn(str(one["match_probability"]), json.dumps(alone))
            self.assertIn(str(three["match_probability"]), json.dumps(alone))
            self.assertEqual(
                two,
                {
                    "text": empty,
                    "error": {
                        "code": "invalid_request",
                        "detail": "an empty text; give at least one word",
                    },
                },
            )
            texts = self.ok(self.server.post_json("/v1/embed", {"texts": ["a cat", empty]}))[
                "texts"
            ]
            self.assertEqual(["embedding" in text for text in texts], [True, False])
            answers = self.ok(
                self.server.post_json(
                    "/v1/ask", {"image": b64(scene()), "questions": ["is there a bus?", empty]}
                )
            )["results"]
            self.assertEqual(
                (answers[0]["answer"], answers[1]["question"], answers[1]["error"]["code"]),
                ("yes", empty, "invalid_request"),
            )


class IdleOptions(ServerTest):
    def test_options_that_change_nothing_are_refused(self):
        for path, fields, words in (
            ("/v1/caption", {"temperature": 0.5}, '"temperature": has no effect without sample'),
            ("/v1/caption", {"seed": 4}, '"seed": has no effect'),
            ("/v1/caption", {"top_p": 0.5}, '"top_p": has no effect'),
            ("/v1/caption", {"top_k": 5}, '"top_k": has no effect'),
            ("/v1/caption", {"sample": True, "beams": 4}, '"beams": has no effect with sample'),
            (
                "/v1/caption",
                {"beams": 1, "length_penalty": 2},
                '"length_penalty": has an effect in beam search only',
            ),
            ("/v1/caption", {"sample": True, "length_penalty": 2}, '"length_penalty"'),
            (
                "/v1/ask",
                {"question": "a?", "rank_candidates": 3},
                '"rank_candidates": has an effect on given answers only',
            ),
            (
                "/v1/ask",
                {"question": "a?", "answers": ["b"], "beams": 2},
                '"beams": has no effect on given answers',
            ),
            (
                "/v1/ask",
                {"question": "a?", "answers": ["b"], "max_length": 9},
                '"max_length": has no effect on given answers',
            ),
        ):
            self.problem(
                self.server.post_json(path, {"image": b64(scene()), **fields}),
                400,
                "invalid_request",
                words,
            )
        self.ok(
            self.server.post_json(
                "/v1/caption",
                {
                    "image": b64(scene()),
                    "sample": True,
                    "temperature": 0.5,
                    "seed": 4,
                    "top_p": 0.5,
                    "top_k": 5,
                },
            )
        )
        self.ok(
            self.server.post_json(
                "/v1/ask",
                {
                    "image": b64(scene()),
                    "question": "a bus?",
                    "answers": ["yes"],
                    "rank_candidates": 3,
                },
            )
        )

    def test_a_default_never_fights_an_option(self):
        (result,) = self.ok(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "max_length": 5})
        )["results"]
        self.assertLessEqual(len(result["token_ids"]), 5)


class Bodies(ServerTest):
    arguments = ("--max-body", MIB)

    def caption(self, reply):
        return self.ok(reply)["results"][0]["caption"]

    def test_a_picture_whose_type_is_not_said(self):
        expected = self.caption(self.server.post("/v1/caption", scene(), "image/png"))
        self.assertEqual(
            self.caption(
                self.server.post("/v1/caption", scene(), "application/x-www-form-urlencoded")
            ),
            expected,
        )
        self.assertEqual(
            self.caption(self.server.request("POST", "/v1/caption", scene())), expected
        )
        reply = self.server.post(
            "/v1/caption", json.dumps({"image": b64(scene())}), "application/x-www-form-urlencoded"
        )
        self.problem(reply, 415, "unsupported_media_type", "send Content-Type: application/json")

    def test_gzip(self):
        expected = self.caption(self.server.post("/v1/caption", scene(), "image/png"))
        for coding, body in (
            ("gzip", gzip.compress(scene())),
            ("GZIP", gzip.compress(scene()[:500]) + gzip.compress(scene()[500:])),
            ("deflate", zlib.compress(scene())),
            ("identity", scene()),
        ):
            self.assertEqual(
                self.caption(
                    self.server.post("/v1/caption", body, "image/png", {"Content-Encoding": coding})
                ),
                expected,
                coding,
            )
        sent = gzip.compress(json.dumps({"image": b64(scene())}).encode())
        self.assertEqual(
            self.caption(
                self.server.post(
                    "/v1/caption", sent, "application/json", {"Content-Encoding": "gzip"}
                )
            ),
            expected,
        )

    def test_gzip_that_is_none_or_too_large(self):
        encoded = {"Content-Encoding": "gzip"}
        for body in (b"", b"x", gzip.compress(scene())[:-9], gzip.compress(scene())[:400], scene()):
            self.problem(
                self.server.post("/v1/caption", body, "image/png", encoded),
                400,
                "invalid_request",
                "gzip",
            )
        bomb = gzip.compress(b"\0" * (400 * MIB))
        self.assertLess(len(bomb), MIB)
        self.problem(
            self.server.post("/v1/caption", bomb, "image/png", encoded),
            413,
            "payload_too_large",
            "--max-body",
        )
        for coding in ("br", "gzip, br", "zstd"):
            self.problem(
                self.server.post("/v1/caption", scene(), "image/png", {"Content-Encoding": coding}),
                415,
                "unsupported_media_type",
                f'"{coding}"',
            )


if __name__ == "__main__":
    unittest.main()
