"""Usage errors, models that cannot be had, outputs that end, signals: exit codes and messages."""

import json
import re
import signal
import subprocess
import unittest
from pathlib import Path

from harness import PROGRAM, SOURCE, TIMEOUT, CliTest, lone_program, png, run, scene_path, scenes

PICTURE = scene_path(scenes()[0])


class Usage(CliTest):
    def test_nothing_runs_on_a_wrong_command_line(self):
        for message, *arguments in (
            ("a command is needed",),
            ('no command "bogus"', "bogus"),
            ("images is required", "caption"),
            ("--bogus", "caption", PICTURE, "--bogus"),
            ("--threads", "caption", PICTURE, "--threads", "0"),
            ("--threads", "caption", PICTURE, "--threads", "10000"),
            ("--threads", "caption", PICTURE, "--threads", "-1"),
            ("--threads", "caption", PICTURE, "--threads", "99999999999999999999"),
            ("--batch", "caption", PICTURE, "--batch", "0"),
            ("--batch", "caption", PICTURE, "--batch", "100000"),
            ("--beams", "caption", PICTURE, "--beams", "0"),
            ("--beams", "caption", PICTURE, "--beams", "65"),
            ("--beams", "caption", PICTURE, "--beams", "2.5"),
            ("--temperature", "caption", PICTURE, "--sample", "--temperature", "nan"),
            ("--temperature", "caption", PICTURE, "--sample", "--temperature", "0"),
            ("--top-p", "caption", PICTURE, "--sample", "--top-p", "1.5"),
            ("--seed", "caption", PICTURE, "--sample", "--seed", "-1"),
            ("--max-pixels", "caption", PICTURE, "--max-pixels", "many"),
            (
                "--min-length 30 is larger than --max-length 20",
                "caption",
                PICTURE,
                "--min-length",
                "30",
                "--max-length",
                "20",
            ),
            ("--length-penalty", "caption", PICTURE, "--length-penalty", "50"),
            (
                "4 texts cannot come from --beams 2",
                "caption",
                PICTURE,
                "--beams",
                "2",
                "--num-captions",
                "4",
            ),
            ("--dtype", "caption", PICTURE, "--dtype", "f64"),
            ("--model", "caption", PICTURE, "--model", ""),
            ("--text TEXT or --texts FILE", "match", PICTURE),
            ("must not be empty", "match", PICTURE, "--text", ""),
            (
                "both is none of {all,itm,itc}",
                "match",
                PICTURE,
                "--text",
                "a cat",
                "--head",
                "both",
            ),
            ("must not be empty", "match", PICTURE, "--text", "a cat", "--text", " \t"),
            ("must not be empty", "ask", PICTURE, "--question", ""),
            ("No such file", "match", PICTURE, "--texts", "/nonexistent/texts"),
            ("no line of text", "match", PICTURE, "--texts", "/dev/null"),
            ("--question", "ask", "-"),
            ("--stage", "dump", "--stage", "soul", "--image", PICTURE, "--output", "x.npy"),
            ("needs --text", "dump", "--stage", "text", "--image", PICTURE, "--output", "x.npy"),
            ("tcsh", "completions", "tcsh"),
        ):
            with self.subTest(arguments=arguments):
                # A model that is not there shows that nothing was loaded before.
                self.fails(2, message, *arguments, env={"BLIP_MODEL": "/nonexistent/model"})

    def test_the_parsers_jargon_is_put_into_words(self):
        for message, *arguments in (
            ("--device is given 2 times; give it once", "--device", "cpu", "--device", "cpu"),
            ("--dtype needs a value: {auto,f32,bf16,int8,f16}", "--dtype"),
            ("unknown here: --nope --other=1", "--nope", "--other=1"),
        ):
            self.fails(2, message, "caption", PICTURE, *arguments)

    def test_help_and_version(self):
        commands = (
            "caption match ask embed convert info devices formats dump bench completions".split()
        )
        text = self.ok("--help").out
        for command in commands:
            self.assertIn(f"\n  {command} ", text)
            self.assertIn(f"blip {command}", self.ok(command, "--help").out.split("Example")[1])
        self.assertRegex(self.ok("--version").out, r"^blip \d+\.\d+\.\d+\n$")

    def test_options_without_effect(self):
        """What is given and not used is refused before anything is loaded."""
        answers = self.write("answers.txt", "yes\nno\n")
        ranked = ("ask", PICTURE, "--question", "is there a clock?", "--answers", answers)
        for option, *arguments in (
            *(
                (option, "caption", PICTURE, option, "1")
                for option in ("--top-p", "--top-k", "--temperature", "--seed")
            ),
            *(
                (option, "ask", PICTURE, "--question", "what?", option, "1")
                for option in ("--top-p", "--seed", "--rank-candidates")
            ),
            ("--beams", "caption", PICTURE, "--sample", "--beams", "4"),
            *(
                (option, *ranked, option, "3")
                for option in (
                    "--beams",
                    "--max-length",
                    "--min-length",
                    "--repetition-penalty",
                    "--length-penalty",
                )
            ),
            ("--length-penalty", "caption", PICTURE, "--beams", "1", "--length-penalty", "2"),
            ("--force-words", "caption", PICTURE, "--beams", "1", "--force-words", "red"),
            ("--force-words", "caption", PICTURE, "--sample", "--force-words", "red"),
            ("--forbid-words", *ranked, "--forbid-words", "red"),
            ("--no-repeat-ngram", *ranked, "--no-repeat-ngram", "2"),
            (
                "--itm-token",
                "match",
                PICTURE,
                "--text",
                "a cat",
                "--head",
                "itc",
                "--itm-token",
                "enc",
            ),
            ("--sample", *ranked, "--sample"),
            *(
                (option, "embed", "--text", "a cat", option, "1")
                for option in ("--batch", "--max-pixels", "--max-bytes")
            ),
            (
                "--text",
                "dump",
                "--stage",
                "vision",
                "--image",
                PICTURE,
                "--text",
                "a cat",
                "--output",
                "x.npy",
            ),
            (
                "--tokenizer-path",
                "caption",
                PICTURE,
                "--model",
                PICTURE,
                "--tokenizer-path",
                "/nonexistent",
            ),
        ):
            with self.subTest(arguments=arguments):
                self.fails(
                    2,
                    f"{option} has no effect",
                    *arguments,
                    env={"BLIP_MODEL": "/nonexistent/model"},
                )

    def test_empty_values_are_refused_everywhere(self):
        """Every option and argument of every command that takes a name, file or text: an unset
        variable changes no task.
        """
        needed = {
            "caption": (PICTURE,),
            "make-captions": (".",),
            "match": (PICTURE, "--text", "a"),
            "ask": (PICTURE, "--question", "a"),
            "embed": (PICTURE,),
            "convert": ("a", "b"),
            "dump": ("--stage", "text", "--image", PICTURE, "--output", "x"),
            "rm": ("a",),
            "pull": ("a/b",),
            "capfilt": (PICTURE,),
            "nlvr": (PICTURE, PICTURE),
        }
        tried = 0
        for command in re.findall(
            r"^  ([a-z-]+) ",
            self.ok("--help").out.split("Subcommands:")[1].split("Examples")[0],
            re.MULTILINE,
        ):
            text = self.ok(command, "--help").out
            for option, kind in re.findall(
                r"^  (?:-\w,)?(--[a-z_-]+)[^ ]* ([A-Z]+)\b", text, re.MULTILINE
            ):
                if kind not in (
                    "FILE",
                    "PATH",
                    "TEXT",
                    "NAME",
                    "IMAGE",
                    "ADDRESS",
                    "ENDING",
                    "FOLDER",
                ) or option in ("--prompt", "--stage"):
                    continue
                extra = [a for a in needed.get(command, ()) if True]
                if option in extra:
                    at = extra.index(option)
                    del extra[at : at + 2]
                with self.subTest(command=command, option=option):
                    result = run(
                        command, *extra, option, "", env={"BLIP_MODEL": "/nonexistent/model"}
                    )
                    self.assertEqual((result.code, result.out), (2, ""), result.err)
                    self.assertIn("must not be empty", result.err)
                    tried += 1
        self.assertGreater(tried, 35)
        for arguments in (
            ("caption", ""),
            ("match", "", "--text", "a"),
            ("convert", "", "b"),
            ("convert", "a", ""),
            ("rm", ""),
        ):
            self.fails(2, "must not be empty", *arguments)

    def test_defaults_do_not_fight_what_is_given(self):
        (short,) = self.ok("caption", PICTURE, "--max-length", 6, "--prompt", "a", "--json").objects
        self.assertLessEqual(len(short["token_ids"]), 6)
        self.ok("caption", PICTURE, "--max-length", 4, "--prompt", "a")
        (long,) = self.ok("caption", PICTURE, "--min-length", 30, "--json").objects
        self.assertEqual(len(long["token_ids"]), 30)
        self.assertEqual(
            len(
                self.ok(
                    "ask", PICTURE, "--question", "what?", "--min-length", 12, "--json"
                ).objects[0]["token_ids"]
            ),
            12,
        )


class Models(CliTest):
    def test_missing_model(self):
        self.fails(3, "/nonexistent/model", "caption", PICTURE, "--model", "/nonexistent/model")
        self.fails(
            3, "/nonexistent/model", "caption", PICTURE, env={"BLIP_MODEL": "/nonexistent/model"}
        )

    def test_no_model_at_all(self):
        self.fails(
            3,
            "--model PATH",
            "caption",
            PICTURE,
            program=lone_program(self.folder),
            env={"BLIP_MODEL": ""},
        )

    def test_damaged_models(self):
        whole = json.loads(self.ok("info", "--json").out)["path"]
        if Path(whole).is_dir():
            self.skipTest("the model under test is a folder")
        data = Path(whole).read_bytes()
        for name, content in (
            ("half.gguf", data[: len(data) // 2]),
            ("head.gguf", data[:64]),
            ("empty.gguf", b""),
            ("text.gguf", b"hello " * 100),
            ("text.pth", b"hello " * 100),
            ("text.safetensors", b"hello " * 100),
        ):
            with self.subTest(name=name):
                self.fails(3, name, "caption", PICTURE, "--model", self.write(name, content))

    def test_empty_folder_as_model(self):
        (self.folder / "model").mkdir()
        self.fails(3, "no model here", "caption", PICTURE, "--model", self.folder / "model")

    def test_model_without_the_task(self):
        models = SOURCE / "tests" / "data" / "parity"
        for task, arguments, model, can in (
            ("match", ("--text", "a cat"), "caption", "caption"),
            ("ask", ("--question", "what?"), "caption", "caption"),
            ("embed", (), "caption", "caption"),
            ("caption", (), "vqa", "ask"),
            ("caption", (), "match", "match (ITM)"),
            ("ask", ("--question", "what?"), "match", "match (ITM)"),
        ):
            with self.subTest(task=task, model=model):
                result = self.fails(
                    3, f"cannot {task}", task, PICTURE, *arguments, "--model", models / model
                )
                self.assertIn(f"it can: {can}", result.err)

    def test_unknown_device(self):
        result = run("caption", PICTURE, "--device", "abacus")
        self.assertIn(result.code, (2, 3))
        self.assertIn("abacus", result.err)
        self.assertEqual(result.out, "")

    def test_every_dtype_works_or_says_why_not(self):
        for dtype in ("auto", "f32", "bf16", "int8", "f16"):
            with self.subTest(dtype=dtype):
                result = run("caption", PICTURE, "--dtype", dtype)
                if result.code == 0:
                    self.assertEqual(len(result.lines), 1)
                else:
                    self.assertIn(dtype, result.err)
                    self.assertIn(result.code, (2, 3))
                    self.assertNotIn(dtype, ("auto", "f32"))

    def test_long_text_is_cut_with_a_warning(self):
        text = "a cat and " * 40
        result = self.ok("match", PICTURE, PICTURE, "--text", text, "--json")
        self.assertEqual(result.err.count("truncated to 35 tokens"), 1, result.err)
        self.assertEqual([o["text"] for o in result.objects], [text, text])
        self.assertEqual(self.ok("match", PICTURE, "--text", text, "-q").err, "")


class Outputs(CliTest):
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [PROGRAM, "caption", PICTURE],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left on device", done.stderr)

    def test_reader_that_goes_away(self):
        process = subprocess.Popen(
            [PROGRAM, "caption", *[PICTURE] * 500, "--batch", "1", "-q"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.assertTrue(process.stdout.readline())
        process.stdout.close()
        self.assertEqual(process.wait(TIMEOUT), 128 + signal.SIGPIPE)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()

    def interrupt(self, number):
        process = subprocess.Popen(
            [PROGRAM, "caption", *[PICTURE] * 2000, "--batch", "1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # communicate() does not see what readline() has read ahead
        )
        first = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 128 + number, err)
        lines = (first + out).decode().splitlines()
        self.assertLess(len(lines), 2000)
        for line in lines:
            self.assertIn("caption", json.loads(line))

    def test_interrupt_stops_between_results(self):
        self.interrupt(signal.SIGINT)
        self.interrupt(signal.SIGTERM)

    def test_interrupt_while_waiting_for_a_picture(self):
        process = subprocess.Popen(
            [PROGRAM, "caption", PICTURE, "-", "--batch", "1", "-q"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.assertTrue(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(TIMEOUT), 128 + signal.SIGINT)
        process.communicate()

    def test_lines_come_as_they_are_ready(self):
        """The first result is there while the picture after it is still awaited."""
        process = subprocess.Popen(
            [PROGRAM, "caption", PICTURE, "-", "--batch", "1", "-q"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.assertIn(PICTURE.encode(), process.stdout.readline())
        out, _ = process.communicate(png(10, 10), timeout=TIMEOUT)
        self.assertTrue(out.startswith(b"-\t"), out)
        self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
