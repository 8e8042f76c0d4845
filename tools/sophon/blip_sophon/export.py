"""The networks of a checkpoint as ONNX files."""

import json
import sys
from pathlib import Path

from . import sample_graphs
from .build import DIGEST_DIGITS
from .checkpoint import merge, open_checkpoint
from .cycle_table import sample_tokens
from .errors import BuildError
from .networks import Builder


def progress(message):
    print(f"export-onnx: {message}", file=sys.stderr, flush=True)


def own_makers(checkpoint, options):
    """Ours (NETWORKS.md), which carry the checkpoint's digest in their names. A network's name is
    known when it is made, so one graph is in memory at a time.
    """
    digest = checkpoint.digest()[:DIGEST_DIGITS]
    for make in Builder(checkpoint, options).networks():
        network = make()
        yield f"{network.stem}_{digest}", network.graph


def save(graph, path):
    """Appears under its name when it is whole. protobuf holds less than 2 GiB."""
    import onnx  # pylint: disable=import-outside-toplevel

    model = graph.model()
    partial = path.with_name(f".{path.name}.part")
    try:
        if model.ByteSize() < 1 << 31:
            onnx.save(model, str(partial))
        else:
            raise BuildError(
                f"{path.name} would have 2 GiB or more, which no ONNX file holds; use fewer "
                "tokens (--tokens)"
            )
        partial.replace(path)
    except ValueError as error:  # protobuf's own limit
        raise BuildError(f"{path.name} cannot be written: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def check(path):
    """Loads and runs the file once in ONNX Runtime, on zeros: is every output finite? None where
    there is no ONNX Runtime.
    """
    try:
        import numpy as np  # pylint: disable=import-outside-toplevel
        import onnxruntime  # pylint: disable=import-outside-toplevel
    except ImportError:
        return None
    try:
        onnxruntime.set_default_logger_severity(3)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
        feed = {i.name: np.zeros(i.shape, kinds[i.type]) for i in session.get_inputs()}
        outputs = session.run(None, feed)
    except Exception as error:
        raise BuildError(f"ONNX Runtime refuses {path}: {error}") from None
    for value, output in zip(outputs, session.get_outputs()):
        if not np.isfinite(value).all():
            raise BuildError(f"{path}: its output {output.name} is not finite on zeros")
        if list(value.shape) != list(output.shape):
            raise BuildError(f"{path}: {output.name} is {list(value.shape)}, not {output.shape}")
    return {
        "inputs": {i.name: i.shape for i in session.get_inputs()},
        "outputs": {o.name: o.shape for o in session.get_outputs()},
    }


def export(models, form, out, options, tokens):
    checkpoint = merge([open_checkpoint(path) for path in models])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if form == "sample":
        made = sample_graphs.makers(checkpoint, *sample_tokens(tokens))
        named = ((name, make()) for name, make in made.items())
    else:
        named = own_makers(checkpoint, options)
    for name, graph in named:
        path = out / f"{name}.onnx"
        save(graph, path)
        del graph
        checked = check(path)
        progress(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB"
            + ("" if checked else "; not checked, there is no ONNX Runtime")
        )
        line = {"file": str(path), "checked": checked is not None, **(checked or {})}
        print(json.dumps(line), flush=True)
