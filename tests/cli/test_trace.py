"""--trace: a file that chrome://tracing and Perfetto read, of every stage and thread, and no file
where a run fails.
"""

import collections
import json
import os
import unittest
from pathlib import Path

from harness import CliTest, png, run, scene_path, scenes

PICTURE = scene_path(scenes()[0])


class Trace(CliTest):
    def trace(self, *arguments, code=0):
        path = self.folder / "trace.json"
        result = run(*arguments, "--trace", path)
        self.assertEqual(result.code, code, result.err)
        self.assertEqual(
            [entry.name for entry in os.scandir(self.folder) if entry.name.startswith("trace")],
            ["trace.json"],
        )
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        for event in events:
            self.assertIn(event["ph"], ("X", "M"))
            self.assertEqual(event["pid"], 1)
        return (
            [event for event in events if event["ph"] == "X"],
            [event for event in events if event["ph"] == "M"],
            result,
        )

    def test_captions_of_many_pictures_are_written_together(self):
        pictures = [scene_path(scene) for scene in scenes()[:5]]
        bad = self.write("bad.png", "no picture")
        zones, _, result = self.trace(
            "caption", *pictures[:3], bad, *pictures[3:], "--batch", "2", "--json", code=1
        )
        count = collections.Counter(zone["name"] for zone in zones)
        # The fourth input fails; it has a place in its batch all the same. Where the next picture
        # is slow to come, nobody waits for it.
        self.assertEqual(count["encode"], 3)
        self.assertIn(count["caption"], (1, 2, 3))
        rows = [row for row in result.objects if "error" not in row]
        self.assertEqual([row["image"] for row in result.objects].index(str(bad)), 3)
        alone = [run("caption", picture, "--json").objects[0] for picture in pictures]
        for row in (*rows, *alone):
            del row["timings_ms"]
        self.assertEqual(rows, alone)

    def test_caption(self):
        zones, metadata, result = self.trace(
            "caption",
            PICTURE,
            "--beams",
            "1",
            "--min-length",
            "9",
            "--max-length",
            "9",
            "--threads",
            "2",
            "--json",
        )
        count = collections.Counter(zone["name"] for zone in zones)
        # A caption of 9 tokens after a prompt of 4: the first of the 5 new ones comes out of the
        # prompt's pass.
        for name, times in (
            ("load", 1),
            ("read picture", 1),
            ("encode", 1),
            ("caption", 1),
            ("prefill", 1),
            ("token", 4),
        ):
            self.assertEqual(count[name], times, name)
        self.assertEqual(count["vocabulary"], 5)
        self.assertGreater(count["linear"], 50)
        by_name = {zone["name"]: zone for zone in zones}
        for inner, outer in (("token", "caption"), ("prefill", "caption")):
            a, b = by_name[inner], by_name[outer]
            self.assertEqual(a["tid"], b["tid"])
            self.assertGreaterEqual(a["ts"], b["ts"])
            self.assertLessEqual(a["ts"] + a["dur"], b["ts"] + b["dur"] + 0.002)
        # The one source of all figures: what --json tells is what the trace shows.
        (row,) = result.objects
        self.assertAlmostEqual(
            row["timings_ms"]["encode"], by_name["encode"]["dur"] / 1000, places=2
        )
        self.assertAlmostEqual(
            row["timings_ms"]["decode"], by_name["caption"]["dur"] / 1000, places=2
        )
        # The vision tower of the bundled model: 65 tokens of 192 values, 6 layers.
        encode = by_name["encode"]["args"]
        patches, layers = 2 * 64 * 768 * 192, 6 * (2 * 65 * 12 * 192 * 192 + 4 * 65 * 65 * 192)
        self.assertEqual(encode["operations"], patches + layers)
        self.assertGreater(encode["bytes"], 2_000_000)
        named = {
            event["tid"]: event["args"]["name"]
            for event in metadata
            if event["name"] == "thread_name"
        }
        self.assertEqual({zone["tid"] for zone in zones} - set(named), set())

    def test_several_threads(self):
        pictures = [self.write(f"{i}.png", png(40 + i, 30)) for i in range(12)]
        zones, _, _ = self.trace("caption", *pictures, "--batch", "4", "--threads", "2")
        # Pictures are read on threads of their own while the model works.
        threads = collections.defaultdict(set)
        for zone in zones:
            threads[zone["name"]].add(zone["tid"])
        self.assertNotEqual(threads["read picture"], threads["encode"])
        count = collections.Counter(zone["name"] for zone in zones)
        self.assertEqual((count["read picture"], count["encode"]), (12, 3))
        self.assertEqual(
            [zone["args"]["items"] for zone in zones if zone["name"] == "encode"], [4, 4, 4]
        )
        # Of one thread, zones lie within each other or beside each other.
        for thread in {zone["tid"] for zone in zones}:
            open_until = []
            for zone in sorted(
                (z for z in zones if z["tid"] == thread), key=lambda z: (z["ts"], -z["dur"])
            ):
                while open_until and open_until[-1] <= zone["ts"] + 0.002:
                    open_until.pop()
                if open_until:
                    self.assertLessEqual(zone["ts"] + zone["dur"], open_until[-1] + 0.002)
                open_until.append(zone["ts"] + zone["dur"])

    def test_other_commands(self):
        for name, arguments in (
            ("match", ("match", PICTURE, "--text", "a cat")),
            ("ask", ("ask", PICTURE, "--question", "what?")),
            ("embed", ("embed", PICTURE, "--text", "a cat")),
        ):
            with self.subTest(name):
                zones, _, _ = self.trace(*arguments)
                self.assertIn(name, {zone["name"] for zone in zones})

    def test_failed_pictures_are_traced_and_a_failed_run_is_not(self):
        zones, _, _ = self.trace("caption", PICTURE, self.write("bad.png", "x"), code=1)
        self.assertIn("caption", {zone["name"] for zone in zones})
        before = (self.folder / "trace.json").read_bytes()
        run(
            "caption",
            PICTURE,
            "--model",
            "/nonexistent/model",
            "--trace",
            self.folder / "trace.json",
        )
        self.assertEqual((self.folder / "trace.json").read_bytes(), before)
        run(
            "caption",
            PICTURE,
            "--model",
            "/nonexistent/model",
            "--trace",
            self.folder / "other.json",
        )
        self.assertFalse((self.folder / "other.json").exists())

    def test_destinations(self):
        own = self.write("mine.json", "{}")
        for message, path in (
            ("is no trace", own),
            ("is no trace", PICTURE),
            ("give the name of a file", "-"),
            ("give the name of a file", "/dev/null"),
            ("must not be empty", ""),
        ):
            with self.subTest(path=path):
                self.fails(2, message, "caption", PICTURE, "--trace", path)
        self.fails(
            1,
            "there is no folder",
            "caption",
            PICTURE,
            "--trace",
            self.folder / "none" / "trace.json",
        )
        self.assertEqual(Path(own).read_text(encoding="utf-8"), "{}")

    def test_results_are_the_same(self):
        plain = run("caption", PICTURE).out
        _, _, traced = self.trace("caption", PICTURE)
        self.assertEqual(traced.out, plain)


if __name__ == "__main__":
    unittest.main()
