"""LoRA adapters: given besides, in a model's place or beside a model; in every command; what is
wrong with one is said by name.
"""

import json
import re
import shutil
import subprocess
import unittest
import urllib.request

from harness import PROGRAM, SOURCE, CliTest, scene_path, scenes

PICTURE = scene_path(scenes()[0])
PARITY = SOURCE / "tests" / "data" / "parity"
BASE, ADAPTER = PARITY / "caption", PARITY / "adapter-attention"


class Adapters(CliTest):
    def adapter(self, name="my-lora", remove=(), source=ADAPTER, **settings):
        """A copy of an adapter with other settings."""
        copy = self.folder / name
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(source / file, copy)
        config = {**json.loads((copy / "adapter_config.json").read_text()), **settings}
        (copy / "adapter_config.json").write_text(
            json.dumps({k: v for k, v in config.items() if k not in remove})
        )
        return copy

    def caption(self, *arguments, **more):
        return self.ok(
            "caption", PICTURE, "--prompt", "two people", "--json", "-q", *arguments, **more
        ).objects[0]

    def score(self, *arguments, **more):
        return self.caption(*arguments, **more)["score"]

    def test_given_besides_in_the_models_place_and_beside_it(self):
        plain, merged = self.score("--model", BASE), self.score(
            "--model", BASE, "--adapter", ADAPTER
        )
        self.assertNotEqual(plain, merged)
        own = self.adapter(base_model_name_or_path=str(BASE))
        for arguments in (
            ("--model", own),
            ("--adapter", own),
            ("--model", own / "adapter_model.safetensors"),
            ("--model", own, "--adapter", own),
        ):
            self.assertEqual(self.score(*arguments, env={"BLIP_MODEL": ""}), merged, arguments)
        self.assertEqual(self.score("--adapter", own, env={"BLIP_MODEL": str(BASE)}), merged)
        both = self.folder / "both"
        shutil.copytree(BASE, both)
        for file in own.iterdir():
            shutil.copy(file, both)
        self.assertEqual(self.score("--model", both), merged)
        self.assertEqual(self.score("--model", both / "model.safetensors"), merged)

    def test_info_and_convert_tell_what_was_merged(self):
        target = self.folder / "merged.gguf"
        self.ok("convert", BASE, target, "--type", "f32", "--adapter", ADAPTER)
        self.assertEqual(
            self.score("--model", target), self.score("--model", BASE, "--adapter", ADAPTER)
        )
        for arguments in (("--model", BASE, "--adapter", ADAPTER), ("--model", target)):
            self.assertIn(
                "adapter     adapter-attention, merged\n", self.ok("info", *arguments).out
            )
            self.assertEqual(
                self.ok("info", *arguments, "--json").objects[0]["adapters"], ["adapter-attention"]
            )
        self.assertEqual(self.ok("info", "--model", BASE, "--json").objects[0]["adapters"], [])
        own = self.adapter(base_model_name_or_path=str(BASE))
        self.ok("convert", own, self.folder / "by-itself.gguf", "--type", "f32")
        self.assertEqual(
            self.score("--model", self.folder / "by-itself.gguf"), self.score("--model", target)
        )

    def test_several_add_up(self):
        several = PARITY / "adapter-several"
        one = self.score("--model", BASE, "--adapter", several)
        both = self.score("--model", BASE, "--adapter", several, "--adapter", several / "second")
        other = self.score("--adapter", several / "second", "--model", BASE, "--adapter", several)
        self.assertNotEqual(one, both)
        self.assertAlmostEqual(both, other, places=4)

    def test_one_counts_once_however_it_is_spelled(self):
        for again in (
            ADAPTER,
            f"{ADAPTER.parent}/./{ADAPTER.name}/",
            ADAPTER / "adapter_config.json",
        ):
            self.fails(
                2,
                f"the adapter {again} is given twice: it is that in {ADAPTER}",
                *("match", PICTURE, "--text", "a", "--model", BASE),
                *("--adapter", ADAPTER, "--adapter", again),
            )

    def test_every_command_takes_one(self):
        heads = ("--model", PARITY / "match", "--adapter", PARITY / "adapter-heads")
        answers = ("--model", PARITY / "vqa", "--adapter", PARITY / "adapter-linear")
        for arguments, model in (
            (("match", PICTURE, "--text", "a red car"), heads),
            (("embed", "--text", "a red car"), heads),
            (("ask", PICTURE, "--question", "what is this?"), answers),
        ):
            with self.subTest(command=arguments[0]):
                merged = self.ok(*arguments, *model, "--json", "-q").objects[0]
                plain = self.ok(*arguments, *model[:2], "--json", "-q").objects[0]
                for timing in ("total_ms", "preprocess_ms", "encode_ms", "decode_ms", "text_ms"):
                    merged.pop(timing, None), plain.pop(timing, None)
                self.assertNotEqual(merged, plain)
        for command in (
            "caption",
            "match",
            "ask",
            "embed",
            "info",
            "dump",
            "bench",
            "serve",
            "convert",
        ):
            self.assertIn("--adapter PATH", self.ok(command, "--help").out, command)

    def test_the_server_takes_one(self):
        server = subprocess.Popen(
            [
                PROGRAM,
                "serve",
                "--port",
                "0",
                "--no-history",
                "-q",
                "--model",
                str(BASE),
                "--adapter",
                str(ADAPTER),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            address = re.match(r"http://\S+/", server.stdout.readline()).group()
            with urllib.request.urlopen(address + "v1/models", timeout=60) as reply:
                self.assertEqual(
                    [model["adapters"] for model in json.load(reply)["data"]],
                    [["adapter-attention"]],
                )
        finally:
            server.terminate()
            server.wait(60)
            server.stdout.close()
        self.fails(
            2,
            "--adapter goes with one model",
            "serve",
            "--port",
            "0",
            "--model",
            BASE,
            "--model",
            "b=" + str(PARITY / "vqa"),
            "--adapter",
            ADAPTER,
        )

    def test_what_is_wrong_is_said_by_name(self):
        caption = ("caption", PICTURE)
        for message, settings in (
            ("use_dora is true", {"use_dora": True}),
            ('peft_type is "IA3"', {"peft_type": "IA3"}),
            ("frobnicate is 1", {"frobnicate": 1}),
            ('init_lora_weights is "pissa"', {"init_lora_weights": "pissa"}),
            ("r is 1000000", {"r": 1000000}),
            ("has rank 4; expected 3", {"r": 3}),
            ('base_model_name_or_path is "../../etc"', {"base_model_name_or_path": "../../etc"}),
            ("which target_modules", {"target_modules": ["value"]}),
        ):
            with self.subTest(message=message):
                wrong = self.adapter("wrong", **settings)
                for arguments in (("--model", BASE, "--adapter", wrong),):
                    self.assertIn(str(wrong), self.fails(3, message, *caption, *arguments).err)
        wrong = self.adapter("wrong")
        for text, message in (
            ('{"peft_type":"LORA","lora_alpha":NaN}', "not valid JSON"),
            ("[" * 100000, "nested deeper than"),
            ("", "not valid JSON"),
            ("{}", "peft_type is missing"),
        ):
            (wrong / "adapter_config.json").write_text(text)
            self.fails(3, message, *caption, "--model", BASE, "--adapter", wrong)
            self.fails(3, message, *caption, "--model", wrong)
        self.fails(
            3,
            "is this adapter for another model?",
            *caption,
            "--model",
            PARITY / "match",
            "--adapter",
            ADAPTER,
        )
        self.fails(
            3,
            "holds no adapter: there is no adapter_config.json",
            *caption,
            "--model",
            BASE,
            "--adapter",
            BASE,
        )
        self.fails(
            3,
            "the adapter /no/such is no folder here",
            *caption,
            "--model",
            BASE,
            "--adapter",
            "/no/such",
        )
        self.fails(2, "--adapter", *caption, "--model", BASE, "--adapter", "")
        self.fails(
            3,
            "is for /gone, which is no file or folder here",
            *caption,
            "--model",
            self.adapter("wrong", base_model_name_or_path="/gone"),
        )
        self.fails(
            3,
            "does not state its base model",
            *caption,
            "--model",
            self.adapter("wrong", remove=("base_model_name_or_path",)),
        )
        self.fails(
            3,
            "example/base",
            *caption,
            "--offline",
            "--model",
            ADAPTER,
            env={"HF_HUB_CACHE": str(self.folder / "cache")},
        )


if __name__ == "__main__":
    unittest.main()
