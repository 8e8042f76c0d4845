"""blip bench: every stage is there with figures that hang together; instruction sets can be
limited, and only to what is there.
"""

import json
import shutil
import struct
import unittest

from harness import EMULATED, SOURCE, CliTest, run, scene_path, scenes

PICTURE = scene_path(scenes()[0])
LEVELS = ["baseline", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx"]
LEVELS += ["neon", "dotprod", "i8mm", "bf16"]


class Bench(CliTest):
    def model(self):
        """Which model to time: where it would take minutes, a small one."""
        return ("--model", self.small_model()) if EMULATED else ()

    def small_model(self):
        """The unit tests' tiny model of every task, with room for the texts of a benchmark: its
        tables of positions three times.
        """
        source, folder = SOURCE / "tests" / "data" / "model" / "combined", self.folder / "small"
        shutil.copytree(source, folder)
        data = (source / "model.safetensors").read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        table, body = json.loads(data[8:start]), b""
        for name, entry in table.items():
            if name == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            times = 3 if name.endswith("position_embeddings.weight") else 1
            entry["shape"][0] *= times
            entry["data_offsets"] = [len(body), len(body) + times * (last - first)]
            body += times * data[start + first : start + last]
        head = json.dumps(table).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["text_config"]["max_position_embeddings"] *= 3
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    def test_stages(self):
        machine, *rows = self.ok(
            "bench",
            *self.model(),
            "--json",
            "--runs",
            "2",
            "--tokens",
            "4",
            "--threads",
            "1",
            "--dtype",
            "f32",
            "--batch",
            "1,2",
        ).objects
        self.assertEqual(machine["threads"], 1)
        self.assertGreater(machine["f32_gops"], 0)
        self.assertGreater(machine["read_gb_s"], 0)
        stages = [row["stage"] for row in rows if row["batch"] == 1]
        for stage in (
            "preprocess",
            "vision",
            "image keys",
            "prefill",
            "token",
            "caption, greedy to 20",
            "match, 10 texts of 35",
            "ask, greedy to 10",
        ):
            self.assertIn(stage, stages)
        self.assertEqual(stages, [row["stage"] for row in rows if row["batch"] == 2])
        for row in rows:
            self.assertEqual((row["dtype"], row["threads"]), ("f32", 1))
            self.assertGreaterEqual(row["p95_ms"], row["median_ms"])
        vision = {row["batch"]: row for row in rows if row["stage"] == "vision"}
        # Operations in Gop/s times milliseconds: twice as many for twice the pictures.
        work = {batch: row["gops"] * row["median_ms"] for batch, row in vision.items()}
        self.assertAlmostEqual(work[2] / work[1], 2, places=1)
        self.assertAlmostEqual(
            vision[1]["peak_share"], vision[1]["gops"] / machine["f32_gops"], places=2
        )

    def test_table(self):
        result = self.ok(
            "bench",
            *self.model(),
            "--runs",
            "1",
            "--tokens",
            "2",
            "--dtype",
            "f32",
            "--image",
            PICTURE,
        )
        self.assertRegex(
            result.out,
            r"at their best: f32 \d+, bf16 (\d+|none), int8 (\d+|none) Gop/s|at its best",
        )
        self.assertRegex(result.out, r"\nvision +f32 +\d+ +1 +\d+\.\d\d")

    def test_chosen_stages(self):
        wanted = ["ask, greedy to 10", "token"]
        rows = self.ok(
            "bench",
            *self.model(),
            "--json",
            "--runs",
            "1",
            "--tokens",
            "3",
            "--threads",
            "1",
            "--dtype",
            "f32",
            "--stage",
            wanted[0],
            "--stage",
            wanted[1],
        ).objects[1:]
        self.assertEqual(sorted(row["stage"] for row in rows), wanted)
        token = next(row for row in rows if row["stage"] == "token")
        self.assertGreater(token["median_ms"], 0)
        # Of a busy machine it rounds to nothing.
        self.assertGreaterEqual(token["bandwidth_share"], 0)
        self.fails(2, "--stage", "bench", "--stage", "vision 384")

    def test_what_a_model_has_not(self):
        for message, *arguments in (
            (
                '"vision, 384" is no stage; there are "preprocess", "vision", ',
                "--stage",
                "vision, 384",
            ),
            (
                "--image has no effect without the stages preprocess and vision",
                "--stage",
                "token",
                "--image",
                "nope.png",
            ),
            (
                "--tokens has no effect without the stages image keys, prefill and token",
                "--stage",
                "vision",
                "--tokens",
                "4",
            ),
            ("--tokens 63: ", "--stage", "token", "--tokens", "63"),
            ("nope.png", "--stage", "preprocess", "--image", "nope.png"),
        ):
            with self.subTest(message):
                result = run("bench", *self.model(), "--runs", "1", *arguments)
                self.assertIn(result.code, (1, 2))
                self.assertIn(message, result.err)
                self.assertEqual(result.out, "", "before anything is measured")

    def test_many_threads_are_measured_as_soon_as_few(self):
        rows = self.ok(
            "bench",
            *self.model(),
            "--json",
            "--runs",
            "1",
            "--threads",
            "100",
            "--dtype",
            "f32",
            "--stage",
            "preprocess",
        ).objects
        self.assertEqual((rows[0]["threads"], rows[1]["stage"]), (100, "preprocess"))
        self.assertGreater(rows[0]["f32_gops"], 0)

    def test_wrong_options(self):
        self.fails(2, "--dtype", "bench", "--dtype", "f64")
        self.fails(2, "--runs", "bench", "--runs", "0")
        self.fails(2, "--threads", "bench", "--threads", "10000")


class InstructionSets(CliTest):
    def test_unknown(self):
        for command in (("bench",), ("caption", PICTURE)):
            self.fails(
                2,
                "BLIP_FORCE_ISA=sse9 is unknown; use one of baseline, avx2",
                *command,
                env={"BLIP_FORCE_ISA": "sse9"},
            )

    def test_every_level_captions_alike_or_is_refused(self):
        best = self.ok("caption", PICTURE).out
        seen = set()
        for level in LEVELS:
            result = run("caption", PICTURE, env={"BLIP_FORCE_ISA": level})
            seen.add(result.code)
            if result.code == 0:
                self.assertEqual(result.out, best, level)
            else:
                self.assertEqual(result.code, 2)
                self.assertIn(
                    f"BLIP_FORCE_ISA={level}: this machine lacks it, its best is ", result.err
                )
        self.assertIn(0, seen)

    def levels(self):
        """Those of this machine."""
        return [
            level
            for level in LEVELS
            if run("caption", PICTURE, env={"BLIP_FORCE_ISA": level}).code == 0
        ]

    def test_every_type_on_every_level(self):
        pictures = [scene_path(scene) for scene in scenes()]
        for dtype in ("bf16", "int8"):
            said = {}
            for level in self.levels():
                result = self.ok(
                    "caption", *pictures, "--json", "--dtype", dtype, env={"BLIP_FORCE_ISA": level}
                )
                self.assertIn(f" on cpu, {dtype}, ", result.err)
                said[level] = [one["token_ids"] for one in result.objects]
            self.assertEqual(len(said["baseline"]), len(pictures))
            for level, token_ids in said.items():
                self.assertEqual(token_ids, said["baseline"], f"{dtype}, {level}")

    def test_vectors_are_the_same_bits(self):
        """But for SSE4, which rounds twice in a multiply-add, and matrix units: attention by those
        of x86-64 adds up in their own order, and products of bfloat16 by ARM's.
        """
        levels = set(self.levels()) - {"baseline", "amx"}
        for dtype in ("f32", "int8", "bf16"):
            alike = levels - {"bf16"} if dtype == "bf16" else levels
            vectors = {
                level: self.ok(
                    "embed", PICTURE, "--json", "--dtype", dtype, env={"BLIP_FORCE_ISA": level}
                ).out
                for level in alike
            }
            self.assertLessEqual(len(set(vectors.values())), 1, f"{dtype}: {sorted(alike)}")


if __name__ == "__main__":
    unittest.main()
