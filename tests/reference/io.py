#!/usr/bin/env python3
"""Tensor files against their references: torch.save, safetensors, the gguf package, NumPy.

    io.py --write                                  goldens into tests/data/io/
    io.py --check N --binary TEST_IO [--seed S]    N random files of each kind

The random files are read by the tests' program TEST_IO, which also writes each as GGUF in every
type; those are read back with the gguf package.

A file X is described by X.json ({"tensors": [[name, type, shape], ...], "metadata": {...}}) and
X.f32, the values of all its tensors, in that order, as f32.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import zipfile

import gguf
import ml_dtypes
import numpy as np
import safetensors.torch
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/io"
TYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "bool",
}


def describe(path, tensors, metadata):
    """tensors: (name, type, shape, f32 values)."""
    listing = [[name, kind, [int(n) for n in shape]] for name, kind, shape, _ in tensors]
    path.with_name(path.name + ".json").write_text(
        json.dumps({"tensors": listing, "metadata": metadata}, indent=1) + "\n"
    )
    with open(path.with_name(path.name + ".f32"), "wb") as out:
        for *_, values in tensors:
            out.write(np.ascontiguousarray(values, dtype="<f4").tobytes())


def describe_torch(path, state, metadata):
    describe(
        path,
        [
            (n, TYPES[t.dtype], t.shape, t.detach().to(torch.float32).numpy())
            for n, t in state.items()
        ],
        metadata,
    )


def random_tensor(rng, shape, dtype):
    g = torch.Generator().manual_seed(rng.getrandbits(40))
    if dtype.is_floating_point:
        return (torch.randn(shape, generator=g) * 10.0 ** rng.randint(-6, 3)).to(dtype)
    if dtype == torch.bool:
        return torch.rand(shape, generator=g) > 0.5
    low, high = (0, 255) if dtype == torch.uint8 else (-100, 100)
    return torch.randint(low, high, shape, generator=g).to(dtype)


def random_shape(rng, most=4):
    while True:
        shape = [rng.choice([0, 1, 1, 2, 3, 5, 8, 32, 33]) for _ in range(rng.randint(0, most))]
        if np.prod(shape) <= 2000:
            return shape


def random_view(rng, t):
    """Some view of t: another order, part, step, or repetition of its elements."""
    for _ in range(rng.randint(0, 3)):
        kind = rng.randrange(5)
        if kind == 0 and t.dim() > 1:
            t = t.permute(*rng.sample(range(t.dim()), t.dim()))
        elif kind == 1 and t.dim() > 0 and t.shape[0] > 1:
            t = t[rng.randint(0, t.shape[0] - 1) :]
        elif kind == 2 and t.dim() > 0 and t.shape[-1] > 1:
            t = t[..., :: rng.randint(1, 3)]
        elif kind == 3 and t.dim() < 4:
            t = t.unsqueeze(0).expand(rng.randint(0, 3), *t.shape)
        elif kind == 4 and t.dim() > 1:
            t = t[:, rng.randrange(t.shape[1])] if t.shape[1] else t
    return t


def random_state(rng):
    state = collections.OrderedDict()
    bases = [
        random_tensor(rng, random_shape(rng), rng.choice(list(TYPES)))
        for _ in range(rng.randint(1, 4))
    ]
    for i in range(rng.randint(1, 8)):
        t = random_view(rng, rng.choice(bases))
        state[f"layer.{i}.weight"] = (
            torch.nn.Parameter(t, rng.random() < 0.5)
            if t.is_floating_point() and rng.random() < 0.3
            else t
        )
    return state


def rezip(path, method):
    """The same entries in another archive, as a user's zip program would leave them."""
    with zipfile.ZipFile(path) as z:
        entries = [(n, z.read(n)) for n in z.namelist()]
    with zipfile.ZipFile(path, "w", method) as z:
        for name, content in entries:
            z.writestr(name, content)


def write_torch(path, rng):
    state, metadata, root = random_state(rng), {}, None
    if rng.random() < 0.5:
        metadata = {
            "epoch": rng.randint(-5, 2**40),
            "config.image_size": 384,
            "config.vit": "base",
            "config.init_lr": 1e-5,
        }
        weight = torch.nn.Parameter(torch.zeros(3, 2))
        optimizer = torch.optim.AdamW([weight])
        weight.sum().backward()
        optimizer.step()
        root = {
            rng.choice(["model", "state_dict"]): state,
            "optimizer": optimizer.state_dict(),
            "epoch": metadata["epoch"],
            "config": {
                "image_size": 384,
                "vit": "base",
                "init_lr": 1e-5,
                "train_file": ["a", "b"],
                "none": None,
            },
        }
    torch.save(root or state, path, pickle_protocol=rng.choice([2, 2, 3, 4, 5]))
    if rng.random() < 0.3:
        rezip(path, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    describe_torch(path, state, metadata)


def write_safetensors(path, rng):
    state = {
        f"t.{i}": random_tensor(rng, random_shape(rng, 5), rng.choice(list(TYPES)))
        for i in range(rng.randint(1, 8))
    }
    metadata = {"format": "pt", "note": 'ä \u4e2d \\ "'} if rng.random() < 0.5 else {}
    safetensors.torch.save_file(state, path, metadata=metadata or None)
    describe_torch(path, state, metadata)


GGUF_TYPES = {
    "f64": np.float64,
    "f32": np.float32,
    "f16": np.float16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
    "bf16": ml_dtypes.bfloat16,
    "q8_0": None,
}


def write_gguf(path, rng):
    writer = gguf.GGUFWriter(path, "test")
    metadata = {"general.architecture": "test"}
    if rng.random() < 0.5:
        metadata["general.alignment"] = rng.choice([32, 64, 256])
        writer.add_custom_alignment(metadata["general.alignment"])
    for key, add, value in (
        ("t.u8", writer.add_uint8, 200),
        ("t.i8", writer.add_int8, -100),
        ("t.u16", writer.add_uint16, 60000),
        ("t.i16", writer.add_int16, -30000),
        ("t.u32", writer.add_uint32, 2**32 - 1),
        ("t.i32", writer.add_int32, -(2**31)),
        ("t.u64", writer.add_uint64, 2**63 - 1),
        ("t.i64", writer.add_int64, -(2**63)),
        ("t.f32", writer.add_float32, 0.5),
        ("t.f64", writer.add_float64, 1e-12),
        ("t.true", writer.add_bool, True),
        ("t.false", writer.add_bool, False),
        ("t.text", writer.add_string, "ä \u4e2d"),
        ("t.texts", writer.add_array, ["", "b", "##c"]),
        ("t.ints", writer.add_array, [1, -2, 3]),
        ("t.reals", writer.add_array, [0.5, -1.0]),
    ):
        if rng.random() < 0.7:
            add(key, value)
            metadata[key] = value
    tensors = []
    for i in range(rng.randint(1, 8)):
        kind = rng.choice(list(GGUF_TYPES))
        shape = [max(1, n) for n in random_shape(rng)] or [1]
        if kind == "q8_0":
            shape[-1] = rng.choice([32, 64, 96])
        values = random_tensor(rng, shape, torch.float32).numpy()
        if GGUF_TYPES[kind] is None or kind == "bf16":
            qtype = gguf.GGMLQuantizationType[kind.upper()]
            data = gguf.quants.quantize(values, qtype)
            writer.add_tensor(f"t.{i}", data, raw_dtype=qtype)
            values = gguf.quants.dequantize(data, qtype)
        else:
            values = values.astype(GGUF_TYPES[kind])
            writer.add_tensor(f"t.{i}", values)
        tensors.append((f"t.{i}", kind, shape, values.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    describe(path, tensors, metadata)


def write_encodings(folder, count, seed):
    """f32 values, among them every boundary of f16 and bf16 rounding, and what the references store
    for them.
    """
    rng = np.random.default_rng(seed)
    halves = (
        np.arange(0x7C00, dtype=np.uint16)[:: max(1, 40_000 // count)]
        .view(np.float16)
        .astype(np.float64)
    )
    edges = np.concatenate([halves, (halves[1:] + halves[:-1]) / 2]).astype(np.float32)
    edges = np.concatenate(
        [
            edges,
            np.nextafter(edges, np.float32(np.inf)),
            np.nextafter(edges, np.float32(-np.inf)),
            np.float32(
                [0, 65504, 65519.996, 65520, 65536, 3.3e38, 3.4028235e38, 1e-45, 1e-38, 2e-8, 3e-8]
            ),
        ]
    )
    bits = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    values = np.concatenate([edges, -edges, bits[np.isfinite(bits)], [np.inf, -np.inf]]).astype(
        np.float32
    )
    values.tofile(folder / "half.f32")
    with np.errstate(over="ignore"):
        values.astype(np.float16).tofile(folder / "half.f16")
    values.astype(ml_dtypes.bfloat16).tofile(folder / "half.bf16")
    blocks = rng.standard_normal((max(4, count // 32), 32)).astype(
        np.float32
    ) * 10.0 ** rng.integers(-9, 6, (max(4, count // 32), 1))
    blocks[0] = 0
    blocks[1] = np.arange(-16, 16) + 0.5  # with a largest magnitude of 127, ties
    blocks[1, 0] = 127
    blocks = blocks.astype(np.float32)
    blocks.tofile(folder / "blocks.f32")
    quants = gguf.quants.quantize(blocks, gguf.GGMLQuantizationType.Q8_0)
    quants.tofile(folder / "blocks.q8_0")
    gguf.quants.dequantize(quants, gguf.GGMLQuantizationType.Q8_0).tofile(folder / "blocks.decoded")


def write_fixed(folder):
    """The files that random ones would not hold."""
    linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(linear.state_dict(), folder / "module.pth")
    describe_torch(folder / "module.pth", linear.state_dict(), {})
    torch.save({"w": torch.ones(2)}, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    big = folder / "many.pth"  # over 256 memo entries, and keys repeated by memo
    state = {f"block.{i}.w": torch.full((2,), float(i)) for i in range(150)}
    torch.save({"model": state}, big)
    describe_torch(big, state, {})
    for name, shape in (
        ("scalar", []),
        ("vector", [3]),
        ("matrix", [2, 3]),
        ("empty", [0, 4]),
        ("five", [1, 2, 1, 2, 3]),
    ):
        np.save(
            folder / f"{name}.npy",
            np.arange(np.prod(shape, dtype=int), dtype="<f4").reshape(shape) - 1.5,
        )
    from huggingface_hub import save_torch_state_dict

    (folder / "sharded").mkdir(exist_ok=True)
    state = {
        f"layer.{i}.weight": torch.randn(8, 8, generator=torch.Generator().manual_seed(i))
        for i in range(5)
    }
    save_torch_state_dict(state, str(folder / "sharded"), max_shard_size=600)
    describe_torch(folder / "sharded" / "model.safetensors.index.json", state, {})


WRITERS = {"pth": write_torch, "safetensors": write_safetensors, "gguf": write_gguf}


def write_random(folder, count, seed):
    for kind, writer in WRITERS.items():
        for i in range(count):
            writer(folder / f"random{i:04}.{kind}", random.Random(f"{seed} {kind} {i}"))


def check_rewritten(source, written):
    """GGUFs that the library wrote of source's tensors: equal to what the gguf package would have
    stored.
    """
    compared = 0
    for path in sorted(written.glob("*.gguf")):
        name, kind = path.name[: -len(".gguf")].rsplit(".", 1)
        described = next(source.rglob(f"{name}.json"))
        listing = json.loads(described.read_text())["tensors"]
        values = np.fromfile(described.with_suffix(".f32"), "<f4")
        reader = gguf.GGUFReader(path)
        tensors = {t.name: t for t in reader.tensors}
        position = 0
        for tensor_name, _, shape in listing:
            size = int(np.prod(shape, dtype=np.int64))
            original = values[position : position + size].reshape(shape)
            position += size
            if not (1 <= len(shape) <= 4) or size == 0:
                assert tensor_name not in tensors, (path, tensor_name)
                continue
            got = tensors.pop(tensor_name)
            assert [int(n) for n in got.shape] == shape[::-1], (path, tensor_name, got.shape, shape)
            expected_type = "F32" if kind == "q8_0" and shape[-1] % 32 else kind.upper()
            assert got.tensor_type.name == expected_type, (path, tensor_name, got.tensor_type)
            decoded = gguf.quants.dequantize(got.data, got.tensor_type).reshape(shape)
            with np.errstate(over="ignore"):
                expected = gguf.quants.dequantize(
                    gguf.quants.quantize(original, got.tensor_type), got.tensor_type
                ).reshape(shape)
            assert np.array_equal(decoded, expected, equal_nan=True), (path, tensor_name)
            compared += 1
        assert not tensors, (path, tensors.keys())
        assert reader.get_field("test.texts").contents() == ["", "b", "\u4e2d"], path
        assert (
            reader.get_field("test.integer").contents() == -7
            and reader.get_field("test.real").contents() == 1e-12
        )
        assert reader.get_field("test.flag").contents() is True and reader.get_field(
            "test.integers"
        ).contents() == [1, -2, 2**40]
    return compared


def check(count, binary, seed):
    with tempfile.TemporaryDirectory() as folder:
        source, written = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        source.mkdir()
        written.mkdir()
        write_random(source, count, seed)
        write_fixed(source)
        write_encodings(source, 2_000_000, seed)
        environment = {**os.environ, "BLIP_IO_DATA": str(source), "BLIP_IO_OUTPUT": str(written)}
        subprocess.run(
            [binary, "--gtest_filter=Golden*", "--gtest_brief=1"], check=True, env=environment
        )
        listings = [p for p in source.rglob("*.json") if p.with_suffix(".f32").exists()]
        files, tensors = len(listings), sum(
            len(json.loads(p.read_text())["tensors"]) for p in listings
        )
        print(
            f"{files} files, {tensors} tensors read equal; "
            f"{np.fromfile(source / 'half.f32', '<f4').size} values encoded equal "
            f"as f16 and bf16, {np.fromfile(source / 'blocks.f32', '<f4').size} as q8_0"
        )
        print(
            f"{check_rewritten(source, written)} tensors in {len(list(written.glob('*.gguf')))} "
            "written GGUF files equal"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", type=int, metavar="N")
    parser.add_argument("--binary")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.write:
        DATA.mkdir(parents=True, exist_ok=True)
        write_random(DATA, 6, "committed")
        write_fixed(DATA)
        write_encodings(DATA, 1000, 1)
    elif args.check and args.binary:
        check(args.check, args.binary, args.seed)
    else:
        parser.error("give --write, or --check and --binary")
    return 0


if __name__ == "__main__":
    sys.exit(main())
