#!/usr/bin/env python3
"""What it takes to caption one picture: the size of what is installed, the time from the start of
the process to the caption, and the peak of its memory. Prints a Markdown table.

    bench/setup.sh
    bench/.venv/bin/python bench/footprint.py --blip build/release/bin/blip [--work bench/work]

BLIP-base with random weights (peers.py makes it), greedy to 20 tokens, files in the page cache;
medians of --runs runs in turn. transformers and blip read the checkpoint's folder; OpenVINO reads
networks that openvino_peer.py has converted and compressed before. The installed size is that of
the Python packages that are needed and of all that they require, without those for GPUs; Python
itself is not counted. blip's is the program's, with the libraries that a fresh Debian lacks.
"""

import importlib.metadata
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import arguments

HERE = pathlib.Path(__file__).resolve().parent
PICTURE = HERE.parent / "demo/scenes/cat-bus.png"
TYPES = ("f32", "bf16", "int8")
TRANSFORMERS = """
import sys
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipImageProcessor

torch.set_num_threads(int(sys.argv[4]))
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[2]]
model = BlipForConditionalGeneration.from_pretrained(sys.argv[1], dtype=dtype).eval()
picture = Image.open(sys.argv[3]).convert("RGB")
pixels = BlipImageProcessor()(picture, return_tensors="pt").pixel_values.to(dtype)
prompt = torch.tensor([[30522, 1037, 3861, 1997, 102]])
with torch.inference_mode():
    print(model.generate(pixels, input_ids=prompt, max_length=20, min_length=20)[0].tolist())
"""


def installed_mb(names):
    """Of these packages of this environment and all that they require, but for GPUs."""
    seen, todo, total = set(), list(names), 0
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen or re.match(r"nvidia|triton|cuda", name):
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system, or an extra
        total += sum(
            path.stat().st_size
            for path in {file.locate().resolve() for file in found.files or ()}
            if path.is_file()
        )
        for requirement in found.requires or ():
            if "extra ==" not in requirement:
                todo.append(re.match(r"[\w.-]+", requirement)[0])
    return total / 1e6


def blip_mb(blip):
    """The program and the libraries that it loads from packages that Debian's minimum lacks."""
    listed = subprocess.run(["ldd", blip], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = {pathlib.Path(path).resolve() for path in re.findall(r"=> (/\S+)", listed)}
    own = [path for path in paths if not is_essential(path)]
    return sum(path.stat().st_size for path in {pathlib.Path(blip).resolve(), *own}) / 1e6


def is_essential(path):
    """Is it of a package that every Debian has?"""
    for name in (path, pathlib.Path(str(path).removeprefix("/usr"))):
        owner = subprocess.run(
            ["dpkg-query", "-S", str(name)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout.decode()
        if owner:
            priority = subprocess.run(
                ["dpkg-query", "-W", "-f", "${Priority}", owner.split(": ")[0].split(",")[0]],
                stdout=subprocess.PIPE,
            ).stdout.decode()
            return priority in ("required", "important")
    return False


def save_networks(options):
    """OpenVINO's networks of each type in work/openvino-TYPE."""
    todo = [
        (dtype, options.work / f"openvino-{dtype}")
        for dtype in TYPES
        if not (options.work / f"openvino-{dtype}" / "decoder.xml").exists()
    ]
    if not todo:
        return
    import openvino
    import torch

    import openvino_peer
    import peers

    torch.set_grad_enabled(False)
    model = peers.load(options.work, "caption", torch.float32)
    text = model.text_decoder
    for dtype, folder in todo:
        engine = openvino_peer.Engine({"caption": model}, dtype, options.threads, None)
        tower = engine.tower_network("caption", 384, text.bert)
        tower.reshape([1, 3, 384, 384])
        decoder = openvino_peer.decoder_network(text, 1, engine.compress)
        for name, network in (("tower", tower), ("decoder", decoder)):
            # f32 as it is; otherwise what save_model recommends, halves of the weights.
            openvino.save_model(network, folder / f"{name}.xml", compress_to_fp16=dtype != "f32")


def commands(options):
    work, threads = options.work, str(options.threads)
    for dtype in TYPES[:2]:
        yield f"transformers on torch, {dtype}", ("torch", "transformers", "pillow"), [
            *(sys.executable, "-c", TRANSFORMERS),
            *(work / "caption", dtype, PICTURE, threads),
        ]
    for dtype in TYPES:
        yield f"OpenVINO, {dtype}", ("openvino", "pillow"), [
            *(sys.executable, HERE / "openvino_run.py", "--dtype", dtype, "--threads", threads),
            *("--networks", work / f"openvino-{dtype}", "--picture", PICTURE),
        ]
    for dtype in TYPES:
        yield f"blip, {dtype}", None, [
            *(options.blip, "caption", "--model", work / "caption", "--dtype", dtype, "--quiet"),
            *("--threads", threads, "--beams", "1", "--max-length", "20", PICTURE),
        ]


def measure(command):
    """Seconds and the peak of memory in MB."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[:3]}: wait status {status}\n{errors.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss / 1e3


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--blip", type=arguments.program, required=True, help="the program")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "work")
    parser.add_argument("--threads", type=arguments.count, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=arguments.count, default=5)
    parser.add_argument("--prepare", action="store_true", help="make what is measured, no more")
    options = parser.parse_args()
    if options.prepare:
        return save_networks(options)
    subprocess.run(  # the checkpoints, and nothing measured
        [sys.executable, HERE / "peers.py", "--work", options.work, "--only", ""],
        stdin=subprocess.DEVNULL,
        check=True,
    )
    # By a process of its own: a child's peak of memory begins with what its parent has.
    subprocess.run([sys.executable, *sys.argv, "--prepare"], check=True)
    cases = list(commands(options))
    figures = [[] for _ in cases]
    for number in range(options.runs + 1):
        for case, found in zip(cases, figures):
            figure = measure(case[2])
            if number > 0:  # the first fills the page cache
                found.append(figure)
    print("| BLIP-base, one caption | installed | start to caption | peak memory |")
    print("|---|---:|---:|---:|")
    for (title, packages, _), found in zip(cases, figures):
        size = installed_mb(packages) if packages else blip_mb(options.blip)
        seconds, memory = (statistics.median(column) for column in zip(*found))
        print(f"| {title} | {size:,.0f} MB | {seconds:.2f} s | {memory:,.0f} MB |")


if __name__ == "__main__":
    main()
