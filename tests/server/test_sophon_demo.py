"""The form protocol of SOPHON's sample: push a picture under an id, get that id's result."""

import unittest
import urllib.parse

from harness import SCENES, ServerTest, b64, cli, in_parallel, picture, scene


class SophonDemo(ServerTest):
    def push(self, task, fields):
        """As the sample's pages do: requests.post(url, data=...) is a urlencoded form."""
        return self.server.post(
            f"/{task}/push_data",
            urllib.parse.urlencode(fields),
            "application/x-www-form-urlencoded",
        )

    def result(self, task, name):
        return self.ok(
            self.server.get(f"/{task}/get_result?" + urllib.parse.urlencode({"id": name}))
        )

    def test_caption(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        self.ok(self.push("caption", [("id", "17"), ("image", b64(scene()))]))
        self.assertEqual(self.result("caption", "17"), {"id": "17", "texts": [expected["caption"]]})
        self.assertEqual(
            self.result("caption", "17"),
            {"id": "17", "texts": [expected["caption"]]},
            "asking again gives it again",
        )

    def test_match(self):
        texts = ["a cat and a bus", "a clock"]
        matches = self.ok(
            self.server.post_json("/v1/match", {"image": b64(scene()), "texts": texts})
        )["results"][0]["matches"]
        for form in (
            [("texts", text) for text in texts],
            [("texts", '["a cat and a bus", "a clock"]')],
            [("texts[]", text) for text in texts],
        ):
            self.ok(self.push("match", [("id", "m"), ("image", b64(scene())), *form]))
            self.assertEqual(
                self.result("match", "m"),
                {
                    "id": "m",
                    "texts": texts,
                    "similarity": [f"{m['match_probability']:.2f}" for m in matches],
                },
            )

    def test_ask(self):
        questions = ["what animal is this?", "is there a bus?"]
        answers = [
            r["answer"]
            for r in self.ok(
                self.server.post_json("/v1/ask", {"image": b64(scene()), "questions": questions})
            )["results"]
        ]
        for field in ("texts", "question"):
            self.ok(
                self.push(
                    "ask",
                    [
                        ("id", "q"),
                        ("image", b64(scene())),
                        *((field, question) for question in questions),
                    ],
                )
            )
            self.assertEqual(
                self.result("ask", "q"), {"id": "q", "question": questions, "texts": answers}
            )

    def test_a_file_upload_and_a_data_url_do_as_well(self):
        self.ok(self.server.post_form("/caption/push_data", [("id", "file"), ("image", scene())]))
        self.ok(
            self.push(
                "caption", [("id", "url"), ("image", "data:image/png;base64," + b64(scene()))]
            )
        )
        self.assertEqual(
            self.result("caption", "file")["texts"], self.result("caption", "url")["texts"]
        )

    def test_each_id_gets_its_own_result(self):
        names = ["cat-bus.png", "clock.png", "balloons.png", "fox-crown.png"]
        expected = {
            c["image"].rsplit("/", 1)[1]: c["caption"]
            for c in cli("caption", *(SCENES / name for name in names))
        }
        for reply in in_parallel(
            16,
            lambda i: self.push("caption", [("id", f"p{i}"), ("image", b64(scene(names[i % 4])))]),
        ):
            self.ok(reply)
        for i in reversed(range(16)):
            self.assertEqual(
                self.result("caption", f"p{i}"), {"id": f"p{i}", "texts": [expected[names[i % 4]]]}
            )

    def test_tasks_do_not_share_ids(self):
        self.ok(self.push("caption", [("id", "same"), ("image", b64(scene()))]))
        self.ok(
            self.push(
                "ask", [("id", "same"), ("image", b64(scene())), ("texts", "is there a bus?")]
            )
        )
        self.assertEqual(list(self.result("caption", "same")), ["id", "texts"])
        self.assertEqual(list(self.result("ask", "same")), ["id", "question", "texts"])

    def test_mistakes(self):
        self.problem(self.server.get("/caption/get_result?id=never"), 404, "not_found", "never")
        self.problem(self.server.get("/caption/get_result"), 400, "invalid_request", "id")
        self.problem(
            self.push("caption", [("image", b64(scene()))]), 400, "invalid_request", '"id"'
        )
        self.problem(self.push("caption", [("id", "x")]), 400, "invalid_request", '"image"')
        self.problem(
            self.push("match", [("id", "x"), ("image", b64(picture(1)))]),
            400,
            "invalid_request",
            '"texts"',
        )
        self.problem(
            self.push("caption", [("id", "x"), ("image", b64(b"no picture"))]), 422, "invalid_image"
        )


if __name__ == "__main__":
    unittest.main()
