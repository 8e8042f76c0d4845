"""POST /v1/nlvr: statements about two pictures, as the official code judges them."""

import json
import unittest

from harness import SOURCE, Server, ServerTest, b64, in_parallel

DATA = SOURCE / "tests" / "data"
MODEL = DATA / "nlvr" / "model.pth"
NAME = "nlvr"
CASES = json.loads((DATA / "nlvr" / "expected.json").read_text(encoding="utf-8"))


def pictures(case):
    return [(DATA / "parity" / "images" / name).read_bytes() for name in case["images"]]


def cases_of_first():
    return [case for case in CASES if case["images"] == CASES[0]["images"]]


class Nlvr(ServerTest):
    arguments = ("-m", f"nlvr={MODEL}")  # beside the bundled one

    def nlvr(self, case, *texts, **more):
        send = {"images": [b64(one) for one in pictures(case)], "texts": list(texts), **more}
        return self.server.post_json("/v1/nlvr", send)

    def test_answers_are_those_of_the_official_code(self):
        cases = cases_of_first()
        texts = [case["text"] for case in cases]
        answer = self.ok(self.nlvr(cases[0], *texts))
        self.assertEqual(answer["model"], NAME)
        (result,) = answer["results"]
        self.assertEqual(list(result), ["images", "judgements", "cached", "batch", "timings_ms"])
        self.assertEqual(result["images"], [0, 1])
        for case, one in zip(cases, result["judgements"]):
            self.assertEqual(list(one), ["text", "answer", "probability"])
            self.assertEqual(one["text"], case["text"])
            self.assertAlmostEqual(one["probability"], case["probability"], delta=1e-4)
            self.assertEqual(one["answer"], case["probability"] > 0.5)
        form = [("images", one) for one in pictures(cases[0])]
        sent = self.ok(self.server.post_form("/v1/nlvr", form + [("text", t) for t in texts]))
        self.assertEqual(sent["results"][0]["judgements"], result["judgements"])
        self.assertTrue(sent["results"][0]["cached"])

    def test_which_picture_is_left_matters(self):
        case = CASES[0]
        left, right = (b64(one) for one in pictures(case))
        send = {"images": [right, left], "text": case["text"]}
        (turned,) = self.ok(self.server.post_json("/v1/nlvr", send))["results"]
        self.assertNotAlmostEqual(
            turned["judgements"][0]["probability"], case["probability"], delta=1e-6
        )
        send = {"images": [left, left], "text": case["text"]}
        self.ok(self.server.post_json("/v1/nlvr", send))

    def test_many_at_a_time(self):
        replies = in_parallel(
            24, lambda i: self.nlvr(CASES[i % len(CASES)], CASES[i % len(CASES)]["text"])
        )
        for i, reply in enumerate(replies):
            (one,) = self.ok(reply)["results"][0]["judgements"]
            expected = CASES[i % len(CASES)]["probability"]
            self.assertAlmostEqual(one["probability"], expected, delta=1e-4)
        self.assertGreater(self.server.metric('blip_batch_size_count{task="nlvr"}'), 0)

    def test_a_text_that_cannot_be_read_fails_alone(self):
        (result,) = self.ok(self.nlvr(CASES[0], "\u200b", CASES[0]["text"]))["results"]
        bad, good = result["judgements"]
        self.assertEqual(bad["error"]["code"], "invalid_request")
        self.assertAlmostEqual(good["probability"], CASES[0]["probability"], delta=1e-4)

    def test_what_is_refused(self):
        left, right = (b64(one) for one in pictures(CASES[0]))
        refuse = lambda send, *expected: self.problem(
            self.server.post_json("/v1/nlvr", send), *expected
        )
        two = [left, right]
        wrong = "two pictures, the left and the right one, are judged; got "
        refuse({"text": "a dog"}, 400, "invalid_request", wrong + "0")
        refuse({"image": left, "text": "a dog"}, 400, "invalid_request", wrong + "1")
        refuse({"images": two + [left], "text": "a"}, 400, "invalid_request", wrong + "3")
        refuse({"images": two}, 400, "invalid_request", "no text")
        refuse({"images": two, "text": "\u200b"}, 400, "invalid_request", "an empty text")
        refuse({"images": two, "text": "a", "head": "itm"}, 400, "invalid_request", "head")
        refuse({"images": [left, b64(b"no")], "text": "a"}, 422, "invalid_image", "picture 1")
        refuse({"images": two, "text": "a", "max_text_length": 65}, 400, "invalid_request", "64")
        refuse(
            {"images": two, "text": "a", "model": "blip-demo"},
            *(422, "unsupported_task", 'model "blip-demo" cannot nlvr'),
        )
        self.problem(self.server.get("/v1/nlvr"), 405, "method_not_allowed")
        # The model that judges pairs does nothing else.
        self.problem(
            self.server.post_json("/v1/caption", {"image": left, "model": NAME}),
            *(422, "unsupported_task"),
        )

    def test_the_list_of_models(self):
        tasks = {one["id"]: one["tasks"] for one in self.ok(self.server.get("/v1/models"))["data"]}
        self.assertEqual(tasks[NAME], ["nlvr"])
        self.assertNotIn("nlvr", tasks["blip-demo"])


if __name__ == "__main__":
    unittest.main()
