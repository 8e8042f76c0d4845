"""POST /v1/chat/completions, as an OpenAI client speaks to it."""

import json
import unittest

from harness import SCENES, ServerTest, cli, data_url, scene


def messages(*parts, image=None):
    content = [{"type": "image_url", "image_url": {"url": data_url(image or scene())}}]
    return [
        {"role": "system", "content": "You describe pictures."},
        {"role": "user", "content": content + [{"type": "text", "text": part} for part in parts]},
    ]


class Chat(ServerTest):
    def chat(self, **fields):
        return self.server.post_json("/v1/chat/completions", fields)

    def test_a_picture_gets_its_caption(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        for texts in ((), ("Describe this picture.",)):
            answer = self.ok(
                self.chat(
                    model=self.server.get("/v1/models").json["data"][0]["id"],
                    messages=messages(*texts),
                )
            )
            (choice,) = answer["choices"]
            self.assertEqual(
                (choice["message"]["role"], choice["message"]["content"]),
                ("assistant", expected["caption"]),
            )
            self.assertEqual(
                (answer["object"], choice["finish_reason"]),
                ("chat.completion", "stop" if len(expected["token_ids"]) < 20 else "length"),
            )
            usage = answer["usage"]
            self.assertEqual(
                (usage["prompt_tokens"], usage["completion_tokens"]),
                (4, len(expected["token_ids"]) - 4),
            )

    def test_a_question_gets_its_answer(self):
        (expected,) = self.ok(
            self.server.post_json(
                "/v1/ask", {"image": data_url(scene()), "question": "what animal is this?"}
            )
        )["results"]
        answer = self.ok(self.chat(messages=messages("what animal is this?")))
        self.assertEqual(answer["choices"][0]["message"]["content"], expected["answer"])

    def test_a_question_about_an_earlier_picture(self):
        conversation = [
            *messages("what animal is this?"),
            {"role": "assistant", "content": "cat"},
            {"role": "user", "content": "is there a bus?"},
        ]
        (expected,) = self.ok(
            self.server.post_json(
                "/v1/ask", {"image": data_url(scene()), "question": "is there a bus?"}
            )
        )["results"]
        self.assertEqual(
            self.ok(self.chat(messages=conversation))["choices"][0]["message"]["content"],
            expected["answer"],
        )

    def test_options(self):
        answer = self.ok(self.chat(messages=messages(), n=3, max_tokens=3, temperature=0))
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2])
        self.assertEqual({choice["finish_reason"] for choice in answer["choices"]}, {"length"})
        first = self.ok(self.chat(messages=messages(), temperature=1.2, seed=5))["choices"][0][
            "message"
        ]["content"]
        self.assertEqual(
            self.ok(self.chat(messages=messages(), temperature=1.2, seed=5))["choices"][0][
                "message"
            ]["content"],
            first,
        )
        self.ok(
            self.chat(
                messages=messages(),
                frequency_penalty=0,
                user="someone",
                response_format={"type": "text"},
            )
        )

    def test_streams(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png", "--beams", 1)
        reply = self.chat(
            messages=messages("Describe it"), stream=True, stream_options={"include_usage": True}
        )
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "text/event-stream"))
        self.assertEqual(reply.events[-1], ("", "[DONE]"))
        chunks = [json.loads(data) for _, data in reply.events[:-1]]
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        text = "".join(
            chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]
        )
        self.assertEqual(text, expected["caption"])
        self.assertGreater(len(chunks), 4)
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], len(expected["token_ids"]) - 4)
        answer = self.chat(messages=messages("what animal is this?"), stream=True)
        text = "".join(
            json.loads(data)["choices"][0]["delta"].get("content", "")
            for _, data in answer.events[:-1]
        )
        (expected,) = self.ok(
            self.server.post_json(
                "/v1/ask",
                {"image": data_url(scene()), "question": "what animal is this?", "beams": 1},
            )
        )["results"]
        self.assertEqual(text, expected["answer"])

    def test_mistakes_carry_an_error_object(self):
        for fields, words in (
            ({"messages": [{"role": "user", "content": "hello"}]}, "no picture"),
            ({}, "messages"),
            ({"messages": []}, "messages"),
            (
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {
                                    "type": "image_url",
                                    "image_url": {"url": "https://example.org/a.png"},
                                }
                            ],
                        }
                    ]
                },
                "data URL",
            ),
            ({"messages": messages(), "n": 100}, '"n"'),
            ({"messages": messages(), "seed": 0.5}, '"seed" must be a whole'),
            ({"messages": messages(), "stream": "yes"}, '"stream"'),
            ({"messages": [{"role": "robot", "content": ""}]}, "role"),
            ({"messages": [3]}, "role"),
        ):
            problem = self.problem(self.chat(**fields), 400, "invalid_request", words)
            self.assertEqual(
                problem["error"],
                {
                    "message": problem["detail"],
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "invalid_request",
                },
            )

    def test_any_model_name_will_do_where_there_is_one(self):
        for name in ("gpt-4o-mini", "", None):
            self.assertEqual(
                self.ok(self.chat(messages=messages(), model=name))["model"],
                self.server.get("/v1/models").json["data"][0]["id"],
            )

    def test_max_tokens_is_a_ceiling(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        for fields in (
            {"max_tokens": 300},
            {"max_completion_tokens": 300},
            {"max_tokens": 10**9},
            {"max_tokens": 1, "max_completion_tokens": 100},
            {"max_tokens": None},
        ):
            (choice,) = self.ok(self.chat(messages=messages(), **fields))["choices"]
            self.assertEqual(
                (choice["message"]["content"], choice["finish_reason"]),
                (expected["caption"], "stop"),
                fields,
            )
        (choice,) = self.ok(self.chat(messages=messages(), max_tokens=3))["choices"]
        self.assertEqual(
            (choice["message"]["content"], choice["finish_reason"]),
            (" ".join(expected["caption"].split()[:3]), "length"),
        )

    def test_what_clients_send_by_default_is_accepted(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        answer = self.ok(
            self.chat(
                messages=messages(),
                frequency_penalty=0,
                presence_penalty=0.0,
                logit_bias={},
                logprobs=False,
                top_logprobs=None,
                tools=[],
                tool_choice="auto",
                response_format={"type": "text"},
                modalities=["text"],
                user="someone",
                metadata={},
                store=False,
                service_tier="auto",
                parallel_tool_calls=True,
                top_p=1,
                temperature=0,
                seed=-3,
                stop=None,
                n=1,
                stream=False,
                stream_options=None,
            )
        )
        self.assertEqual(answer["choices"][0]["message"]["content"], expected["caption"])
        detailed = [
            {"role": "developer", "content": "Be brief."},
            {"role": "tool", "content": "4", "tool_call_id": "x"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data_url(scene()), "detail": "low"}}
                ],
            },
        ]
        self.assertEqual(
            self.ok(self.chat(messages=detailed))["choices"][0]["message"]["content"],
            expected["caption"],
        )

    def test_what_would_change_the_answer_is_refused_by_name(self):
        for field, value in (
            ("frequency_penalty", 0.5),
            ("presence_penalty", -1),
            ("logit_bias", {"50": 1}),
            ("logprobs", True),
            ("top_logprobs", 3),
            ("tools", [{"type": "function"}]),
            ("tool_choice", "required"),
            ("response_format", {"type": "json_object"}),
            ("response_format", "text"),
            ("modalities", ["audio"]),
            ("audio", {"voice": "alloy"}),
            ("repetition_penalty", 1.2),
            ("use_beam_search", True),
        ):
            self.problem(
                self.chat(messages=messages(), **{field: value}),
                400,
                "invalid_request",
                f'"{field}"',
            )
        two = [{"type": "image_url", "image_url": {"url": data_url(scene())}}] * 2
        self.problem(
            self.chat(messages=[{"role": "user", "content": two}]),
            400,
            "invalid_request",
            "several pictures in one message",
        )

    def test_stop_ends_the_text_before_it(self):
        for stop, expected in (
            ("bus", "a cat to the left of a "),
            ([" on", "bus"], "a cat to the left of a "),
            (["left of", "zebra"], "a cat to the "),
        ):
            (choice,) = self.ok(self.chat(messages=messages(), stop=stop))["choices"]
            self.assertEqual(
                (choice["message"]["content"], choice["finish_reason"]), (expected, "stop")
            )
            reply = self.chat(messages=messages(), stop=stop, stream=True)
            chunks = [json.loads(data) for _, data in reply.events[:-1]]
            self.assertEqual(
                "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks),
                expected,
            )
        for stop in ("", [3], ["a"] * 5):
            self.problem(
                self.chat(messages=messages(), stop=stop), 400, "invalid_request", '"stop"'
            )


if __name__ == "__main__":
    unittest.main()
