"""From checkpoints to the folder that NETWORKS.md describes."""
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .checkpoint import merge, open_checkpoint
from .compiler import WRITTEN_OUT_NORM, Compiler, check_target
from .errors import BuildError
from .networks import Builder

FORMAT, VERSION = "blip-bmodels", 1
MODEL_FILE = "model.bmodel"
DIGEST_DIGITS = 12
HALF_TYPES = ("f16", "bf16")


def progress(message):
    print(f"build-bmodels: {message}", file=sys.stderr, flush=True)


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
        "dtype": target.dtype,
        "checkpoint": {"name": c.name, "sha256": digest},
        "vocabulary": {"file": "vocab.txt", "sha256": hashlib.sha256(vocabulary).hexdigest(), "size": len(c.vocabulary)},
        "image": {"size": c.vision.image_size, "mean": c.mean, "std": c.std, "tokens": c.vision.tokens, "width": c.vision.width},
        "text": {"width": text.width, "layers": text.layers, "heads": text.heads, "length": c.max_text, "embed": c.embed_dim},
        "decoder": {"slots": options.slots, "prompt": options.prompt if "caption" in c.text else 0},
        "special": _special(c.vocabulary),
        "tasks": c.tasks,
        "prompt": c.prompt,
        "networks": networks,
    }


class Staging:
    """The folder under construction: beside the target, and in its place only when it is whole."""

    def __init__(self, target):
        self.target = Path(target).absolute()
        if self.target.exists() and not self._replaceable():
            raise BuildError(f"{self.target} exists and is no folder of compiled networks; name another, or remove it")

    def _replaceable(self):
        if not self.target.is_dir():
            return False
        if not any(self.target.iterdir()):
            return True
        try:
            return json.loads((self.target / "manifest.json").read_text(encoding="utf-8")).get("format") == FORMAT
        except (OSError, ValueError):
            return False

    def __enter__(self):
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f".{self.target.name}.", suffix=".part", dir=self.target.parent))
        return self.folder

    def __exit__(self, kind, *_):
        if kind is None:
            self.folder.chmod(0o755)
            shutil.rmtree(self.target, ignore_errors=True)
            self.folder.rename(self.target)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def _compile(compiler, network, name, target, samples):
    """The bmodel of one network. Its graph is dropped as soon as it is on disk."""
    start = time.monotonic()
    network.graph.save(compiler.folder / f"{name}.onnx")
    network.graph = None
    mlir = compiler.transform(f"{name}.onnx", name)
    bmodel = Path(f"{name}.bmodel")
    kept = (network.kept_inputs, network.kept_outputs) if target.dtype in HALF_TYPES else ((), ())
    compiled = compiler.deploy(mlir, target.dtype.upper(), bmodel, *kept)
    progress(f"{name}: {compiled.stat().st_size / 1e6:.1f} MB in {time.monotonic() - start:.0f} s")
    return compiled


def build(models, target, options, toolchain, samples=None):
    """target: chip, dtype, cores, out."""
    check_target(target.chip, target.dtype, target.cores)
    staging = Staging(target.out)
    checkpoint = merge([open_checkpoint(path) for path in models])
    options.written_out_norm = target.chip in WRITTEN_OUT_NORM
    makers = Builder(checkpoint, options).networks()
    digest = checkpoint.digest()
    progress(f"{checkpoint.name} ({', '.join(checkpoint.tasks)}) for {target.chip}, {target.dtype}, {target.cores} core(s): {len(makers)} networks")
    with staging as out:
        compiled, networks = [], []
        bmodels = out / "bmodels.part"
        bmodels.mkdir()
        for number, make in enumerate(makers, 1):
            network = make()
            name = f"{network.stem}_{digest[:DIGEST_DIGITS]}"
            progress(f"{number}/{len(makers)} {network.role}" + (f", {network.rows} rows" if network.rows > 1 else ""))
            with tempfile.TemporaryDirectory(prefix="blip-compile-", dir=out) as folder:
                compiler = Compiler(toolchain, target.chip, target.cores, folder)
                compiled.append(_compile(compiler, network, name, target, samples).rename(bmodels / f"{network.stem}.bmodel"))
            networks.append({"role": network.role, "name": name, "file": MODEL_FILE, "bytes": 0, "rows": network.rows})
        with tempfile.TemporaryDirectory(prefix="blip-compile-", dir=out) as folder:
            Compiler(toolchain, target.chip, target.cores, folder).combine(compiled, out / MODEL_FILE)
        shutil.rmtree(bmodels)
        for network in networks:
            network["bytes"] = (out / MODEL_FILE).stat().st_size
        vocabulary = ("\n".join(checkpoint.vocabulary) + "\n").encode()
        (out / "vocab.txt").write_bytes(vocabulary)
        text = json.dumps(manifest(checkpoint, digest, networks, options, target, vocabulary), indent=1)
        (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    progress(f"{target.out}: {(Path(target.out) / MODEL_FILE).stat().st_size / 1e6:.1f} MB")
