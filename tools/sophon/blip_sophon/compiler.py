"""Runs the vendor's compiler, TPU-MLIR, on one ONNX graph at a time."""
import os
import subprocess
import sys
from pathlib import Path

from .errors import BuildError

CHIPS = {  # chip -> number types it computes in
    "bm1684": ("f32", "int8"),
    "bm1684x": ("f32", "f16", "bf16", "w8f16", "int8"),
    "bm1688": ("f32", "f16", "bf16", "w8f16", "int8"),
}
MAX_CORES = {"bm1684": 1, "bm1684x": 1, "bm1688": 2}
# Chips whose compiler cannot make a LayerNorm of one token.
WRITTEN_OUT_NORM = ("bm1684",)
WRAPPER = Path("bin/tpu-mlir")
WIDER = 1.3  # than the ranges that the compiler finds for 8-bit numbers, at most


def has_eight_bit_weights(role):
    """Texts are few tokens at a time, which are as fast as the weights are read: 8 bits of them, and everything computed in F16."""
    return role != "vision" and not role.endswith("_cross")


def check_target(target):
    """target: chip, dtype, cores, calibration"""
    chip = target.chip
    if target.dtype not in CHIPS[chip]:
        raise BuildError(f"{chip} does not compute in {target.dtype}; it knows {', '.join(CHIPS[chip])}")
    if not 1 <= target.cores <= MAX_CORES[chip]:
        raise BuildError(f"--cores {target.cores}: {chip} has {MAX_CORES[chip]} core{'s' if MAX_CORES[chip] > 1 else ''}")
    if target.dtype == "int8" and not target.calibration:
        raise BuildError("int8 needs --calibration IMAGE ...: 8 to 32 pictures like those to come")


def wider(line):
    """A line of a calibration table, "name threshold min max", with more of the values that were seen.

    The compiler's search cuts off more than pays. In a vision tower, its ranges lose nearly twice as much as those that leave everything in; only
    values far out are better cut.
    """
    parts = line.split()
    if line.startswith("#") or len(parts) != 4:
        return line
    name, threshold, *seen = parts
    return f"{name} {min(max(abs(float(value)) for value in seen), WIDER * float(threshold)):.7f} {' '.join(seen)}"


class Compiler:
    def __init__(self, toolchain, chip, cores, folder):
        self.wrapper = Path(toolchain) / WRAPPER
        self.chip, self.cores, self.folder = chip, cores, Path(folder)

    def run(self, *command):
        """One command of the compiler in the work folder. Its messages go to a log, of which the end is shown when it fails."""
        log = self.folder / f"{command[0]}.log"
        with open(log, "w", encoding="utf-8") as file:
            done = subprocess.run([str(self.wrapper), *map(str, command)], cwd=self.folder, stdout=file, stderr=subprocess.STDOUT,
                                  check=False)
        text = log.read_text(encoding="utf-8", errors="replace")
        if done.returncode != 0:
            tail = "\n  ".join(text.strip().splitlines()[-15:])
            raise BuildError(f"{' '.join(map(str, command))} failed ({done.returncode}); its last messages:\n  {tail}")
        return text

    def transform(self, onnx, name):
        """ONNX -> MLIR; returns its path."""
        mlir = self.folder / f"{name}.mlir"
        self.run("model_transform.py", "--model_name", name, "--model_def", onnx, "--mlir", mlir.name)
        return mlir

    def calibrate(self, mlir, samples, table):
        """samples: a folder of npz files with the inputs of real runs."""
        count = len(list(Path(samples).glob("*.npz")))
        self.run("run_calibration.py", mlir.name, "--dataset", samples, "--input_num", count, "--chip", self.chip,
                 "--cali_method", "mse", "--tune_num", 0, "-o", table.name)
        table.write_text("".join(f"{wider(line)}\n" for line in table.read_text(encoding="utf-8").splitlines()), encoding="utf-8")

    def deploy(self, mlir, quantize, target, strip_inputs=(), strip_outputs=(), calibration=None, exceptions=None):
        """MLIR -> bmodel. Inputs and outputs at the positions to strip keep the type the chip computes in."""
        options = ["--calibration_table", calibration.name] if calibration else []
        options += ["--quantize_table", exceptions.name] if exceptions else []
        for name, positions in (("input", strip_inputs), ("output", strip_outputs)):
            if positions:
                options += [f"--quant_{name}", f"--quant_{name}_list", ",".join(str(p + 1) for p in positions)]
        if self.cores > 1:
            options += ["--num_core", self.cores]
        command = ["model_deploy.py", "--mlir", mlir.name, "--chip", self.chip, "--quantize", quantize, "--model", target.name,
                   "--skip_validation", *options]
        if not self._with_scale_per_output(command, calibration):
            self.run(*command)
        if not target.is_file():
            raise BuildError(f"the compiler made no {target.name}; its log: {self.folder / 'model_deploy.py.log'}")
        return target

    def _with_scale_per_output(self, command, calibration):
        """8-bit weights with a scale per output, not one for all. BM1684 has no such products, and the compiler fails at some networks."""
        if not calibration or self.chip == "bm1684":
            return False
        try:
            self.run(*command, "--matmul_perchannel")
        except BuildError:
            return False
        return True

    def combine(self, bmodels, target):
        """One file of several: the chip's own program, 5 MB, is in it once, and the networks share their working memory.

        In some orders of networks for two cores the runtime of 1.30.2 does not free all memory, and BM1688's emulator ends the program at that.
        """
        self.run("model_tool", "--combine", *bmodels, "-o", target)


def find_toolchain(given, script):
    """The folder that install-toolchain made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blip/sophon-toolchain"
    place = Path(given or os.environ.get("BLIP_SOPHON_TOOLCHAIN") or cache).absolute()
    if not (place / WRAPPER).is_file():
        raise BuildError(f"no compiler in {place}: run {Path(script).with_name('install-toolchain')}, or name its folder with --toolchain")
    return place


INSIDE = "BLIP_INSIDE_TOOLCHAIN"


def enter_toolchain(place, script):
    """Goes on in the compiler's own Python, which has the NumPy and ONNX that it wants: starts the script anew there."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execv(place / WRAPPER, [str(WRAPPER), "python3.10", os.path.abspath(script), *sys.argv[1:]])
