"""The protocol of the backends of SOPHON's BLIP sample: push a picture under an id, get results."""

import time
import unittest
import urllib.parse

from harness import SCENES, Server, ServerTest, b64, cli, in_parallel, picture, scene

NO_RESULT = "result is None,you should sent data first"  # the sample's words
FORM = "application/x-www-form-urlencoded"


class Protocol(ServerTest):
    next_id = 0

    def new_id(self):
        Protocol.next_id += 1
        return Protocol.next_id

    def push(self, task, name, *texts, image=None, server=None):
        """As the sample's pages do: requests.post(url, data=...) is a urlencoded form."""
        fields = [("id", name), *(("texts", text) for text in texts)]
        fields.append(("image", b64(scene()) if image is None else image))
        server = server or self.server
        return server.post(task + "/push_data", urllib.parse.urlencode(fields), FORM)

    def pushed(self, *arguments, **keywords):
        self.assertEqual(self.ok(self.push(*arguments, **keywords)), {"status": "success"})

    def poll(self, path, server=None):
        """As the pages do: again and again until there is one."""
        until = time.monotonic() + 60
        while True:
            reply = (server or self.server).get(path)
            if reply.status == 200 or time.monotonic() > until:
                return self.ok(reply)
            self.assertEqual((reply.status, reply.json), (400, {"error": NO_RESULT}))
            time.sleep(0.01)

    def result(self, task, name, server=None):
        return self.poll(f"{task}/get_result?id={name}", server)

    def refused(self, reply, status, words):
        self.assertEqual((reply.status, list(reply.json)), (status, ["error"]), reply.body)
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        self.assertIn(words, reply.json["error"])


class SophonDemo(Protocol):
    def test_caption_once(self):
        (expected,) = cli("caption", SCENES / "cat-bus.png")
        self.pushed("/caption", 1700000000017)
        result = self.result("/caption", 1700000000017)
        self.assertEqual(result, {"id": 1700000000017, "texts": [expected["caption"]]})
        self.refused(self.server.get("/caption/get_result?id=1700000000017"), 400, NO_RESULT)
        self.refused(self.server.get("/caption/get_result"), 400, NO_RESULT)

    def test_similarity_is_a_whole_float_as_text(self):
        texts = ["a cat and a bus", "a clock", "a bus"]
        matches = self.ok(
            self.server.post_json(
                "/v1/match", {"image": b64(scene()), "texts": texts, "head": "itm"}
            )
        )["results"][0]["matches"]
        name = self.new_id()
        self.pushed("/match", name, *texts)
        result = self.result("/match", name)
        self.assertEqual(list(result), ["id", "question", "similarity"])
        self.assertEqual((result["id"], result["question"]), (name, texts))
        self.assertEqual([type(value) for value in result["similarity"]], [str] * 3)
        self.assertEqual(
            [float(value) for value in result["similarity"]],
            [match["match_probability"] for match in matches],
        )
        for value in result["similarity"]:
            self.assertRegex(value, r"^\d(\.\d+(e-\d\d)?|e-\d\d)$")

    def test_other_forms_of_a_list(self):
        for form in (
            [("texts", '["a cat", "a clock"]')],
            [("texts[]", "a cat"), ("texts[]", "a clock")],
            [("question", "a cat"), ("question", "a clock")],
        ):
            name = self.new_id()
            body = urllib.parse.urlencode([("id", name), ("image", b64(scene())), *form])
            self.ok(self.server.post("/match/push_data", body, FORM))
            self.assertEqual(self.result("/match", name)["question"], ["a cat", "a clock"])

    def test_ask(self):
        questions = ["what animal is this?", "is there a bus?"]
        body = {"image": b64(scene()), "questions": questions}
        answers = [r["answer"] for r in self.ok(self.server.post_json("/v1/ask", body))["results"]]
        name = self.new_id()
        self.pushed("/ask", name, *questions)
        expected = {"id": name, "question": questions, "texts": answers}
        self.assertEqual(self.result("/ask", name), expected)

    def test_texts_are_cut_at_35_tokens(self):
        """[CLS] and [SEP] are two of them; nothing behind counts, however much there is."""
        words = ["cat", "bus", "clock"] * 11
        name, other, huge, long = (self.new_id() for _ in range(4))
        self.pushed("/match", name, " ".join(words), " ".join(words[:-1]))
        whole, shorter = self.result("/match", name)["similarity"]
        self.assertNotEqual(whole, shorter)
        self.pushed("/match", other, " ".join(words + ["dog"] * 3), " ".join(words * 100))
        self.assertEqual(self.result("/match", other)["similarity"], [whole, whole])
        self.pushed("/match", huge, " ".join(words) + " 猫 dog" * 500_000)
        result = self.result("/match", huge)
        self.assertEqual(result["similarity"], [whole])
        self.assertLessEqual(len(result["question"][0].encode()), 16384)  # nor kept
        self.pushed("/ask", long, "is there a bus? " + "x" * 3000)
        self.assertEqual(len(self.result("/ask", long)["texts"]), 1)

    def test_each_id_gets_its_own_result(self):
        names = ["cat-bus.png", "clock.png", "balloons.png", "fox-crown.png"]
        expected = {
            c["image"].rsplit("/", 1)[1]: c["caption"]
            for c in cli("caption", *(SCENES / name for name in names))
        }
        base = 9_000_000

        def push(i):
            self.pushed("/caption", base + i, image=b64(scene(names[i % 4])))

        self.assertEqual(in_parallel(16, push), [None] * 16)
        for i in reversed(range(16)):
            self.assertEqual(
                self.result("/caption", base + i),
                {"id": base + i, "texts": [expected[names[i % 4]]]},
            )

    def test_tasks_do_not_share_ids(self):
        name = self.new_id()
        self.pushed("/caption", name)
        self.pushed("/ask", name, "is there a bus?")
        self.assertEqual(list(self.result("/caption", name)), ["id", "texts"])
        self.assertEqual(list(self.result("/ask", name)), ["id", "question", "texts"])

    def test_numbers(self):
        """What Python's int() reads."""
        for sent, name in (
            ("007", 7),
            (" +1_0_8\n", 108),
            ("-5", -5),
            ("-0", 0),
            ("123456789012345678901234567890", 123456789012345678901234567890),
        ):
            with self.subTest(sent):
                self.pushed("/caption", sent)
                self.assertEqual(self.result("/caption", name)["id"], name)
                self.refused(
                    self.push("/caption", name), 500, f"ID {name} already exists in the queue."
                )
        self.ok(self.server.post_json("/caption/push_data", {"id": 70, "image": b64(scene())}))
        self.assertEqual(self.result("/caption", 70)["id"], 70)
        for name in (1.5, [1], True, {}):
            body = {"id": name, "image": b64(scene())}
            self.refused(
                self.server.post_json("/caption/push_data", body), 500, 'field "id": must be one'
            )

    def test_ids_that_are_none(self):
        for name in (
            "abc",
            "1.5",
            "1e3",
            "0x10",
            "1__0",
            "_1",
            "--1",
            "1 2",
            "１２",
            "9" * 5000,
            "猫",
        ):
            with self.subTest(name[:10]):
                self.refused(self.push("/caption", name), 500, 'field "id"')
        for name in ("", None):
            body = [("image", b64(scene()))] + ([] if name is None else [("id", name)])
            reply = self.server.post("/caption/push_data", urllib.parse.urlencode(body), FORM)
            self.refused(reply, 500, 'field "id" is missing')
        self.refused(self.server.get("/caption/get_result?id=abc"), 400, "must be a whole number")
        self.refused(self.server.get("/caption/get_result?id=404"), 400, NO_RESULT)

    def test_the_query_does_not_matter(self):
        body = urllib.parse.urlencode([("id", self.new_id()), ("image", b64(scene()))])
        name = self.next_id
        reply = self.server.post("/caption/push_data?id=x&beams=0&what=ever", body, FORM)
        self.assertEqual(self.ok(reply), {"status": "success"})
        path = f"/caption/get_result?what=ever&id={name}&id=x&model=none"
        self.assertEqual(self.poll(path)["id"], name)

    def test_files_and_data_urls_do_as_well(self):
        names = self.new_id(), self.new_id()
        form = [("id", names[0]), ("image", scene())]
        self.ok(self.server.post_form("/caption/push_data", form))
        self.pushed("/caption", names[1], image="data:image/png;base64," + b64(scene()))
        texts = [self.result("/caption", name)["texts"] for name in names]
        self.assertEqual(texts[0], texts[1])

    def test_mistakes(self):
        name = self.new_id()
        self.refused(self.push("/caption", name, image=""), 500, "the file is empty")
        self.refused(self.push("/caption", name, image="no base64!"), 500, "base64")
        self.refused(self.push("/match", name, image=b64(picture(1))), 500, '"texts" is missing')
        self.refused(self.push("/match", name, ""), 500, "empty text")
        bad = self.push("/caption", name, image=b64(b"no picture"))
        self.refused(bad, 500, "picture 0: ")
        reply = self.server.post("/caption/push_data", "{", "application/json")
        self.refused(reply, 500, "JSON")
        self.refused(self.server.get("/caption/push_data"), 405, "POST")
        self.pushed("/caption", name)  # what was refused has not used the id up
        self.assertEqual(self.result("/caption", name)["id"], name)
        self.problem(self.push("", name), 404, "not_found", "push_data")  # no --sophon-demo


class AtTheRoot(Protocol):
    arguments = ("--sophon-demo", "match")

    def test_the_next_result_is_the_one_pushed_first(self):
        for name in (31, 5, 17):
            self.pushed("", name, f"a picture of {name}")
        self.assertEqual([self.poll("/get_result")["id"] for _ in range(3)], [31, 5, 17])
        self.refused(self.server.get("/get_result"), 400, NO_RESULT)
        self.pushed("", 6, "a cat")
        self.pushed("", 4, "a cat")
        self.assertEqual(self.result("", 4)["id"], 4)
        self.assertEqual(self.poll("/get_result?id=")["id"], 6)

    def test_head_takes_nothing(self):
        self.pushed("", 201, "a cat")
        for path in ("/get_result", "/get_result?id=201", "/match/get_result?id=201"):
            reply = self.server.request("HEAD", path)
            self.assertEqual((reply.status, reply.body), (200, b""))
        whole = self.server.get("/get_result")
        self.assertEqual((whole.status, whole.json["id"]), (200, 201))
        self.assertEqual(reply.headers["Content-Length"], str(len(whole.body)))
        self.assertEqual(self.server.request("HEAD", "/get_result?id=201").status, 400)

    def test_an_address_with_a_slash_at_its_end(self):
        self.pushed("/", 77, "a cat")
        self.assertEqual(self.poll("//get_result?id=77")["id"], 77)

    def test_the_other_paths_are_there_too(self):
        self.pushed("", 91, "a cat")
        self.assertEqual(self.result("/match", 91)["id"], 91)
        self.refused(self.push("/match", 91, "a cat"), 500, "ID 91 already exists in the queue.")
        self.pushed("/caption", 91)
        self.assertEqual(self.result("/caption", 91)["id"], 91)
        self.assertEqual(self.server.get("/").status, 200)


class Other(Protocol):
    def test_a_model_that_cannot(self):
        with self.assertRaisesRegex(RuntimeError, "none of {caption,match,ask}"):
            Server("--sophon-demo", "draw")

    def test_a_server_that_is_full(self):
        server = Server("--sophon-demo", "caption", "--queue", 1, "--batch", 1)
        self.addCleanup(server.stop)
        replies = in_parallel(24, lambda i: self.push("", i, image=b64(picture(i)), server=server))
        taken = [i for i, reply in enumerate(replies) if reply.status == 200]
        for i, reply in enumerate(replies):
            if i not in taken:
                self.refused(reply, 429, "")
                self.assertIn("Retry-After", reply.headers)
        for i in taken:
            self.assertEqual(self.result("", i, server)["id"], i)
        again = next((i for i in range(24) if i not in taken), None)
        if again is not None:  # its id was not used up
            self.pushed("", again, server=server)


if __name__ == "__main__":
    unittest.main()
