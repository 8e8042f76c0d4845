"""From checkpoints to bmodels in the form of the vendor's BLIP sample."""

import tempfile
import time
from pathlib import Path

from . import sample_graphs
from .checkpoint import open_checkpoint
from .compiler import SAMPLE_QUANTIZE, WRITTEN_OUT_NORM, Compiler
from .cycle_table import sample_tokens
from .errors import BuildError
from .staging import SampleStaging, file_digests, progress


def file_name(network, target):
    """As the sample names it: network, chip, number type, batch."""
    return f"{network}_{target.chip}_{target.dtype}_1b.bmodel"


def _makers(path, target, tokens):
    """The checkpoint, and its networks as sample_graphs.makers has them."""
    c = open_checkpoint(path)
    written_out = target.chip in WRITTEN_OUT_NORM
    return c, sample_graphs.makers(c, *sample_tokens(tokens), written_out)


def _check(models, target, tokens):
    """What the folder will hold, {network: checkpoint}, and its vocabulary. Says before anything is
    compiled what does not go together.
    """
    found, vocabulary = {}, None
    for path in models:
        c, makers = _makers(path, target, tokens)
        if vocabulary not in (None, c.vocabulary):
            raise BuildError(f"{path} has another vocabulary than {models[0]}")
        vocabulary = c.vocabulary
        for network in makers:
            if network in found:
                raise BuildError(f"{found[network]} and {path} both make {network}; name one")
            found[network] = path
    return found, vocabulary


def _compile(network, graph, target, toolchain, out):
    name, start = file_name(network, target), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blip-compile-", dir=out) as folder:
        compiler = Compiler(toolchain, target.chip, target.cores, folder)
        graph.save(Path(folder) / f"{network}.onnx")
        del graph  # it holds all weights
        compiled = Path(folder) / name
        mlir = compiler.transform(f"{network}.onnx", network)
        compiler.deploy(mlir, SAMPLE_QUANTIZE[target.dtype], compiled)
        compiled.rename(out / name)
    digests = file_digests(out / name)
    progress(f"{name}: {digests['bytes'] / 1e6:.1f} MB in {time.monotonic() - start:.0f} s")
    return f"{digests['sha256']}  {name}\n"


def build_sample(models, target, tokens, toolchain):
    """target: chip, dtype, cores, out. tokens: new ones of captions and answers; None: the usual.

    Checkpoints need not share anything but the vocabulary: every network is whole.
    """
    staging = SampleStaging(target.out)
    found, vocabulary = _check(models, target, tokens)
    with staging as out:
        sums = []
        for path in models:
            _, makers = _makers(path, target, tokens)
            for network, make in makers.items():
                progress(f"{len(sums) + 1}/{len(found)} {network}")
                sums.append(_compile(network, make(), target, toolchain, out))
        words = "\n".join(vocabulary) + "\n"
        (out / "vocab.txt").write_text(words, encoding="utf-8")
        (out / SampleStaging.SUMS).write_text("".join(sums), encoding="utf-8")
    progress(f"{target.out}: {', '.join(file_name(network, target) for network in found)}")
