"""The API's answers: the same as the command line's, in every form a request may take."""

import json
import subprocess
import unittest

from harness import (
    SCENES,
    SOURCE,
    Server,
    ServerTest,
    b64,
    cli,
    data_url,
    in_parallel,
    picture,
    scene,
    scene_names,
)

QUESTIONS = ["what animal is this?", "is there a bus?", "what is left of the bus?"]
TEXTS = ["a cat and a bus", "a clock"]


class Caption(ServerTest):
    def test_every_form_of_a_request_gives_the_command_lines_caption(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        replies = [
            self.server.post("/v1/caption", scene(), "image/png"),
            self.server.post("/v1/caption", scene()),
            self.server.post_form("/v1/caption", [("image", scene())]),
            self.server.post_form("/v1/caption", [("image", b64(scene()))]),
            self.server.post_json("/v1/caption", {"image": b64(scene())}),
            self.server.post_json("/v1/caption", {"images": [data_url(scene())]}),
        ]
        for reply in replies:
            answer = self.ok(reply)
            (result,) = answer["results"]
            self.assertEqual(
                (result["caption"], result["token_ids"], result["score"]),
                (expected["caption"], expected["token_ids"], expected["score"]),
            )
            self.assertEqual(
                (answer["device"], answer["request_id"]), ("cpu", reply.headers["X-Request-Id"])
            )
            self.assertEqual(list(result["timings_ms"]), ["queue", "preprocess", "encode", "task"])

    def test_words(self):
        send = {
            "image": b64(scene()),
            "forbid_words": ["bus|pink", "left"],
            "force_words": ["green|red"],
            "no_repeat_ngram": 1,
        }
        (expected,) = cli(
            "caption",
            SCENES / "cat-bus.png",
            "--forbid-words",
            "bus|pink",
            "--forbid-words",
            "left",
            "--force-words",
            "green|red",
            "--no-repeat-ngram",
            1,
        )
        (result,) = self.ok(self.server.post_json("/v1/caption", send))["results"]
        self.assertEqual(
            (result["caption"], result["token_ids"]), (expected["caption"], expected["token_ids"])
        )
        self.assertFalse({"bus", "pink", "left"} & set(result["caption"].split()))
        form = [
            ("image", scene()),
            ("forbid_words", "bus|pink"),
            ("forbid_words", "left"),
            ("force_words", "green|red"),
            ("no_repeat_ngram", "1"),
        ]
        (again,) = self.ok(self.server.post_form("/v1/caption", form))["results"]
        self.assertEqual(again["caption"], result["caption"])
        # Requests with other words are not answered together.
        (other,) = self.ok(self.server.post_json("/v1/caption", {"image": b64(scene())}))["results"]
        self.assertIn("bus", other["caption"])
        for field, value, message in (
            ("forbid_words", "bus", "must be a list of texts"),
            ("forbid_words", [" "], "an empty text"),
            ("forbid_words", [3], "must be text"),
            ("forbid_words", ["bus"] * 1001, "more than 1000 texts"),
            ("force_words", ["bus"] * 33, "more than 32 texts"),
            ("force_words", ["\N{SNOWMAN}"], "the vocabulary cannot spell it"),
            ("force_words", ["bus|bus"], "one begins with another"),
            ("no_repeat_ngram", -1, "whole number"),
        ):
            with self.subTest(field=field, value=value):
                reply = self.server.post_json("/v1/caption", {"image": b64(scene()), field: value})
                self.problem(reply, 400, "invalid_request", message)
        warned = self.ok(
            self.server.post_json(
                "/v1/caption", {"image": b64(scene()), "forbid_words": ["\N{SNOWMAN}"]}
            )
        )["results"][0]
        self.assertEqual(warned["caption"], other["caption"])
        self.assertIn("the vocabulary cannot spell it", warned["warnings"][0])
        reply = self.server.post_json(
            "/v1/caption", {"image": b64(scene()), "force_words": ["red"], "beams": 1}
        )
        self.problem(reply, 400, "invalid_request", "has an effect in beam search only")

    def test_transparent_pictures_over_a_colour(self):
        path = SOURCE / "tests" / "data" / "image" / "formats" / "over_rgba.png"
        shown = {}
        for colour in ("white", "#000", None):
            (expected,) = cli("embed", path, *(["--background", colour] if colour else []))
            request = {
                "image": b64(path.read_bytes()),
                **({"background": colour} if colour else {}),
            }
            for _ in range(2):  # the second from the cache, which keeps the three apart
                (result,) = self.ok(self.server.post_json("/v1/embed", request))["images"]
                self.assertEqual(result["embedding"], expected["embedding"])
            shown[colour] = str(result["embedding"])
        self.assertEqual(len(set(shown.values())), 3)
        reply = self.server.post_json(
            "/v1/caption", {"image": b64(scene()), "background": "reddish"}
        )
        self.assertEqual(reply.status, 400)
        self.assertIn('field "background": "reddish" is no colour', reply.json["detail"])

    def test_pictures_of_the_newer_formats(self):
        folder = SOURCE / "tests" / "data" / "image" / "formats"
        for name, kind in (
            ("tiff_rgb_strips.tif", "image/tiff"),
            ("heif_420.heic", "image/heic"),
            ("avif_420.avif", "image/avif"),
            ("jxl_lossy.jxl", "image/jxl"),
        ):
            try:
                (expected,) = cli("caption", folder / name)
            except subprocess.CalledProcessError as error:
                self.assertIn(b"this build has no", error.stdout)
                continue
            data = (folder / name).read_bytes()
            for reply in (
                self.server.post("/v1/caption", data, kind),
                self.server.post("/v1/caption", data),
                self.server.post_form("/v1/caption", [("image", data)]),
            ):
                self.assertEqual(self.ok(reply)["results"][0]["caption"], expected["caption"])

    def test_the_pages_file_chooser_takes_what_the_server_reads(self):
        page = self.server.get("/").body.decode()
        self.assertIn('accept="image/*,.jpg,.jpeg,', page)
        self.assertNotIn("@PICTURES@", page)

    def test_several_pictures_come_in_order(self):
        expected = cli("caption", *(SCENES / name for name in scene_names()))
        answer = self.ok(
            self.server.post_json(
                "/v1/caption", {"images": [b64(scene(name)) for name in scene_names()]}
            )
        )
        self.assertEqual(
            [r["caption"] for r in answer["results"]], [e["caption"] for e in expected]
        )
        self.assertEqual([r["image"] for r in answer["results"]], list(range(len(expected))))

    def test_options_reach_the_decoder_from_every_form(self):
        (expected,) = cli(
            "caption",
            SCENES / "clock.png",
            "--beams",
            4,
            "--num-captions",
            3,
            "--max-length",
            9,
            "--length-penalty",
            0.5,
            "--prompt",
            "a",
        )
        options = {
            "beams": 4,
            "num_captions": 3,
            "max_length": 9,
            "length_penalty": 0.5,
            "prompt": "a",
        }
        query = "/v1/caption?" + "&".join(f"{k}={v}" for k, v in options.items())
        for reply in (
            self.server.post_json("/v1/caption", {"image": b64(scene("clock.png")), **options}),
            self.server.post_form("/v1/caption", [("image", scene("clock.png")), *options.items()]),
            self.server.post(query, scene("clock.png"), "image/png"),
        ):
            (result,) = self.ok(reply)["results"]
            self.assertEqual(
                [c["caption"] for c in result["captions"]],
                [c["caption"] for c in expected["captions"]],
            )
            self.assertEqual(result["token_ids"], expected["token_ids"])

    def test_same_seed_same_sample(self):
        (expected,) = cli(
            "caption", SCENES / "clock.png", "--sample", "--seed", 7, "--temperature", 1.5
        )
        request = {"image": b64(scene("clock.png")), "sample": True, "seed": 7, "temperature": 1.5}
        for reply in in_parallel(4, lambda i: self.server.post_json("/v1/caption", request)):
            self.assertEqual(self.ok(reply)["results"][0]["caption"], expected["caption"])

    def test_streams_token_by_token(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png", "--beams", 1)
        reply = self.server.post_form("/v1/caption", [("image", scene()), ("stream", "true")])
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "text/event-stream"))
        events = [(event, json.loads(data)) for event, data in reply.events]
        tokens, (last, done) = events[:-1], events[-1]
        self.assertEqual(
            (last, done["caption"], done["token_ids"]),
            ("done", expected["caption"], expected["token_ids"]),
        )
        self.assertEqual({event for event, _ in tokens}, {"token"})
        self.assertEqual([data["id"] for _, data in tokens], expected["token_ids"][4:])
        self.assertEqual(tokens[-1][1]["text"], expected["caption"])

    def test_a_stream_needs_one_picture_and_no_beams(self):
        image = b64(scene())
        self.problem(
            self.server.post_json("/v1/caption", {"images": [image, image], "stream": True}),
            400,
            "invalid_request",
            "one picture",
        )
        self.problem(
            self.server.post_json("/v1/caption", {"image": image, "stream": True, "beams": 3}),
            400,
            "invalid_request",
            "beam search",
        )

    def test_an_answer_streams_too(self):
        (expected,) = self.ok(
            self.server.post_json(
                "/v1/ask", {"image": b64(scene("clock.png")), "question": QUESTIONS[0], "beams": 1}
            )
        )["results"]
        reply = self.server.post_json(
            "/v1/ask",
            {
                "image": b64(scene("clock.png")),
                "question": QUESTIONS[0],
                "stream": True,
                "attention": True,
            },
        )
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "text/event-stream"))
        *tokens, (last, done) = [(event, json.loads(data)) for event, data in reply.events]
        self.assertEqual(
            (last, done["answer"], done["token_ids"], done["question"]),
            ("done", expected["answer"], expected["token_ids"], QUESTIONS[0]),
        )
        self.assertEqual([data["id"] for _, data in tokens], expected["token_ids"][1:])
        self.assertEqual("".join(data["added"] for _, data in tokens), expected["answer"])
        self.assertEqual(
            [word["word"] for word in done["attention"]["words"]], expected["answer"].split()
        )
        for fields, words in (
            ({"questions": QUESTIONS}, "one question"),
            ({"question": "a?", "answers": ["b"]}, "ranked"),
            ({"question": "a?", "beams": 2}, "beam search"),
            ({"question": "a?", "num_answers": 2}, "num_answers"),
        ):
            self.problem(
                self.server.post_json("/v1/ask", {"image": b64(scene()), "stream": True, **fields}),
                400,
                "invalid_request",
                words,
            )


class MatchAskEmbed(ServerTest):
    def test_match(self):
        expected = cli("match", SCENES / "cat-bus.png", "--text", TEXTS[0], "--text", TEXTS[1])
        for reply in (
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": TEXTS}),
            self.server.post_form(
                "/v1/match", [("image", scene()), ("text", TEXTS[0]), ("text", TEXTS[1])]
            ),
        ):
            (result,) = self.ok(reply)["results"]
            self.assertEqual([m["text"] for m in result["matches"]], TEXTS)
            self.assertTrue(all(0 <= m["match_probability"] <= 1 for m in result["matches"]))
            printed = json.dumps(expected)
            for match in result["matches"]:
                self.assertIn(str(match["match_probability"]), printed)

    def test_match_with_one_head(self):
        send = {"image": b64(scene()), "texts": TEXTS}
        both = self.ok(self.server.post_json("/v1/match", send))["results"][0]["matches"]
        for head, kept, left in (
            ("itm", "match_probability", "cosine"),
            ("itc", "cosine", "match_probability"),
        ):
            one = self.ok(self.server.post_json("/v1/match", {**send, "head": head}))["results"][0][
                "matches"
            ]
            self.assertEqual([m[left] for m in one], [None, None])
            for got, expected in zip(one, both):
                self.assertAlmostEqual(got[kept], expected[kept], places=5)
        enc = self.ok(self.server.post_json("/v1/match", {**send, "itm_token": "enc"}))["results"][
            0
        ]["matches"]
        printed = cli(
            "match",
            SCENES / "cat-bus.png",
            "--itm-token",
            "enc",
            *[flag for text in TEXTS for flag in ("--text", text)],
        )
        for got, said, cls in zip(enc, printed, both):
            self.assertAlmostEqual(got["match_probability"], said["match_probability"], places=5)
            self.assertAlmostEqual(got["cosine"], cls["cosine"], places=5)
            self.assertNotEqual(got["match_probability"], cls["match_probability"])
        self.problem(
            self.server.post_json("/v1/match", {**send, "itm_token": "sep"}),
            400,
            "invalid_request",
            "use cls or enc",
        )
        self.problem(
            self.server.post_json("/v1/match", {**send, "head": "it"}),
            400,
            "invalid_request",
            "all, itm or itc",
        )

    def test_ask_gives_the_command_lines_answers(self):
        flags = [flag for question in QUESTIONS for flag in ("--question", question)]
        expected = cli("ask", SCENES / "cat-bus.png", *flags)
        answer = self.ok(
            self.server.post_json("/v1/ask", {"image": b64(scene()), "questions": QUESTIONS})
        )
        self.assertEqual([r["question"] for r in answer["results"]], QUESTIONS)
        for result in answer["results"]:
            self.assertIn(json.dumps(result["answer"]), json.dumps(expected))
        one = self.ok(
            self.server.post_form("/v1/ask", [("image", scene()), ("question", QUESTIONS[0])])
        )
        self.assertEqual(one["results"][0]["answer"], answer["results"][0]["answer"])

    def test_ask_ranks_given_answers(self):
        (result,) = self.ok(
            self.server.post_json(
                "/v1/ask",
                {"image": b64(scene()), "question": QUESTIONS[1], "answers": ["yes", "no"]},
            )
        )["results"]
        self.assertEqual({a["answer"] for a in result["answers"]}, {"yes", "no"})
        self.assertEqual(result["answers"][0]["answer"], result["answer"])
        self.assertGreaterEqual(result["answers"][0]["score"], result["answers"][1]["score"])

    def test_embed(self):
        answer = self.ok(
            self.server.post_json(
                "/v1/embed", {"images": [b64(scene()), b64(scene("clock.png"))], "texts": TEXTS}
            )
        )
        vectors = [entry["embedding"] for entry in answer["images"] + answer["texts"]]
        self.assertEqual({len(vector) for vector in vectors}, {answer["dimensions"]})
        for vector in vectors:
            self.assertAlmostEqual(sum(x * x for x in vector), 1, places=4)
        match = self.ok(
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": TEXTS})
        )["results"][0]["matches"]
        for text, expected in zip(answer["texts"], match):
            cosine = sum(a * b for a, b in zip(answer["images"][0]["embedding"], text["embedding"]))
            self.assertAlmostEqual(cosine, expected["cosine"], places=4)

    def test_a_long_text_is_cut_with_a_warning_to_its_sender_only(self):
        long = "a cat " * 40
        (result,) = self.ok(
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": [long]})
        )["results"]
        self.assertIn("truncated to 35 tokens", result["warnings"][0])
        (result,) = self.ok(
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": ["a cat"]})
        )["results"]
        self.assertNotIn("warnings", result)


class Attention(ServerTest):
    def centre(self, weights):
        """Where the weight lies on the whole, as shares of width and height."""
        side = len(weights)
        return (
            sum(weights[y][x] * (x + 0.5) / side for y in range(side) for x in range(side)),
            sum(weights[y][x] * (y + 0.5) / side for y in range(side) for x in range(side)),
        )

    def check(self, attention, text):
        self.assertEqual(" ".join(word["word"] for word in attention["words"]), text)
        for word in attention["words"] + attention.get("question", []):
            self.assertEqual(
                [len(row) for row in word["weights"]], [attention["side"]] * attention["side"]
            )
            self.assertAlmostEqual(sum(map(sum, word["weights"])), 1, places=3)

    def test_words_of_things_look_at_the_things(self):
        answer = self.ok(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "attention": True})
        )
        (result,) = answer["results"]
        self.check(result["attention"], result["caption"])
        places = {
            thing["kind"]: (thing["x"], thing["y"])
            for entry in json.loads((SCENES / "scenes.json").read_text(encoding="utf-8"))
            if entry["image"] == "cat-bus.png"
            for thing in entry["things"]
        }
        for word in result["attention"]["words"]:
            if word["word"] in places:
                for got, expected in zip(self.centre(word["weights"]), places[word["word"]]):
                    self.assertAlmostEqual(got, expected, delta=0.15, msg=word["word"])
        self.assertNotIn(
            "attention", self.ok(self.server.post("/v1/caption", scene()))["results"][0]
        )

    def test_a_given_text_is_read_as_if_it_were_the_models(self):
        (result,) = self.ok(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "attention": True})
        )["results"]
        own = self.ok(self.server.post("/v1/attention", scene()))
        given = self.ok(
            self.server.post_form(
                "/v1/attention", [("image", scene()), ("text", result["caption"])]
            )
        )
        self.assertEqual((own["text"], own["attention"]), (result["caption"], result["attention"]))
        self.assertEqual(given["attention"]["words"], result["attention"]["words"])
        other = self.ok(
            self.server.post_json(
                "/v1/attention",
                {"image": b64(scene()), "text": "two bananas, and a pen", "layers": 1},
            )
        )["attention"]
        self.check(other, "two bananas, and a pen")
        self.assertNotEqual(
            other,
            self.ok(
                self.server.post_json(
                    "/v1/attention",
                    {"image": b64(scene()), "text": "two bananas, and a pen", "layers": 3},
                )
            )["attention"],
        )

    def test_answers_show_the_question_too(self):
        request = {"image": b64(scene()), "question": "What animal is this?"}
        (result,) = self.ok(self.server.post_json("/v1/ask", {**request, "attention": True}))[
            "results"
        ]
        self.check(result["attention"], "cat")
        self.assertEqual(
            [word["word"] for word in result["attention"]["question"]],
            ["what", "animal", "is", "this?"],
        )
        self.assertEqual(
            self.ok(self.server.post_json("/v1/attention", request))["attention"],
            result["attention"],
        )
        given = self.ok(self.server.post_json("/v1/attention", {**request, "text": "dog"}))
        self.assertEqual(
            (given["question"], given["text"], given["attention"]["question"]),
            (request["question"], "dog", result["attention"]["question"]),
        )
        (ranked,) = self.ok(
            self.server.post_json(
                "/v1/ask", {**request, "answers": ["dog", "cat"], "attention": True}
            )
        )["results"]
        self.check(ranked["attention"], "cat")

    def test_a_heat_map_is_a_png_of_the_pictures_size(self):
        size = scene()[16:24]
        maps = {self.png(f"&word={word}") for word in (1, 7)} | {self.png("")}
        self.assertEqual(len(maps), 3)
        for data in maps:
            self.assertEqual((data[:8], data[16:24]), (b"\x89PNG\r\n\x1a\n", size))

    def png(self, options):
        reply = self.server.post("/v1/attention?format=png" + options, scene(), "image/png")
        self.assertEqual(
            (reply.status, reply.headers["Content-Type"]), (200, "image/png"), reply.body[:500]
        )
        return reply.body

    def test_mistakes(self):
        image = b64(scene())
        for fields, words in (
            ({}, "one picture"),
            ({"images": [image, image]}, "one picture"),
            ({"image": image, "format": "gif"}, "json or png"),
            ({"image": image, "word": 0}, "PNG"),
            ({"image": image, "text": "a cat", "format": "png", "word": 2}, "has 2 words"),
            ({"image": image, "layers": -1}, "layers"),
            ({"image": image, "question": ""}, "empty"),
            ({"image": image, "text": " "}, "empty"),
            ({"image": image, "text": "cat " * 1000}, ""),
        ):
            self.problem(
                self.server.post_json("/v1/attention", fields), 400, "invalid_request", words
            )


class Batching(ServerTest):
    arguments = ("--batch-window", 200, "--batch", 8)

    def together(self, count, ask):
        """The results of `count` requests at once, some of which shared a pass. On a busy machine
        requests may come one after the other: then again.
        """
        for _ in range(5):
            results = [self.ok(reply)["results"][0] for reply in in_parallel(count, ask)]
            if max(result["batch"] for result in results) > 1:
                return results
        self.fail("no two requests shared a pass")

    def test_answers_do_not_depend_on_who_asks_at_the_same_time(self):
        names = scene_names()
        alone = [
            self.ok(self.server.post("/v1/caption", scene(name)))["results"][0] for name in names
        ]
        for i, result in enumerate(
            self.together(
                32, lambda i: self.server.post("/v1/caption", scene(names[i % len(names)]))
            )
        ):
            self.assertEqual(
                (result["caption"], result["token_ids"]),
                (alone[i % len(names)]["caption"], alone[i % len(names)]["token_ids"]),
            )

    def test_questions_about_one_picture_share_a_pass_and_the_picture_is_encoded_once(self):
        image = picture(99)
        misses = self.server.metric("blip_image_cache_misses_total")
        self.ok(self.server.post("/v1/ask?question=" + "is+there+a+cat", image))
        self.assertEqual(self.server.metric("blip_image_cache_misses_total"), misses + 1)
        results = self.together(
            16,
            lambda i: self.server.post_json(
                "/v1/ask", {"image": b64(image), "question": QUESTIONS[i % 3]}
            ),
        )
        self.assertTrue(
            all(result["cached"] and result["timings_ms"]["encode"] == 0 for result in results)
        )
        self.assertEqual(self.server.metric("blip_image_cache_misses_total"), misses + 1)
        for i, result in enumerate(results):
            self.assertEqual(result["answer"], results[i % 3]["answer"])


class Other(ServerTest):
    def test_models(self):
        (model,) = self.ok(self.server.get("/v1/models"))["data"]
        self.assertEqual((model["object"], model["device"]), ("model", "cpu"))
        self.assertEqual(model["tasks"], ["caption", "match", "ask", "rank", "embed", "attention"])
        named = self.ok(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "model": model["id"]})
        )
        self.assertEqual(named["model"], model["id"])
        self.problem(
            self.server.post_json("/v1/caption", {"image": b64(scene()), "model": "gpt"}),
            404,
            "model_not_found",
            "gpt",
        )

    def test_health_and_metrics(self):
        self.assertEqual(self.ok(self.server.get("/healthz")), {"status": "ok"})
        self.assertEqual(self.ok(self.server.get("/readyz")), {"status": "ready"})
        before = self.server.metric(
            'blip_requests_total{route="/v1/caption",method="POST",status="200"}'
        )
        self.ok(self.server.post("/v1/caption", picture(5)))
        self.assertEqual(
            self.server.metric(
                'blip_requests_total{route="/v1/caption",method="POST",status="200"}'
            ),
            before + 1,
        )
        text = self.server.get("/metrics").text
        for name in (
            'blip_stage_seconds_bucket{stage="queue",le=',
            'blip_stage_seconds_sum{stage="encode"}',
            'blip_batch_size_count{task="caption"}',
            "blip_queue_jobs ",
            "blip_image_cache_entries ",
            "blip_requests_in_flight 1",
            "# TYPE blip_request_seconds histogram",
        ):
            self.assertIn(name, text)

    def test_requests_have_ids_and_log_lines(self):
        reply = self.server.post("/v1/caption", picture(6), headers={"X-Request-Id": "my-id.1"})
        self.assertEqual(
            (self.ok(reply)["request_id"], reply.headers["X-Request-Id"]), ("my-id.1", "my-id.1")
        )
        ours = self.server.get("/healthz", {"X-Request-Id": "no good\tid"}).headers["X-Request-Id"]
        self.assertRegex(ours, r"^[0-9a-f]{8}-\d+$")
        (line,) = [line for line in self.server.log_lines("request") if line["id"] == "my-id.1"]
        self.assertEqual(
            (line["method"], line["path"], line["status"], line["level"]),
            ("POST", "/v1/caption", 200, "info"),
        )

    def test_connections_stay_open(self):
        connection = self.server.connect()
        for _ in range(20):
            connection.request("GET", "/healthz")
            self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}\n')
        connection.close()


class Cache(ServerTest):
    arguments = ("--cache-entries", 2)

    def cached(self, seed):
        return self.ok(self.server.post("/v1/caption", picture(seed)))["results"][0]["cached"]

    def test_the_least_recently_used_picture_goes_first(self):
        self.assertEqual(
            [self.cached(seed) for seed in (1, 2, 1, 3, 1, 2)],
            [False, False, True, False, True, False],
        )
        self.assertEqual(self.server.metric("blip_image_cache_entries"), 2)
        self.assertGreater(self.server.metric("blip_image_cache_bytes"), 1000)


class SeveralModels(unittest.TestCase):
    def test_models_by_name(self):
        from harness import MODEL

        server = Server("-m", "second=" + MODEL)
        try:
            names = [model["id"] for model in server.get("/v1/models").json["data"]]
            self.assertEqual(len(names), 2)
            self.assertEqual(names[1], "second")
            replies = [
                server.post_json("/v1/caption", {"image": b64(scene()), "model": name}).json
                for name in names
            ]
            self.assertEqual([reply["model"] for reply in replies], names)
            self.assertEqual(
                replies[0]["results"][0]["caption"], replies[1]["results"][0]["caption"]
            )
            content = [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + b64(scene())}}
            ]
            reply = server.post_json(
                "/v1/chat/completions",
                {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]},
            )
            self.assertEqual((reply.status, reply.json["code"]), (404, "model_not_found"))
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
