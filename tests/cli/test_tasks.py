"""caption, match, ask and embed on the bundled scenes: texts, JSON, columns, decoding options."""

import math
import unittest

from harness import CliTest, read_npy, run, scene_path, scenes

# The bundled model errs now and then; a broken engine names nothing right.
NEEDED_SHARE = 0.75


def kinds_named(scene, caption):
    return all(thing["kind"] in caption for thing in scene["things"])


class Caption(CliTest):
    def test_names_the_kinds_of_the_bundled_scenes(self):
        all_scenes = scenes()
        objects = self.ok("caption", *map(scene_path, all_scenes), "--json").objects
        self.assertEqual([o["image"] for o in objects], [scene_path(s) for s in all_scenes])
        named = sum(kinds_named(s, o["caption"]) for s, o in zip(all_scenes, objects))
        self.assertGreaterEqual(
            named, NEEDED_SHARE * len(all_scenes), [o["caption"] for o in objects]
        )

    def test_json_has_the_documented_keys_in_order(self):
        result = self.ok("caption", scene_path(scenes()[0]), "--json")
        (caption,) = result.objects
        self.assertEqual(list(caption), ["image", "caption", "token_ids", "score", "timings_ms"])
        self.assertEqual(list(caption["timings_ms"]), ["preprocess", "encode", "decode"])
        self.assertTrue(all(ms > 0 for ms in caption["timings_ms"].values()), caption)
        self.assertTrue(all(isinstance(i, int) for i in caption["token_ids"]))
        self.assertLess(caption["score"], 0)
        self.assertFalse(caption["caption"].startswith("a picture of"))
        self.assertIn("1 picture in", result.err)

    def test_text_is_the_caption_alone_for_one_picture_and_follows_the_path_for_several(self):
        first, second = map(scene_path, scenes()[:2])
        captions = [o["caption"] for o in self.ok("caption", first, second, "--json").objects]
        self.assertEqual(self.ok("caption", first).out, captions[0] + "\n")
        self.assertEqual(
            self.ok("caption", first, second).lines,
            [f"{first}\t{captions[0]}", f"{second}\t{captions[1]}"],
        )

    def test_batches_change_nothing(self):
        paths = list(map(scene_path, scenes()))
        texts = [
            [
                (o["image"], o["caption"], o["token_ids"])
                for o in self.ok("caption", *paths, "--json", "--batch", n).objects
            ]
            for n in (1, 3, 64)
        ]
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])

    def test_several_captions_come_best_first(self):
        path = scene_path(scenes()[1])
        (caption,) = self.ok("caption", path, "--json", "--beams", 4, "--num-captions", 4).objects
        texts = caption["captions"]
        self.assertEqual(len({t["caption"] for t in texts}), 4)
        self.assertEqual(
            texts[0],
            {
                "caption": caption["caption"],
                "score": caption["score"],
                "token_ids": caption["token_ids"],
            },
        )
        scores = [t["score"] for t in texts]
        self.assertEqual(scores, sorted(scores, reverse=True))
        lines = self.ok("caption", path, "--beams", 4, "--num-captions", 4).lines
        self.assertEqual(lines, [t["caption"] for t in texts])

    def test_more_captions_than_the_default_beams_raise_the_beams(self):
        (caption,) = self.ok(
            "caption", scene_path(scenes()[0]), "--json", "--num-captions", 5
        ).objects
        self.assertEqual(len(caption["captions"]), 5)

    def test_length_counts_the_prompt(self):
        path = scene_path(scenes()[1])
        (short,) = self.ok("caption", path, "--json", "--max-length", 8).objects
        (full,) = self.ok("caption", path, "--json").objects
        self.assertLessEqual(len(short["token_ids"]), 8)
        self.assertGreater(len(full["token_ids"]), 8)
        prompt = full["token_ids"][:4]  # [DEC] a picture of
        self.assertEqual(short["token_ids"][:4], prompt)
        (bare,) = self.ok("caption", path, "--json", "--prompt", "").objects
        self.assertEqual(bare["token_ids"][0], prompt[0])
        self.assertNotEqual(bare["token_ids"][1:4], prompt[1:4])

    def test_words(self):
        path = scene_path(scenes()[1])
        (free,) = self.ok("caption", path, "--json").objects
        words = free["caption"].split()
        first, last = words[1], words[-1]
        for decoding in (["--beams", 1], ["--beams", 4], ["--sample", "--seed", 3]):
            with self.subTest(decoding):
                flags = ["caption", path, *decoding, "--forbid-words"]
                caption = self.ok(*flags, f"{first.upper()}|{last}").out
                self.assertFalse({first, last} & set(caption.split()), caption)
                self.assertEqual(caption, self.ok(*flags, first, "--forbid-words", last).out)
                (one,) = self.ok(
                    "caption", path, *decoding, "--json", "--no-repeat-ngram", 1, "--prompt", ""
                ).objects
                self.assertEqual(len(set(one["token_ids"])), len(one["token_ids"]))
        forced = self.ok(
            "caption",
            path,
            "--force-words",
            "fox|two cats",
            "--force-words",
            "green|red",
            "--num-captions",
            2,
        ).lines
        for caption in forced:
            self.assertTrue("two cats" in caption or "fox" in caption.split(), caption)
            self.assertTrue({"green", "red"} & set(caption.split()), caption)
        odd = self.ok("caption", path, path, "--batch", 1, "--forbid-words", "\N{SNOWMAN}")
        self.assertEqual([line.split("\t")[1] for line in odd.lines], [free["caption"]] * 2)
        self.assertEqual(odd.err.count("is left out: the vocabulary cannot spell it"), 1, odd.err)
        # A word that is none is a mistake of the command line, one that no caption has the
        # picture's failure.
        self.fails(
            2, "the vocabulary cannot spell it", "caption", path, "--force-words", "\N{SNOWMAN}"
        )
        none = run("caption", path, path, "--force-words", "fox", "--forbid-words", "fox", "--json")
        self.assertEqual(
            [
                ("no text of up to 20 tokens was found that has them" in o["error"])
                for o in none.objects
            ],
            [True] * 2,
        )

    def test_greedy_is_repeatable(self):
        path = scene_path(scenes()[0])
        texts = {self.ok("caption", path, "--beams", 1, "--threads", n).out for n in (1, 1, 2)}
        self.assertEqual(len(texts), 1)

    def test_sampling_follows_the_seed(self):
        path = scene_path(scenes()[-1])

        def sample(seed):
            return self.ok(
                "caption", path, "--sample", "--temperature", 2, "--top-p", 1, "--seed", seed, "-q"
            ).out

        self.assertEqual(sample(7), sample(7))
        self.assertGreater(len({sample(seed) for seed in range(6)}), 1)

    def test_quiet_says_nothing_on_standard_error(self):
        self.assertEqual(self.ok("caption", scene_path(scenes()[0]), "--quiet").err, "")


class Match(CliTest):
    def test_true_texts_beat_false_ones(self):
        right = 0
        for scene in scenes():
            statement = scene["statement"]
            objects = self.ok(
                "match",
                scene_path(scene),
                "--text",
                statement["true"],
                "--text",
                statement["false"],
                "--json",
            ).objects
            self.assertEqual(
                [list(o) for o in objects], [["image", "text", "match_probability", "cosine"]] * 2
            )
            self.assertEqual([o["text"] for o in objects], [statement["true"], statement["false"]])
            for o in objects:
                self.assertTrue(0 <= o["match_probability"] <= 1 and -1 <= o["cosine"] <= 1, o)
            right += objects[0]["match_probability"] > 0.5 > objects[1]["match_probability"]
        self.assertGreaterEqual(right, NEEDED_SHARE * len(scenes()))

    def test_texts_from_a_file(self):
        path = scene_path(scenes()[0])
        texts = self.write("texts.txt", b"\xef\xbb\xbfa clock\r\n\r\n  \ntwo dogs")
        lines = self.ok("match", path, "--text", "a zebra", "--texts", texts).lines
        self.assertEqual(
            [line.split("\t")[2] for line in lines], ["a zebra", "a clock", "two dogs"]
        )
        probabilities = [float(line.split("\t")[0]) for line in lines]
        self.assertTrue(all(0 <= p <= 1 for p in probabilities))

    def test_several_pictures_have_their_path_first(self):
        paths = list(map(scene_path, scenes()[:2]))
        lines = self.ok("match", *paths, "--text", "a clock", "--text", "a cat").lines
        self.assertEqual(
            [line.split("\t")[0] for line in lines], [paths[0], paths[0], paths[1], paths[1]]
        )


class Ask(CliTest):
    def test_answers_the_bundled_questions(self):
        right = total = 0
        for scene in scenes():
            questions = [q["question"] for q in scene["questions"]]
            flags = [f for q in questions for f in ("--question", q)]
            objects = self.ok("ask", scene_path(scene), *flags, "--json").objects
            self.assertEqual(
                [list(o) for o in objects],
                [["image", "question", "answer", "token_ids", "score"]] * len(questions),
            )
            self.assertEqual([o["question"] for o in objects], questions)
            right += sum(o["answer"] == q["answer"] for o, q in zip(objects, scene["questions"]))
            total += len(questions)
        self.assertGreaterEqual(right, NEEDED_SHARE * total)

    def test_columns(self):
        first, second = scenes()[:2]
        question = first["questions"][0]["question"]
        alone = self.ok("ask", scene_path(first), "--question", question).lines
        self.assertEqual(len(alone), 1)
        both = self.ok(
            "ask", scene_path(first), "--question", question, "--question", "what is there?"
        ).lines
        self.assertEqual(both[0], f"{question}\t{alone[0]}")
        pictures = self.ok(
            "ask", scene_path(first), scene_path(second), "--question", question
        ).lines
        self.assertEqual(pictures[0], f"{scene_path(first)}\t{alone[0]}")

    def test_ranks_a_list_of_answers(self):
        scene = scenes()[0]
        answers = ["zebra", "yes", "no", "gray"]
        file = self.write("answers.txt", "\n".join(answers))
        question = scene["questions"][0]
        (o,) = self.ok(
            "ask",
            scene_path(scene),
            "--question",
            question["question"],
            "--answers",
            file,
            "--json",
        ).objects
        self.assertEqual(sorted(a["answer"] for a in o["answers"]), sorted(answers))
        scores = [a["score"] for a in o["answers"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(o["answer"], o["answers"][0]["answer"])
        self.assertEqual(o["answer"], question["answer"])
        few = self.ok(
            "ask",
            scene_path(scene),
            "--question",
            question["question"],
            "--answers",
            file,
            "--rank-candidates",
            2,
            "--json",
        )
        self.assertEqual(len(few.objects[0]["answers"]), 2)

    def test_several_answers(self):
        scene = scenes()[0]
        (o,) = self.ok(
            "ask",
            scene_path(scene),
            "--question",
            scene["questions"][0]["question"],
            "--num-answers",
            3,
            "--json",
        ).objects
        self.assertEqual(len(o["answers"]), 3)
        self.assertEqual(o["answers"][0]["answer"], o["answer"])
        question = ("ask", scene_path(scene), "--question", scene["questions"][0]["question"])
        self.assertEqual(
            self.ok(*question, "--num-answers", 3).lines, [a["answer"] for a in o["answers"]]
        )
        answers = self.write("answers.txt", "yes\nno\nbus\n")
        (ranked,) = self.ok(*question, "--answers", answers, "--num-answers", 2, "--json").objects
        self.assertEqual(len(ranked["answers"]), 2)
        self.assertEqual(
            self.ok(*question, "--answers", answers, "--num-answers", 2).lines,
            [a["answer"] for a in ranked["answers"]],
        )
        self.assertEqual(self.ok(*question, "--answers", answers).lines, [ranked["answer"]])


class Embed(CliTest):
    def test_vectors_have_length_one_and_give_the_cosine_of_match(self):
        path, text = scene_path(scenes()[0]), "a clock on a gray background"
        image, words = self.ok("embed", path, "--text", text).objects
        self.assertEqual(
            [list(image), list(words)], [["image", "embedding"], ["text", "embedding"]]
        )
        for vector in (image["embedding"], words["embedding"]):
            self.assertAlmostEqual(math.sqrt(sum(v * v for v in vector)), 1, places=4)
        (match,) = self.ok("match", path, "--text", text, "--json").objects
        self.assertAlmostEqual(
            sum(a * b for a, b in zip(image["embedding"], words["embedding"])),
            match["cosine"],
            places=4,
        )

    def test_npy_has_a_row_for_each_good_input(self):
        paths = list(map(scene_path, scenes()[:3]))
        output = self.folder / "vectors.npy"
        rows = self.ok("embed", *paths, "--text", "a cat", "--output", output, "--json").objects
        self.assertEqual(
            rows,
            [{"image": p, "row": i} for i, p in enumerate(paths)] + [{"text": "a cat", "row": 3}],
        )
        shape, values = read_npy(output)
        vectors = [o["embedding"] for o in self.ok("embed", *paths, "--text", "a cat").objects]
        self.assertEqual(shape, (4, len(vectors[0])))
        for value, expected in zip(values, (v for vector in vectors for v in vector)):
            self.assertAlmostEqual(value, expected, places=5)

    def test_features_of_tokens(self):
        path, file = scene_path(scenes()[0]), str(self.folder / "tokens.npy")
        (vector,) = self.ok("embed", path).objects
        (tokens,) = self.ok("embed", path, "--kind", "image-projected").objects
        self.assertEqual([len(row) for row in tokens["features"]], [128] * 65)
        for a, b in zip(tokens["features"][0], vector["embedding"]):
            self.assertAlmostEqual(a, b, places=5)
        texts = ("--text", "a cat", "--text", "a red bus")
        rows = self.ok("embed", path, *texts, "--kind", "multimodal").objects
        self.assertEqual(
            [(o["image"], o["text"], len(o["features"])) for o in rows],
            [(path, "a cat", 4), (path, "a red bus", 5)],
        )
        alone = self.ok("embed", *texts, "--kind", "text").objects
        self.assertEqual(
            [(list(o), len(o["features"]), len(o["features"][0])) for o in alone],
            [(["text", "features"], n, 192) for n in (4, 5)],
        )
        self.assertNotEqual(alone[0]["features"], rows[0]["features"])
        said = self.ok("embed", *texts, "--kind", "text", "--output", file, "--json").objects
        self.assertEqual(
            said,
            [{"text": "a cat", "row": 0, "rows": 4}, {"text": "a red bus", "row": 4, "rows": 5}],
        )
        shape, values = read_npy(file)
        self.assertEqual(tuple(shape), (9, 192))
        self.assertAlmostEqual(values[4 * 192 + 7], alone[1]["features"][0][7], places=6)
        for arguments, message in (
            (("--kind", "image"), "needs a picture"),
            ((path, "--kind", "multimodal"), "needs a text"),
            ((path, "--kind", "image", "--text", "a"), "--text has no effect with --kind image"),
            ((path, "--kind", "text", "--text", "a"), "IMAGE has no effect with --kind text"),
        ):
            with self.subTest(arguments=arguments):
                self.fails(2, message, "embed", *arguments)

    def test_nothing_to_embed_is_a_usage_error(self):
        self.fails(2, "needs a picture or a text", "embed")


if __name__ == "__main__":
    unittest.main()
