"""JSON that is deep, broad or no text, in every place where the server reads JSON: a refusal,
quickly and in little memory.
"""

import json
import unittest

from harness import EMULATED, SANITIZED, ServerTest, b64, data_url, picture, scene

DEEP = "[" * 60_000 + "]" * 60_000
DEEP_OBJECTS = '{"a":' * 60_000 + "1" + "}" * 60_000
TASKS = ("caption", "match", "ask", "embed", "attention")


def peak(server):
    """The most memory that the server has held, in bytes."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


class Json(ServerTest):
    def refused(self, path, body, words):
        reply = self.server.post(path, body, "application/json")
        self.assertEqual(
            (reply.status, reply.json["code"]), (400, "invalid_request"), reply.body[:500]
        )
        self.assertIn(words, reply.json["detail"])
        self.assertLess(len(reply.body), 1000)

    def tearDown(self):
        # It is there, and well.
        self.assertEqual(self.server.post("/v1/caption", picture(1)).status, 200)

    def test_deep_values(self):
        words = "the body cannot be read as JSON: nested deeper than 64 levels"
        for deep in (DEEP, DEEP_OBJECTS):
            for task in TASKS:
                for field in ("image", "images", "text", "texts", "question", "beams", "x"):
                    self.refused("/v1/" + task, f'{{"{field}": {deep}}}', words)
            self.refused("/v1/history", f'{{"image": {deep}}}', words)
            pushed = self.server.post(
                "/caption/push_data", f'{{"image": {deep}}}', "application/json"
            )
            self.assertEqual((pushed.status, list(pushed.json)), (500, ["error"]))
            self.assertIn(words, pushed.json["error"])
            message = '{"messages": [{"role": "user", "content": %s}]}'
            for content in (
                deep,
                f'[{{"type": "image_url", "image_url": {{"url": {deep}}}}}]',
                f'[{{"type": "text", "text": {deep}}}]',
            ):
                self.refused("/v1/chat/completions", message % content, words)

    def test_deep_text(self):
        """JSON inside of a text: a result of the history, a list of texts."""
        reply = self.server.post_json(
            "/v1/history", {"task": "ask", "image": b64(scene()), "result": DEEP}
        )
        self.assertEqual(
            (reply.status, reply.json["detail"]),
            (400, 'field "result": is not JSON text: nested deeper than 64 levels'),
        )
        lists = ("[" * 300 + "]" * 300, '["a cat", [[[["a dog"]]]]]')
        for name, texts in enumerate(lists):  # one text that begins like a list
            self.ok(
                self.server.post_json(
                    "/match/push_data", {"id": name, "image": b64(scene()), "text": texts}
                )
            )
            result = self.ok(self.server.get(f"/match/get_result?id={name}"))
            self.assertEqual(result["question"], [texts])

    def test_broad_values_take_no_memory(self):
        before = peak(self.server)
        broad = "[" + "1," * ((4 if EMULATED else 30) << 20) + "1]"
        self.refused(
            "/v1/caption", '{"images": %s}' % broad, "the body cannot be read as JSON: more than"
        )
        self.refused(
            "/v1/match", '{"texts": %s}' % broad, "the body cannot be read as JSON: more than"
        )
        self.refused(
            "/v1/chat/completions",
            '{"messages": %s}' % broad,
            "the body cannot be read as JSON: more than 50000 values",
        )
        if not SANITIZED:
            self.assertLess(peak(self.server) - before, 3 * len(broad))

    def test_texts_that_are_none(self):
        self.refused("/v1/match", b'{"text": "caf\xe9"}', "the body cannot be read as JSON")
        self.refused("/v1/match", r'{"text": "\ud800"}', "the body cannot be read as JSON")
        self.refused(
            "/v1/match", '{"text": "a", "text": "b"}', 'the key "text" appears twice in one object'
        )
        self.refused(
            "/v1/match", '{"image": "%s", "text": 1}' % b64(scene()), 'field "text": must be text'
        )
        for path in ("/v1/match?text=caf%E9", "/v1/match?text=%ED%A0%80", "/v1/match?text=%C0%80"):
            reply = self.server.post(path, scene(), "image/png")
            self.problem(reply, 400, "invalid_request", 'field "text": is not UTF-8')
        reply = self.server.post(
            "/v1/match",
            b"text=caf%E9&image=" + b64(scene()).replace("+", "%2B").encode(),
            "application/x-www-form-urlencoded",
        )
        self.problem(reply, 400, "invalid_request", 'field "text": is not UTF-8')

    def test_what_is_quoted_is_short(self):
        long = "x" * 300_000
        # With one model a chat may call it what it likes; the answer has the model's own name.
        chat = {
            "model": long,
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": data_url(scene())}}],
                }
            ],
        }
        for path, body, expected in (
            ("/v1/caption", {long: 1}, (400,)),
            ("/v1/caption", {"model": long, "image": b64(scene())}, (400, 404)),
            ("/v1/chat/completions", {"messages": [{"role": long}]}, (400,)),
            ("/v1/chat/completions", chat, (200,)),
        ):
            reply = self.server.post(path, json.dumps(body), "application/json")
            self.assertIn(reply.status, expected)
            self.assertLess(len(reply.body), 1500)


if __name__ == "__main__":
    unittest.main()
