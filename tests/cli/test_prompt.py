"""blip ask without --question: from a pipe and at a terminal."""

import os
import pty
import signal
import subprocess
import time
import unittest

from harness import PROGRAM, TIMEOUT, CliTest, run, scene_path, scenes

MEANS = (
    r"preprocess [\d.]+ ms, encode [\d.]+ ms per picture; predict [\d.]+ ms per answer "
    r"\(means of %d and %d\)"
)


class Pipe(CliTest):
    def test_answers_each_line_until_exit(self):
        scene = scenes()[0]
        questions = [q["question"] for q in scene["questions"]]
        result = self.ok(
            "ask",
            scene_path(scene),
            stdin=("\n".join(questions) + "\n\nexit\nnever asked\n").encode(),
        )
        expected = [
            self.ok("ask", scene_path(scene), "--question", q).out.strip() for q in questions
        ]
        self.assertEqual(result.lines, expected)
        self.assertRegex(result.err, MEANS % (1, len(questions)))
        self.assertNotIn("question>", result.err)

    def test_ends_with_the_input(self):
        scene = scenes()[0]
        result = self.ok(
            "ask", scene_path(scene), "--json", stdin=scene["questions"][0]["question"].encode()
        )
        (answer,) = result.objects
        self.assertEqual(list(answer), ["image", "question", "answer", "token_ids", "score"])
        self.assertRegex(result.err, MEANS % (1, 1))
        nothing = self.ok("ask", scene_path(scene))
        self.assertEqual(nothing.out, "")
        self.assertIn("predict - per answer", nothing.err)

    def test_asks_every_picture_and_goes_on_without_bad_ones(self):
        first, second = map(scene_path, scenes()[:2])
        bad = self.write("bad.png", "x")
        result = run("ask", first, bad, second, stdin=b"what is there?\nexit\n")
        self.assertEqual(result.code, 1)
        self.assertEqual([line.split("\t")[0] for line in result.lines], [first, second])
        self.assertIn("bad.png", result.err)
        self.assertRegex(result.err, MEANS % (2, 2))


class Terminal(CliTest):
    def start(self):
        leader, follower = pty.openpty()
        self.addCleanup(os.close, leader)
        process = subprocess.Popen(
            [PROGRAM, "ask", scene_path(scenes()[0])],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(follower)
        return leader, process

    def test_prompts_on_standard_error_only(self):
        leader, process = self.start()
        os.write(leader, b"is there a clock?\n")
        self.assertTrue(process.stdout.readline())
        os.write(leader, b"\x04")  # Ctrl-D
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out), (0, b""))
        self.assertEqual(err.count(b"question> "), 2)
        self.assertRegex(err.decode(), MEANS % (1, 1))

    def test_interrupt_at_the_prompt(self):
        _, process = self.start()
        shown = b""
        deadline = time.monotonic() + TIMEOUT
        while b"question> " not in shown and time.monotonic() < deadline:
            shown += os.read(process.stderr.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out), (128 + signal.SIGINT, b""))


if __name__ == "__main__":
    unittest.main()
