#!/usr/bin/env python3
"""The tools of tools/sophon as far as they go without the vendor's compiler: their errors, and the
sums of the cycle model.
"""

import math
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "sophon"
sys.path.insert(0, str(TOOLS))
from blip_sophon.checkpoint import open_checkpoint  # noqa: E402
from blip_sophon.cycle_table import (  # noqa: E402
    Figures,
    Lengths,
    Target,
    at_tokens,
    own_stages,
    read_profile,
    read_profiles,
    task_table,
)
from blip_sophon.compiler import (  # noqa: E402
    PLAIN,
    WIDE,
    Compiler,
    compiled_as,
    graph_options,
    has_eight_bit_weights,
    narrow_products,
)
from blip_sophon.errors import BuildError  # noqa: E402
from blip_sophon.layouts import BY_LAYER, BY_TOKEN, LONG_AXIS  # noqa: E402
from blip_sophon.precision import (  # noqa: E402
    EVERY_LAYER,
    GELU_END,
    GELU_POWERS,
    Lowered,
    float_names,
)
import vendor  # noqa: E402

# The end of a profile as the compiler writes it.
# format: as printed
PROFILE = """--------------------------------------
s: start time, b: bd_id, g: gdma_id, e: end time, t: cmd cost time, dr: direction, sz: memsize, bw: bandwidth
--------------------------------------
ENGINE_BD                                              ENGINE_GDMA
Add_175|AR|s:312|b:11|g:12|e:359|t:48                  MatMul_180|GDMA_MATRIX|s:839|b:23|g:15|e:2532|t:1694|dr:0|sz:98304|bw:54.05

flops: 271450892, runtime: 5.596762ms, ComputationAbility: 0.048501T
"""
X = Target("bm1684x", 1)
TWO_CORES = Target("bm1688", 2)


def run(tool, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-B", TOOLS / tool, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
        timeout=60,
    )


class Checkpoints(unittest.TestCase):
    def test_a_model_of_two_pictures_is_refused(self):
        with self.assertRaisesRegex(BuildError, "is not compiled for chips; it runs on the CPU"):
            open_checkpoint(ROOT / "tests/data/nlvr/model.pth")


class Profiles(unittest.TestCase):
    def test_reads_the_figure(self):
        self.assertAlmostEqual(read_profile(PROFILE, "p"), 5.596762)

    def test_adds_the_parts_of_one_core(self):
        self.assertAlmostEqual(
            read_profile(PROFILE + "flops: 1, runtime: 0.25ms, ComputationAbility: 0.1T\n", "p"),
            5.846762,
        )

    def test_without_a_figure(self):
        with self.assertRaisesRegex(
            BuildError, "compiler_profile_0.txt: no figure of the cycle model"
        ):
            read_profile("ENGINE_BD\n", "compiler_profile_0.txt")

    def test_takes_the_slower_core(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"compiler_profile_{core}.txt" for core in range(2)]
            paths[0].write_text(PROFILE, encoding="utf-8")
            paths[1].write_text(PROFILE.replace("5.596762", "7.5"), encoding="utf-8")
            self.assertEqual(read_profiles(paths), 7.5)

    def test_another_rate_of_the_memory(self):
        # A product waits for its load, the second load for nothing, and the third for the product.
        # format: as printed
        profile = """ENGINE_BD            ENGINE_GDMA
                          Load_1|GDMA_TENSOR|s:0|b:0|g:1|e:689|t:690|dr:0|sz:6000|bw:7.8
MatMul_2|MM2|s:690|b:1|g:1|e:1689|t:1000
                          Load_3|GDMA_TENSOR|s:690|b:0|g:2|e:1379|t:690|dr:0|sz:6000|bw:7.8
                          MatMul_4|GDMA_TENSOR|s:1690|b:1|g:3|e:2219|t:530|dr:0|sz:6000|bw:10.2

flops: 100, runtime: 0.0024667ms, ComputationAbility: 0.1T
"""
        cycles = lambda rate: 900e3 * read_profile(profile, "p", rate)
        self.assertAlmostEqual(cycles(None), 2220, delta=1)
        # 400 of the 690 cycles of a group's load are at 15 GB/s, 240 of the 530 outside at 24.
        self.assertAlmostEqual(cycles(15), 690 + 1000 + 290 + 384)
        self.assertAlmostEqual(cycles(24), 290 + 250 + 1000 + 530)
        self.assertAlmostEqual(900e3 * read_profile(profile * 2, "p", 24), 2 * 2070)
        with self.assertRaisesRegex(BuildError, "p: the commands take 0.00 ms one after the other"):
            read_profile(profile.replace("t:1000", "t:1100"), "p", 24)
        with self.assertRaisesRegex(BuildError, "commands that wait for each other"):
            read_profile(profile.replace("|b:1|g:3", "|b:9|g:3"), "p", 24)

    def test_no_profile(self):
        with self.assertRaisesRegex(BuildError, "no cycle model for this chip"):
            read_profiles([])


class Sums(unittest.TestCase):
    def setUp(self):
        self.figures = Figures(Lengths())
        base = Target("bm1688", 1)
        self.figures.times = {
            ("caption", "blip_cap_2", base, "F32"): 120.0,
            ("caption", "blip_cap_4", base, "F32"): 140.0,
            ("caption", "blip_cap_2", TWO_CORES, PLAIN): 60.0,
            ("caption", "blip_cap_4", TWO_CORES, PLAIN): 70.0,
            ("caption", "vision", TWO_CORES, "F16"): 15.0,
            ("caption", "caption_cross", TWO_CORES, "F16"): 2.0,
            ("caption", "caption_prefill", TWO_CORES, "F16"): 8.0,
            ("caption", "caption_step", TWO_CORES, "F16"): 4.0,
            ("caption", "caption_prefill", TWO_CORES, "W8F16"): 5.0,
            ("caption", "caption_step", TWO_CORES, "W8F16"): 2.0,
            ("match", "match_8", TWO_CORES, "F16"): 12.0,
            ("ask", "blip_vqa_venc", base, "F32"): 100.0,
            ("ask", "blip_vqa_tenc", base, "F32"): 10.0,
            ("ask", "blip_vqa_tdec_2", base, "F32"): 20.0,
            ("ask", "blip_vqa_tdec_4", base, "F32"): 36.0,
        }

    def test_a_straight_line(self):
        self.assertEqual(at_tokens(16, (2, 120.0), (4, 140.0)), 260.0)
        self.assertEqual(at_tokens(2, (2, 120.0), (4, 140.0)), 120.0)

    def test_the_prompt_gives_the_first_token(self):
        self.assertEqual(own_stages("caption", Lengths())["caption_step"], 15)
        self.assertEqual(self.figures.own("caption", TWO_CORES, "f16"), 15 + 2 + 8 + 15 * 4)

    def test_a_text_of_a_batch(self):
        self.assertEqual(self.figures.own("match, further text", TWO_CORES, "f16"), 1.5)

    def test_the_sample(self):
        published = (Target("bm1688", 1), "F32")
        self.assertEqual(self.figures.sample("caption", *published), 260.0)
        self.assertEqual(self.figures.sample("caption", TWO_CORES, PLAIN), 60 + 14 * 5)
        self.assertEqual(self.figures.sample("ask", *published), 100 + 10 + 20 + 7 * 8)
        self.assertEqual(self.figures.sample("ask, further question", *published), 10 + 20 + 7 * 8)
        self.assertEqual(self.figures.sample("ask, picture", *published), 100)

    def test_the_table(self):
        head, _, row = task_table(
            self.figures, ["caption"], TWO_CORES, ["f16", "w8f16"]
        ).splitlines()
        self.assertEqual(
            head,
            "| task | sample, f32 (BM1688, 1 core) | sample, f16 (BM1688, 2 cores) "
            "| f16 (BM1688, 2 cores) | w8f16 (BM1688, 2 cores) |",
        )
        self.assertEqual(
            row, "| caption | 260.0 | 130.0 | 85.0 (3.06 x, 1.53 x) | 52.0 (5.00 x, 2.50 x) |"
        )

    def test_names(self):
        self.assertEqual(
            (str(X), str(TWO_CORES), str(Target("bm1688", 1))),
            ("BM1684X", "BM1688, 2 cores", "BM1688, 1 core"),
        )


# A layer's first lines as the compiler writes them, without attributes.
# format: as printed
TOP = """    %8 = "top.LayerNorm"(%7) {eps = 1.0} : (tensor<1x4x48xf32>) -> tensor<1x4x48xf32> loc(#loc8)
    %9 = "top.MatMul"(%8, %5, %6) {a = 1} : (tensor<1x4x48xf32>, tensor<48x48xf32>, tensor<48xf32>) -> tensor<1x4x48xf32> loc(#loc9)
    %10 = "top.MatMul"(%9, %3, %4) {a = 1} : (tensor<1x4x128xf32>, tensor<128x48xf32>, tensor<48xf32>) -> tensor<1x4x48xf32> loc(#loc10)
#loc8 = loc("vision.1.norm1_Layer")
#loc9 = loc("vision.1.q_Add")
#loc10 = loc("vision.1.fc2_Add")
"""
# format: as printed
LOWERED = """module @m attributes {module.mode = "F16", module.weight_file = "weights.npz"} {
    %0 = "top.None"() : () -> none loc(#loc)
    %x = "top.Input"(%arg0) {a = 1} : (tensor<1x4x48xf32>) -> tensor<1x4x48xf32> loc(#loc0)
    %1 = "tpu.Cast"(%x) {with_scale = true} : (tensor<1x4x48xf32>) -> tensor<1x4x48xf16> loc(#loc1)
    %2 = "top.Weight"() : () -> tensor<48x48xf16> loc(#loc2)
    %3 = "tpu.MatMul"(%1, %2, %0, %0, %0) {a = 1} : (tensor<1x4x48xf16>, tensor<48x48xf16>, none, none, none) -> tensor<1x4x48xf16> loc(#loc3)
    %4 = "tpu.Reshape"(%3) {shape = [4, 48]} : (tensor<1x4x48xf16>) -> tensor<4x48xf16> loc(#loc4)
    %5 = "tpu.Cast"(%4) {with_scale = true} : (tensor<4x48xf16>) -> tensor<4x48xf32> loc(#loc5)
    %6 = "tpu.Softmax"(%5) {axis = 1} : (tensor<4x48xf32>) -> tensor<4x48xf32> loc(#loc6)
    return %6 : tensor<4x48xf32> loc(#loc)
} loc(#loc)
#loc = loc(unknown)
#loc0 = loc("x")
#loc1 = loc("x_f16")
#loc2 = loc("w")
#loc3 = loc("NAME")
#loc4 = loc("r")
#loc5 = loc("r_f32")
#loc6 = loc("s")
"""


class Precision(unittest.TestCase):
    def made_precise(self, name):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "m_tpu.mlir"
            file.write_text(LOWERED.replace("NAME", name), encoding="utf-8")
            lowered = Lowered(file)
            lowered.make_precise()
            lowered.write()
            return file.read_text(encoding="utf-8")

    def test_which_operations_are_f32(self):
        self.assertEqual(float_names(TOP), ["vision.1.norm1_Layer"])
        self.assertEqual(float_names(TOP.replace("vision.1", "vision.2")), [])
        self.assertEqual(
            float_names(TOP.replace("vision.1", "vision.2"), EVERY_LAYER), ["vision.2.norm1_Layer"]
        )
        self.assertEqual(
            float_names(TOP.replace("vision.1", "text.11.self")), ["text.11.self.norm1_Layer"]
        )
        self.assertEqual(float_names(TOP.replace("vision.1", "caption.1.self")), [])

    def test_a_gelu_written_out(self):
        for i in range(-8000, 8001):
            x = i / 1000
            c, q = min(abs(x) / 2, GELU_END), 0.0
            for power in GELU_POWERS:
                q = q * c + power
            exact = x * (1 + math.erf(x / math.sqrt(2))) / 2
            self.assertAlmostEqual(max(x, 0) - c * q * q, exact, delta=6e-6)

    def test_how_networks_are_written_down(self):
        def form(chip, dtype, cores=1):
            options = graph_options(chip, dtype, cores)
            layout = options.pop("cross_layout")
            return layout, {name for name, on in options.items() if on}

        for dtype in ("f16", "w8f16", "int8"):
            grouped = {"reorders", "written_out_gelu"}
            self.assertEqual(form("bm1684x", dtype), (BY_LAYER, grouped))
            self.assertEqual(form("bm1688", dtype, 2), (BY_TOKEN, grouped))
            fused = set() if dtype == "int8" else {"fused_attention"}
            for chip in ("bm1688", "cv186x"):
                self.assertEqual(form(chip, dtype), (BY_TOKEN, grouped | fused))
        for chip in ("bm1684x", "bm1688", "cv186x"):
            self.assertEqual(form(chip, "f32"), (LONG_AXIS, {"reorders"}))
        self.assertEqual(form("bm1684x", "bf16"), (BY_LAYER, {"reorders"}))
        for chip in ("bm1688", "cv186x"):
            self.assertEqual(form(chip, "bf16"), (BY_TOKEN, {"reorders"}))
        for dtype in ("f32", "int8"):
            self.assertEqual(form("bm1684", dtype), (LONG_AXIS, {"written_out_norm"}))

    def test_a_product_gives_out_f32(self):
        text = self.made_precise("text.0.self.scores_MatMul")
        self.assertIn("none, none, none) -> tensor<1x4x48xf32> loc(#loc3)", text)
        self.assertIn(
            '"tpu.Reshape"(%3) {shape = [4, 48]} : (tensor<1x4x48xf32>) -> tensor<4x48xf32>', text
        )
        self.assertEqual(text.count("tpu.Cast"), 1)
        self.assertNotIn("tpu.Sub", text)

    def test_queries_are_made_of_two_halves(self):
        text = self.made_precise("text.0.self.q_Add")
        self.assertEqual(
            (text.count("tpu.MatMul"), text.count("tpu.Sub"), text.count("tpu.Add")), (2, 1, 1)
        )
        self.assertEqual(
            text.count("xf16>, tensor<48x48xf16>, none, none, none) -> tensor<1x4x48xf32>"), 2
        )

    def test_other_networks_stay(self):
        for name in (
            "vision.2.q_Add",
            "vision.0.fc1_3_Add",
            "caption.0.self.q_Add",
            "text.0.fc1_Add",
        ):
            self.assertEqual(self.made_precise(name).split(), LOWERED.replace("NAME", name).split())

    def test_eight_bit_weights(self):
        for role in ("caption_prefill", "caption_step_3", "answer_step", "question"):
            self.assertTrue(has_eight_bit_weights(role), role)
        for role in ("vision", "match", "match_8", "text", "caption_cross"):
            self.assertFalse(has_eight_bit_weights(role), role)
        self.assertEqual(narrow_products(TOP), ["vision.1.q_Add"])

    def test_bf16_networks_that_stay_f16(self):
        for role in ("vision", "text_cross", "match", "match_8", "text"):
            self.assertEqual(compiled_as(role, "bf16"), WIDE, role)
        for role in (
            "caption_cross",
            "caption_prefill",
            "caption_step_3",
            "question_cross",
            "question",
            "answer_step",
        ):
            self.assertEqual(compiled_as(role, "bf16"), "BF16", role)

    def test_int8_is_the_picture_alone(self):
        self.assertEqual(compiled_as("vision", "int8"), "INT8")
        for role in ("text_cross", "match_8", "text", "caption_cross"):
            self.assertEqual(compiled_as(role, "int8"), "F16", role)
        for role in ("caption_prefill", "caption_step_3", "question", "answer_step"):
            self.assertEqual(compiled_as(role, "int8"), "W8F16", role)


class Combined(unittest.TestCase):
    def test_a_network_with_working_memory_is_last(self):
        with tempfile.TemporaryDirectory() as folder:
            wrapper = Path(folder) / "bin/tpu-mlir"
            wrapper.parent.mkdir()
            wrapper.write_text(
                """#!/bin/sh
if [ $2 = --info ]; then
  echo "device mem size: 9 (weight: 7, instruct: 2, runtime: $(cat $3))"
else
  echo "$@" > combined
fi
""",
                encoding="utf-8",
            )
            wrapper.chmod(0o755)
            files = []
            for name, bytes_ in (("step", 70), ("vision", 600), ("cross", 0)):
                files.append(Path(folder) / name)
                files[-1].write_text(str(bytes_), encoding="utf-8")
            Compiler(folder, "bm1688", 2, folder).combine(files, Path(folder) / "all")
            names = [
                Path(word).name
                for word in (Path(folder) / "combined").read_text(encoding="utf-8").split()
            ]
        self.assertEqual(names, ["model_tool", "--combine", "cross", "step", "vision", "-o", "all"])


class Cycles(unittest.TestCase):
    def test_without_the_compiler(self):
        with tempfile.TemporaryDirectory() as folder:
            got = run("cycles", "--toolchain", folder)
        self.assertEqual(got.returncode, 1)
        self.assertIn(f"cycles: no compiler in {folder}: run ", got.stderr)
        self.assertIn("install-toolchain", got.stderr)

    def test_a_model_without_its_task(self):
        got = run("cycles", "--model", "somewhere")
        self.assertEqual(got.returncode, 2)
        self.assertIn("--model goes with one --task", got.stderr)

    def test_a_chip_without_cycle_model(self):
        got = run("cycles", "--chip", "bm1684")
        self.assertEqual(got.returncode, 2)
        self.assertIn("invalid choice: 'bm1684'", got.stderr)

    def test_a_caption_too_long(self):
        got = run("cycles", "--caption-tokens", "65")
        self.assertEqual(got.returncode, 2)
        self.assertIn("--caption-tokens 65: expected 1 to 64", got.stderr)


class InstallToolchain(unittest.TestCase):
    """Nothing is downloaded: each run ends before, or at a repository that is a folder of this
    test.
    """

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name) / "toolchain"

    def install(self, *arguments, **variables):
        return run(
            "install-toolchain", self.root, *arguments, **{"HOME": self.folder.name, **variables}
        )

    def test_a_wrong_file(self):
        jar = Path(self.folder.name) / "python.jar"
        jar.write_bytes(b"not a jar")
        got = self.install("--cpython-jar", jar)
        self.assertEqual(got.returncode, 1)
        self.assertIn(
            f"install-toolchain: {jar} is not CPython 3.10.8 of org.bytedeco: its SHA-256 is ",
            got.stderr,
        )
        self.assertEqual(got.stdout, "")
        self.assertFalse((self.root / "env.sh").exists())

    def test_nothing_to_check(self):
        got = self.install("--check")
        self.assertEqual(got.returncode, 1)
        self.assertIn(f"{self.root} holds no complete installation to check", got.stderr)
        self.assertFalse(self.root.exists())

    def test_a_wheel_that_is_not_there(self):
        got = self.install("--wheel", self.root / "nope.whl", BLIP_MAVEN_REPOSITORY="file:///none")
        self.assertEqual(got.returncode, 1)
        self.assertIn("No such file or directory", got.stderr)
        self.assertIn("nope.whl", got.stderr)
        self.assertFalse(self.root.exists())

    def test_a_repository_out_of_reach(self):
        where = Path(self.folder.name).as_uri() + "/nothing"
        got = self.install(BLIP_MAVEN_REPOSITORY=where)
        self.assertEqual(got.returncode, 1)
        self.assertIn(
            f"install-toolchain: cannot download {where}/org/bytedeco/cpython/", got.stderr
        )
        self.assertIn("set BLIP_MAVEN_REPOSITORY", got.stderr)

    def test_a_mirror_of_maven_central(self):
        settings = Path(self.folder.name) / ".m2" / "settings.xml"
        settings.parent.mkdir()
        mirror = Path(self.folder.name).as_uri() + "/mirror"
        settings.write_text(
            f"""<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>
          <mirror><id>blocker</id><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url></mirror>
          <mirror><id>others</id><mirrorOf>*,!central</mirrorOf><url>http://0.0.0.0/</url></mirror>
          <mirror><id>near</id><mirrorOf>central</mirrorOf><url>{mirror}</url></mirror>
        </mirrors></settings>""",
            encoding="utf-8",
        )
        got = self.install(BLIP_MAVEN_REPOSITORY="")
        self.assertEqual(got.returncode, 1)
        self.assertIn(f"cannot download {mirror}/org/bytedeco/cpython/", got.stderr)

    def test_a_program_that_is_missing(self):
        got = self.install(PATH=self.folder.name)
        self.assertEqual(got.returncode, 1)
        self.assertIn("install-toolchain: not found: cmake, make, cc, c++", got.stderr)


class InstallEmulator(unittest.TestCase):
    def test_a_file_that_is_no_wheel(self):
        with tempfile.TemporaryDirectory() as folder:
            wheel = Path(folder) / "x.whl"
            wheel.write_bytes(b"nothing")
            got = run("install-emulator", "--out", Path(folder) / "out", "--wheel", wheel)
        self.assertEqual(got.returncode, 1)
        self.assertIn(f"install-emulator: cannot unpack {wheel}", got.stderr)


class Vendor(unittest.TestCase):
    def test_a_folder_per_chip(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            libraries = root / "lib"
            libraries.mkdir()
            for name in (
                *vendor.LIBRARIES,
                *(vendor.EMULATOR.format(chip=chip) for chip in vendor.CHIPS),
                *vendor.STALE,
            ):
                (libraries / name).write_text(name, encoding="utf-8")
            self.assertFalse(vendor.chips_linked(root))
            vendor.remove_stale(libraries)
            vendor.link_chips(libraries, root)
            self.assertTrue(vendor.chips_linked(root))
            for chip in vendor.CHIPS:
                self.assertEqual(
                    (root / chip / "libcmodel.so").read_text(encoding="utf-8"),
                    f"libcmodel_{chip}.so",
                )
            self.assertFalse((libraries / "libc.so.6").exists())


class ExportedNetworks(unittest.TestCase):
    def test_errors(self):
        with tempfile.TemporaryDirectory() as folder:
            model = ["--model", folder, "--form", "ours", "--out", folder]
            for arguments, code, message in (
                (["--model", "/nowhere", *model[2:]], 1, "/nowhere: no such checkpoint"),
                ([*model[:2], *model[4:], "--form", "both"], 2, "invalid choice: 'both'"),
                ([*model, "--tokens", "0"], 2, "0: expected 1 to 64"),
                ([*model, "--slots", "x"], 2, "x: expected 2 to 512"),
                ([*model, "--toolchain", folder], 1, "export-onnx: "),
            ):
                done = run("export-onnx", *arguments)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertIn(message, done.stderr)
                self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
