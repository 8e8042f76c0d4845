"""Real clients against a server: the openai and requests packages. scripts/test-clients.sh installs
them. Usage: BLIP_PROGRAM=... BLIP_SOURCE=... python3 clients.py
"""

import unittest

import openai
import requests

from harness import SCENES, ServerTest, b64, cli, data_url, scene


class OpenAi(ServerTest):
    def setUp(self):
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.server.port}/v1", api_key="none", max_retries=0
        )
        self.addCleanup(self.client.close)

    def chat(self, *texts, image=True, **options):
        parts = [{"type": "image_url", "image_url": {"url": data_url(scene())}}] if image else []
        parts += [{"type": "text", "text": text} for text in texts]
        return self.client.chat.completions.create(
            model=self.client.models.list().data[0].id,
            messages=[{"role": "user", "content": parts}],
            **options,
        )

    def test_caption(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        self.assertEqual(
            self.chat("Describe this picture.").choices[0].message.content, expected["caption"]
        )

    def test_question(self):
        answer = requests.post(
            f"http://127.0.0.1:{self.server.port}/v1/ask",
            json={"image": b64(scene()), "question": "is there a bus?"},
            timeout=60,
        ).json()
        self.assertEqual(
            self.chat("is there a bus?").choices[0].message.content, answer["results"][0]["answer"]
        )

    def test_stream(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png", "--beams", 1)
        pieces = [chunk.choices[0].delta.content or "" for chunk in self.chat(stream=True)]
        self.assertEqual("".join(pieces), expected["caption"])
        self.assertGreater(len(pieces), 3)

    def test_mistakes_are_typed(self):
        with self.assertRaisesRegex(openai.BadRequestError, "no picture"):
            self.chat("hello", image=False)
        with self.assertRaisesRegex(openai.BadRequestError, "tools"):
            self.chat(
                "hello", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
            )

    def test_any_model_name_will_do_where_there_is_one(self):
        picture = {"type": "image_url", "image_url": {"url": data_url(scene())}}
        answer = self.client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": [picture]}]
        )
        self.assertEqual(answer.model, "blip-demo")
        self.assertEqual(
            answer.choices[0].message.content, "a cat to the left of a bus on a pink background"
        )


class Requests(ServerTest):
    def test_the_sophon_demo_pages_way(self):
        address = f"http://127.0.0.1:{self.server.port}"
        for task, texts, answers in (
            ("caption", [], "texts"),
            ("match", ["a cat and a bus", "a clock"], "similarity"),
            ("ask", ["is there a bus?"], "texts"),
        ):
            pushed = requests.post(
                f"{address}/{task}/push_data",
                data={"id": "7", "image": b64(scene()), "texts": texts},
                timeout=60,
            )
            self.assertEqual((pushed.status_code, pushed.json()), (200, {"status": "success"}))
            result = requests.get(
                f"{address}/{task}/get_result", params={"id": "7"}, timeout=60
            ).json()
            self.assertEqual(result["id"], 7)
            self.assertEqual(len(result[answers]), max(1, len(texts)))

    def test_files(self):
        with open(SCENES / "cat-bus.png", "rb") as first, open(
            SCENES / "clock.png", "rb"
        ) as second:
            reply = requests.post(
                f"http://127.0.0.1:{self.server.port}/v1/caption",
                files=[("image", first), ("image", second)],
                data={"beams": 2},
                timeout=60,
            )
        self.assertEqual([result["image"] for result in reply.json()["results"]], [0, 1])


if __name__ == "__main__":
    unittest.main()
