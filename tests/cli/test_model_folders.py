"""What the files of a model folder say is followed, refused by name or warned of; texts up to the
model's length.
"""

import json
import shutil
import unittest
from pathlib import Path

from harness import SOURCE, CliTest, scene_path, scenes

PICTURE = scene_path(scenes()[0])
PARITY = Path(SOURCE) / "tests" / "data" / "parity"


class Folders(CliTest):
    def model(self, name="caption", **changes):
        """A copy of a small model; changes: file name without ending -> what its object gets
        besides.
        """
        copy = self.folder / name
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(PARITY / name, copy)
        for stem, keys in changes.items():
            path = copy / (stem + ".json")
            stated = json.loads(path.read_text()) if path.exists() else {}
            for key, value in keys.items():
                part = stated
                *outer, last = key.split(".")
                for step in outer:
                    part = part[step]
                part[last] = value
            path.write_text(json.dumps(stated))
        return copy

    def caption(self, model, *arguments):
        return self.ok("caption", PICTURE, "--model", model, "--json", *arguments)

    def test_the_prompt_of_the_configuration_is_the_default(self):
        model = self.model(config={"prompt": "the dog "})
        (own,) = self.caption(model).objects
        (given,) = self.caption(model, "--prompt", "the dog ").objects
        (usual,) = self.caption(model, "--prompt", "a picture of ").objects
        self.assertEqual(own["token_ids"], given["token_ids"])
        self.assertNotEqual(own["token_ids"][:3], usual["token_ids"][:3])
        (information,) = self.ok("info", "--model", model, "--json").objects
        self.assertEqual(information["prompt"], "the dog ")
        gguf = str(model) + ".gguf"
        self.ok("convert", model, gguf)
        self.assertEqual(self.caption(gguf).objects[0]["token_ids"][:3], own["token_ids"][:3])

    def test_ids_of_the_configuration_begin_and_end_texts(self):
        (usual,) = self.caption(
            self.model(), "--prompt", "", "--beams", 1, "--min-length", 1
        ).objects
        (begun,) = self.caption(
            self.model(config={"text_config.bos_token_id": 203}), "--prompt", ""
        ).objects
        self.assertEqual(begun["token_ids"][0], 203)
        end = usual["token_ids"][2]
        (ended,) = self.caption(
            self.model(config={"text_config.sep_token_id": end}),
            "--prompt",
            "",
            "--beams",
            1,
            "--min-length",
            1,
        ).objects
        self.assertEqual(ended["token_ids"], usual["token_ids"][:3])

    def test_a_cased_tokenizer_is_followed_converted_or_not(self):
        prompt = ("--prompt", "The dog")
        (usual,) = self.caption(self.model(), *prompt).objects
        model = self.model(tokenizer_config={"do_lower_case": False})
        (cased,) = self.caption(model, *prompt).objects
        self.assertNotEqual(cased["token_ids"][1], usual["token_ids"][1])
        gguf = str(model) + ".gguf"
        self.ok("convert", model, gguf, "--type", "f32")
        self.assertEqual(
            self.caption(gguf, *prompt).objects[0]["token_ids"][:2], cased["token_ids"][:2]
        )

    def test_what_is_not_followed_is_warned_of_by_name(self):
        model = self.model(
            config={"text_config.num_beams": 5, "frobnicate": 1},
            generation_config={"max_length": 30},
        )
        result = self.caption(model)
        self.assertIn(
            "config.json: frobnicate is not known: not followed",
            self.ok("convert", model, str(model) + ".gguf").err,
        )
        for part in (
            "config.json: text_config.num_beams is 5: not followed; decoding is decided by the "
            "option beams",
            "config.json: frobnicate is not known: not followed",
            "generation_config.json: max_length is 30: not followed",
        ):
            self.assertIn(part, result.err)
        self.assertEqual(
            result.objects[0]["token_ids"], self.caption(self.model()).objects[0]["token_ids"]
        )

    def test_a_link_that_leads_nowhere_is_no_missing_file(self):
        for name in (
            "preprocessor_config.json",
            "generation_config.json",
            "tokenizer_config.json",
            "vocab.txt",
            "tokenizer.json",
            "added_tokens.json",
        ):
            with self.subTest(name=name):
                model = self.model()
                (model / name).unlink(missing_ok=True)
                (model / name).symlink_to("nowhere")
                self.fails(3, name, "caption", PICTURE, "--model", model)

    def test_what_cannot_be_followed_is_refused_by_name(self):
        for message, changes in (
            (
                "preprocessor_config.json: do_resize is false",
                {"preprocessor_config": {"do_resize": False}},
            ),
            (
                "text_config.typical_p is 0.5",
                {"config": {"text_config.typical_p": 0.5}},
            ),
            ("text_config.bos_token_id is 204", {"config": {"text_config.bos_token_id": 204}}),
            ("text_config.hidden_size is 999, but", {"config": {"text_config.hidden_size": 999}}),
            ("adapter_config.json: peft_type is missing", {"adapter_config": {"r": 8}}),
        ):
            with self.subTest(message=message):
                self.fails(3, message, "caption", PICTURE, "--model", self.model(**changes))

    def test_a_vocabulary_that_is_not_the_models_is_refused(self):
        model = self.model()
        lines = (model / "vocab.txt").read_text().splitlines(keepends=True)
        (model / "vocab.txt").write_text("".join(lines[:100]))
        self.fails(
            3,
            "vocab.txt has 100 tokens, but the word embeddings of the caption_decoder have 204 "
            "rows",
            "caption",
            PICTURE,
            "--model",
            model,
        )
        (model / "vocab.txt").write_text("")
        self.fails(3, "vocab.txt is empty", "caption", PICTURE, "--model", model)

    def test_lengths_are_the_models(self):
        self.fails(
            3,
            "--max-length 513 is not possible",
            "caption",
            PICTURE,
            "--max-length",
            513,
            "--model",
            PARITY / "caption",
        )
        (longest,) = self.caption(
            PARITY / "caption", "--min-length", 48, "--max-length", 48
        ).objects
        self.assertEqual(len(longest["token_ids"]), 48)
        text = "a red car " * 12
        match = ("match", PICTURE, "--model", PARITY / "match", "--json", "--text", text)
        cut, whole = self.ok(*match), self.ok(*match, "--max-text-length", 38)
        self.assertIn("text truncated to 35 tokens", cut.err)
        self.assertNotIn("truncated", whole.err)
        self.assertNotEqual(
            cut.objects[0]["match_probability"], whole.objects[0]["match_probability"]
        )
        self.fails(
            2, "--max-text-length 100000 is not possible", *match, "--max-text-length", 100000
        )
        self.fails(2, "--max-text-length", *match, "--max-text-length", 2)

    def test_a_text_without_a_token_is_empty(self):
        for text in ("\u200b", "\u0301", "\x01"):
            self.fails(
                1,
                "empty text: give at least one word",
                "match",
                PICTURE,
                "--model",
                PARITY / "match",
                "--text",
                text,
            )
            self.fails(
                1,
                "empty question: give at least one word",
                "ask",
                PICTURE,
                "--model",
                PARITY / "vqa",
                "--question",
                text,
            )


if __name__ == "__main__":
    unittest.main()
