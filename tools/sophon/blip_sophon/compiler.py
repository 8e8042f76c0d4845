"""Runs the vendor's compiler, TPU-MLIR, on one ONNX graph at a time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from .errors import BuildError
from .layouts import BY_LAYER, BY_TOKEN, LONG_AXIS
from .precision import EVERY_LAYER, FIRST_LAYERS, Lowered, float_names, operation_names

CHIPS = {  # chip -> number types it computes in
    "bm1684": ("f32", "int8"),
    "bm1684x": ("f32", "f16", "bf16", "w8f16", "int8"),
    "bm1688": ("f32", "f16", "bf16", "w8f16", "int8"),
    "cv186x": ("f32", "f16", "bf16", "w8f16", "int8"),  # half a BM1688
}
# Number types that do not keep texts, and what else of them is other than on the CPU.
CHANGES = {
    "bf16": "captions and answers",
    "w8f16": "answers and captions",
    "int8": "captions and answers, and match probabilities by some hundredths",
}
MAX_CORES = {"bm1684": 1, "bm1684x": 1, "bm1688": 2, "cv186x": 1}
# Chips that the compiler knows and we do not.
UNTRIED = {
    "bm1684x2": "BM1684X2",
    "bm1690": "BM1690",
    "bm1690e": "BM1690E",
}
# Chips whose compiler cannot make a LayerNorm of one token.
WRITTEN_OUT_NORM = ("bm1684",)
# Chips that look up at most one table in a network, and that is the words'.
ONE_LOOKUP = ("bm1684",)
# Chips that take less time for attention as one operator of the compiler's.
FUSED_ATTENTION = ("bm1688", "cv186x")
# How chips that compute in halves keep what texts see of a picture; the others by token.
CROSS_LAYOUTS = {"bm1684x": BY_LAYER}
WRAPPER = Path("bin/tpu-mlir")
SECOND_STEP = Path(__file__).with_name("second_step.py")
WIDE = "F16 of F32"  # ours: factors of products are F16, everything else is F32, in every layer
PLAIN = "F16 alone"  # the compiler's own F16, with none of our exceptions
# Number type -> layers of the vision tower of which only factors are halves.
PRECISE = {"F16": FIRST_LAYERS, WIDE: EVERY_LAYER}
# Number types of folders whose kept tensors are F32: two types of halves meet in it.
F32_ENDS = ("F32", "BF16", WIDE)
# Of whole tasks in the sample's form, by --dtype. Its graphs choose tokens themselves, and nothing
# in them is exempted from 8 bits.
SAMPLE_QUANTIZE = {"f32": "F32", "f16": PLAIN}
GROUP = 64  # 8-bit weights that share a scale: so many of what comes into a product
WIDER = 1.3  # than the ranges that the compiler finds for 8-bit numbers, at most


def has_eight_bit_weights(role):
    """Networks that write texts and read questions: few tokens at a time, which are as fast as the
    weights are read.

    What compares texts gives numbers out, and most of its task's time is the picture's: it keeps
    its precision.
    """
    return "_prefill" in role or "_step" in role or role == "question"


def stays_f16(role):
    """Networks that give numbers out, and the picture's, of which everything is made: BF16 rounds
    factors eight times as coarsely.
    """
    return role.split("_")[0] in ("vision", "match", "text")


def graph_options(chip, dtype, cores):
    """How networks are written down for what a compiler makes of them: fields of
    networks.Options.
    """
    halves = "f16" in CHIPS[chip] and dtype != "f32"
    return {
        "written_out_norm": chip in WRITTEN_OUT_NORM,
        "reorders": chip not in ONE_LOOKUP,
        # It differs from the operator by less than halves do; a bf16 set has F32 between all
        # products of the picture.
        "written_out_gelu": halves and dtype != "bf16",
        # F32 is up to 20 % slower by token.
        "cross_layout": CROSS_LAYOUTS.get(chip, BY_TOKEN) if halves else LONG_AXIS,
        # Of the picture's network it takes 1 to 5 % off on one core of BM1688; two cores lose up to
        # 2 %, layers on BM1684X 17 %.
        "fused_attention": dtype in ("f16", "w8f16") and cores == 1 and chip in FUSED_ATTENTION,
    }


def compiled_as(role, dtype):
    """The compiler's number type of a network, for a dtype of build-bmodels on a chip that computes
    in F16.
    """
    if dtype == "int8" and role != "vision":
        dtype = "w8f16"
    if dtype == "w8f16" and not has_eight_bit_weights(role):
        return "F16"
    if dtype == "bf16" and stays_f16(role):
        return WIDE
    return dtype.upper()


def check_chip(chip):
    if chip in UNTRIED:
        raise BuildError(
            f"{UNTRIED[chip]} is not supported, though the vendor's compiler knows it: our "
            "networks were never compiled for it nor compared on its emulator, and blip does not "
            "know the id "
            f"by which such a chip is told; supported are {', '.join(CHIPS)}"
        )
    if chip not in CHIPS:
        raise BuildError(f"--chip {chip}: supported are {', '.join(CHIPS)}")


def check_target(target):
    """target: chip, form, dtype, cores, calibration"""
    chip = target.chip
    check_chip(chip)
    if target.dtype not in CHIPS[chip]:
        raise BuildError(
            f"{chip} does not compute in {target.dtype}; it knows {', '.join(CHIPS[chip])}"
        )
    if target.form == "sample" and target.dtype not in SAMPLE_QUANTIZE:
        raise BuildError(
            f"--form sample is compiled in {' or '.join(SAMPLE_QUANTIZE)}, not {target.dtype}: its "
            "graphs choose tokens themselves, and nothing in them can be kept exact"
        )
    if not 1 <= target.cores <= MAX_CORES[chip]:
        raise BuildError(
            f"--cores {target.cores}: {chip} has {MAX_CORES[chip]} "
            f"core{'s' if MAX_CORES[chip] > 1 else ''}"
        )
    if target.dtype == "int8" and not target.calibration:
        raise BuildError("int8 needs --calibration IMAGE ...: 8 to 32 pictures like those to come")


def wider(line):
    """A line of a calibration table, "name threshold min max", with more of the values that were
    seen.

    The compiler's search cuts off more than pays. In a vision tower, its ranges lose nearly twice
    as much as those that leave everything in; only values far out are better cut.
    """
    parts = line.split()
    if line.startswith("#") or len(parts) != 4:
        return line
    name, threshold, *seen = parts
    widest = min(max(abs(float(value)) for value in seen), WIDER * float(threshold))
    return f"{name} {widest:.7f} {' '.join(seen)}"


def narrow_products(top):
    """Names of the products with weights of a top-level MLIR file that take in one group of
    weights: it cannot be shared by two cores.
    """
    names = operation_names(top)
    products = re.findall(
        r'"top.MatMul"\(.*: \(tensor<[\dx]+xf32>, tensor<(\d+)x\d+xf32>.*loc\((#loc\d*)\)', top
    )
    return [names[place] for width, place in products if int(width) < 2 * GROUP]


class Compiler:
    def __init__(self, toolchain, chip, cores, folder):
        self.wrapper = Path(toolchain) / WRAPPER
        self.chip, self.cores, self.folder = chip, cores, Path(folder)

    def run(self, *command):
        """One command of the compiler in the work folder. Its messages go to a log, of which the
        end is shown when it fails.
        """
        log = self.folder / f"{command[0]}.log"
        with open(log, "w", encoding="utf-8") as file:
            done = subprocess.run(
                [str(self.wrapper), *map(str, command)],
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        text = log.read_text(encoding="utf-8", errors="replace")
        if done.returncode != 0:
            tail = "\n  ".join(text.strip().splitlines()[-15:])
            raise BuildError(
                f"{' '.join(map(str, command))} failed ({done.returncode}); its last messages:\n  "
                f"{tail}"
            )
        return text

    def transform(self, onnx, name):
        """ONNX -> MLIR; returns its path."""
        mlir = self.folder / f"{name}.mlir"
        self.run(
            "model_transform.py", "--model_name", name, "--model_def", onnx, "--mlir", mlir.name
        )
        return mlir

    def calibrate(self, mlir, samples, table):
        """samples: a folder of npz files with the inputs of real runs."""
        count = len(list(Path(samples).glob("*.npz")))
        self.run(
            "run_calibration.py",
            mlir.name,
            "--dataset",
            samples,
            "--input_num",
            count,
            "--chip",
            self.chip,
            "--cali_method",
            "mse",
            "--tune_num",
            0,
            "-o",
            table.name,
        )
        table.write_text(
            "".join(f"{wider(line)}\n" for line in table.read_text(encoding="utf-8").splitlines()),
            encoding="utf-8",
        )

    def deploy(
        self,
        mlir,
        quantize,
        target,
        strip_inputs=(),
        strip_outputs=(),
        calibration=None,
        exceptions=None,
    ):
        """MLIR -> bmodel. Inputs and outputs at the positions to strip keep the type the chip
        computes in.
        """
        stripped = {"input": strip_inputs, "output": strip_outputs}
        numbers = {
            side: ",".join(str(p + 1) for p in positions)
            for side, positions in stripped.items()
            if positions
        }
        layers = PRECISE.get(quantize)
        precise = float_names(mlir.read_text(encoding="utf-8"), layers) if layers else []
        quantize = "F16" if quantize in (WIDE, PLAIN) else quantize
        if precise:
            self._deploy_precisely(mlir, target, numbers, precise, layers)
        else:
            if quantize == "W8F16" and self.cores > 1:
                exceptions = mlir.with_suffix(".narrow")
                exceptions.write_text(
                    "".join(
                        f"{name} F16\n"
                        for name in narrow_products(mlir.read_text(encoding="utf-8"))
                    ),
                    encoding="utf-8",
                )
            options = ["--calibration_table", calibration.name] if calibration else []
            options += (
                ["--quantize_table", exceptions.name]
                if exceptions and exceptions.read_text(encoding="utf-8")
                else []
            )
            for side, positions in numbers.items():
                options += [f"--quant_{side}", f"--quant_{side}_list", positions]
            command = self._command(mlir, quantize, target, *options)
            if not self._with_scale_per_output(command, calibration):
                self.run(*command)
        if not target.is_file():
            raise BuildError(
                f"the compiler made no {target.name}; its log: "
                f"{self.folder / 'model_deploy.py.log'}"
            )
        return target

    def _command(self, mlir, quantize, target, *options):
        cores = ["--num_core", self.cores] if self.cores > 1 else []
        return [
            "model_deploy.py",
            "--mlir",
            mlir.name,
            "--chip",
            self.chip,
            "--quantize",
            quantize,
            "--model",
            target.name,
            "--skip_validation",
            "--q_group_size",
            GROUP,
            *cores,
            *options,
        ]

    def _deploy_precisely(self, mlir, target, stripped, precise, layers):
        """F16 in the compiler's two steps, with a change of what the first one wrote."""
        table = mlir.with_suffix(".precise")
        table.write_text("".join(f"{name} F32\n" for name in precise), encoding="utf-8")
        self.run(
            *self._command(mlir, "F16", target, "--quantize_table", table.name, "--not_gen_bmodel")
        )
        lowered_file = mlir.with_name(f"{mlir.stem}_{self.chip}_f16_tpu.mlir")
        lowered = Lowered(lowered_file, layers)
        lowered.make_precise()
        lowered.halve_outputs(
            int(number) - 1 for number in stripped.get("output", "").split(",") if number
        )
        lowered.write()
        settings = {
            "tpu_mlir": lowered_file.name,
            "bmodel_path": target.name,
            "final_mlir": lowered_file.name.replace("_tpu.mlir", "_final.mlir"),
            "gdma_check": True,
            "enable_affine": True,
        }
        for side, positions in stripped.items():
            settings |= {f"quant_{side}": True, f"quant_{side}_list": positions}
        self.run("python3.10", SECOND_STEP, json.dumps(settings))

    def _with_scale_per_output(self, command, calibration):
        """8-bit weights with a scale per output, not one for all. BM1684 has no such products, and
        the compiler fails at some networks.
        """
        if not calibration or self.chip == "bm1684":
            return False
        try:
            self.run(*command, "--matmul_perchannel")
        except BuildError:
            return False
        return True

    def combine(self, bmodels, target):
        """One file of several: the chip's own program, 5 MB, is in it once, and the networks share
        their working memory.

        One that needs working memory comes last: the runtime of 1.30.2 frees what they share only
        if the last one has a part in it, and BM1688's emulator ends the program at what was not
        freed.
        """
        self.run(
            "model_tool", "--combine", *sorted(bmodels, key=self._working_memory), "-o", target
        )

    def _working_memory(self, bmodel):
        """In bytes, of a file with one network."""
        return int(re.search(r"runtime: (\d+)", self.run("model_tool", "--info", bmodel))[1])


def find_toolchain(given, script):
    """The folder that install-toolchain made."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blip/sophon-toolchain"
    )
    place = Path(given or os.environ.get("BLIP_SOPHON_TOOLCHAIN") or cache).absolute()
    if not (place / WRAPPER).is_file():
        raise BuildError(
            f"no compiler in {place}: run {Path(script).with_name('install-toolchain')}, or name "
            "its folder with --toolchain"
        )
    return place


INSIDE = "BLIP_INSIDE_TOOLCHAIN"


def enter_toolchain(place, script):
    """Goes on in the compiler's own Python, which has the NumPy and ONNX that it wants: starts the
    script anew there.
    """
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execv(
            place / WRAPPER, [str(WRAPPER), "python3.10", os.path.abspath(script), *sys.argv[1:]]
        )
