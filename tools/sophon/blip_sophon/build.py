"""From checkpoints to the folder that NETWORKS.md describes."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path

from .calibration import Calibration, read_texts, write_exceptions
from .checkpoint import merge, open_checkpoint
from .compiler import (
    CHIPS,
    F32_ENDS,
    WRITTEN_OUT_NORM,
    Compiler,
    check_target,
    compiled_as,
    graph_options,
)
from .errors import BuildError
from .networks import Builder
from .staging import FORMAT, Staging, file_digests, progress

VERSION = 1
MODEL_FILE = "model.bmodel"
DIGEST_DIGITS = 12
# Chips whose networks go into one file; those of BM1684 have no program in them that could be
# shared, and cannot be combined.
COMBINED = ("bm1684x", "bm1688", "cv186x")
# By --dtype; what stays in floating point beside int8 is F16 where the chip has it.
FLOAT_TYPE = {"f32": "F32", "f16": "F16", "bf16": "BF16", "w8f16": "F16"}


def _special(vocabulary):
    ids = {token: i for i, token in enumerate(vocabulary)}
    return {name: ids[f"[{name.upper()}]"] for name in ("pad", "cls", "sep", "dec", "enc")}


def manifest(checkpoint, digest, networks, options, target, vocabulary):
    c = checkpoint
    text = next(iter(c.text.values()))
    return {
        "format": FORMAT,
        "version": VERSION,
        "chip": target.chip,
        "cores": target.cores,
        "dtype": "f16" if target.dtype == "w8f16" else target.dtype,
        "checkpoint": {"name": c.name, "sha256": digest},
        "vocabulary": {
            "file": "vocab.txt",
            "sha256": hashlib.sha256(vocabulary).hexdigest(),
            "size": len(c.vocabulary),
        },
        "image": {
            "size": c.vision.image_size,
            "mean": c.mean,
            "std": c.std,
            "tokens": c.vision.tokens,
            "width": c.vision.width,
        },
        "text": {
            "width": text.width,
            "layers": text.layers,
            "heads": text.heads,
            "length": c.max_text,
            "embed": c.embed_dim,
        },
        "decoder": {"slots": options.slots, "prompt": options.prompt if "caption" in c.text else 0},
        "special": _special(c.vocabulary),
        "tasks": c.tasks,
        "prompt": c.prompt,
        "networks": networks,
    }


class NetworkCompiler:
    """Compiles one network after the other for one target."""

    def __init__(self, toolchain, target, calibration):
        self._toolchain, self._target, self._calibration = toolchain, target, calibration
        self._tables = {}  # role -> ranges of its numbers, the same for any rows
        self.float_type = FLOAT_TYPE.get(target.dtype) or (
            "F32" if target.chip in WRITTEN_OUT_NORM else "F16"
        )
        # Of networks not all in 8 bits.
        self._float_dtype = (
            {"F32": "f32", "F16": "w8f16"}[self.float_type]
            if target.dtype == "int8"
            else target.dtype
        )

    def compile(self, network, name, folder):
        """Returns the bmodel in `folder`. The graph is dropped as soon as it is on disk: it holds
        all weights.
        """
        start = time.monotonic()
        compiler = Compiler(self._toolchain, self._target.chip, self._target.cores, folder)
        network.graph.save(folder / f"{name}.onnx")
        network.graph = None
        eight_bits = self._calibration and self._eight_bits(network.role)
        samples = folder / "samples" if eight_bits else None
        # Later networks take in what it gives out.
        if self._calibration and network.rows == 1 and (eight_bits or self.float_type == "F32"):
            self._calibration.samples(network, folder / f"{name}.onnx", samples)
        mlir = compiler.transform(f"{name}.onnx", name)
        table, exceptions = None, None
        if eight_bits:
            quantize, table = "INT8", mlir.with_suffix(".calibration")
            if network.rows == 1:
                compiler.calibrate(mlir, samples, table)
                self._tables[network.role] = table.read_text(encoding="utf-8")
            # The compiler puts samples together until they fill the rows; with one row it takes
            # them as they are.
            table.write_text(self._tables[network.role], encoding="utf-8")
            exceptions = write_exceptions(mlir, self.float_type)
        else:
            quantize = compiled_as(network.role, self._float_dtype)
        kept = (
            ((), ()) if self.float_type in F32_ENDS else (network.kept_inputs, network.kept_outputs)
        )
        compiled = self._deploy(
            compiler, mlir, quantize, folder / f"{name}.bmodel", *kept, table, exceptions
        )
        progress(
            f"{name}: {compiled.stat().st_size / 1e6:.1f} MB in {time.monotonic() - start:.0f} s"
        )
        return compiled

    def _deploy(self, compiler, mlir, quantize, target, *rest):
        """The compiler fails at some small networks with 8-bit weights for BM1688; F16 is what they
        are computed in anyway.
        """
        try:
            return compiler.deploy(mlir, quantize, target, *rest)
        except BuildError:
            if quantize != "W8F16":
                raise
        progress(f"{target.stem}: the compiler cannot give it 8-bit weights, so they are F16")
        return compiler.deploy(mlir, "F16", target, *rest)

    def _eight_bits(self, role):
        """Everything computed in 8 bits. Keys and values that everything later attends to are worth
        their full precision.
        """
        return role == "vision" or self.float_type == "F32" and not role.endswith("_cross")


def build(models, target, options, toolchain):
    """target: chip, dtype, cores, out, calibration (pictures), calibration_texts."""
    check_target(target)
    staging = Staging(target.out)
    checkpoint = merge([open_checkpoint(path) for path in models])
    options = dataclasses.replace(options, **graph_options(target.chip, target.dtype, target.cores))
    if target.dtype == "int8" and "f16" not in CHIPS[target.chip]:
        # Texts are computed in 8 bits too. Ranges are measured with one row; the compiler does not
        # know the names of another graph's values.
        options.match_rows, options.step_rows = [1], sorted({1, *options.step_rows})
    makers = Builder(checkpoint, options).networks()
    digest = checkpoint.digest()
    progress(
        f"{checkpoint.name} ({', '.join(checkpoint.tasks)}) for {target.chip}, {target.dtype}, "
        f"{target.cores} core(s): {len(makers)} networks"
    )
    calibration = (
        Calibration(checkpoint, options, target.calibration, read_texts(target.calibration_texts))
        if target.dtype == "int8"
        else None
    )
    with staging as out:
        compiler = NetworkCompiler(toolchain, target, calibration)
        compiled, networks = [], []
        bmodels = out / "bmodels.part"
        bmodels.mkdir()
        for number, make in enumerate(makers, 1):
            network = make()
            name = f"{network.stem}_{digest[:DIGEST_DIGITS]}"
            progress(
                f"{number}/{len(makers)} {network.role}"
                + (f", {network.rows} rows" if network.rows > 1 else "")
            )
            with tempfile.TemporaryDirectory(prefix="blip-compile-", dir=out) as folder:
                compiled.append(
                    compiler.compile(network, name, Path(folder)).rename(
                        bmodels / f"{network.stem}.bmodel"
                    )
                )
            networks.append(
                {
                    "role": network.role,
                    "name": name,
                    "file": compiled[-1].name,
                    "rows": network.rows,
                }
            )
        if target.chip in COMBINED:
            with tempfile.TemporaryDirectory(prefix="blip-compile-", dir=out) as folder:
                Compiler(toolchain, target.chip, target.cores, folder).combine(
                    compiled, out / MODEL_FILE
                )
            for network in networks:
                network["file"] = MODEL_FILE
        else:
            for bmodel in compiled:
                bmodel.rename(out / bmodel.name)
        shutil.rmtree(bmodels)
        digests = {file: file_digests(out / file) for file in {n["file"] for n in networks}}
        for network in networks:
            network.update(digests[network["file"]])
        vocabulary = ("\n".join(checkpoint.vocabulary) + "\n").encode()
        (out / "vocab.txt").write_bytes(vocabulary)
        text = json.dumps(
            manifest(checkpoint, digest, networks, options, target, vocabulary), indent=1
        )
        (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in Path(target.out).iterdir())
    progress(f"{target.out}: {size / 1e6:.1f} MB")
