"""What one would run BLIP with instead of blip: transformers on torch, ONNX Runtime, OpenVINO.
Prints a JSON line a figure.

    python peers.py --work work [--threads 2] [--only torch,onnxruntime,openvino] [--runs 5]

With --isa avx2 they are limited to that instruction set as far as they let themselves: a case's
`limit` says whether it took.

With --serve it prints a line that lists its cases, then takes the number of a case a line on
standard input and answers with its figure, so that compare.py can measure everybody in turn. The
checkpoints are made at the first run: BLIP-base with random weights in work/{caption,itm,vqa}.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# What limits the libraries to an instruction set; read when they are loaded. ONNX Runtime has no
# such setting.
LIMITS = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}

TASKS = {
    "caption": ("BlipForConditionalGeneration", 384),
    "itm": ("BlipForImageTextRetrieval", 384),
    "vqa": ("BlipForQuestionAnswering", 480),
}


class Case:
    """A work of an engine: run() does it once."""

    def __init__(self, engine, dtype, work, run, limited=False):
        self.name = {"engine": engine, "dtype": dtype, "work": work, "limited": limited}
        self.run = run
        self.warm = False

    def measure(self, runs, seconds=3):
        """The median of so many runs, or of as many as fit in the time."""
        if not self.warm:
            self.run()
            self.warm = True
        times = []
        while len(times) < runs and (not times or sum(times) < 1e3 * seconds):
            start = time.perf_counter()
            self.run()
            times.append(1e3 * (time.perf_counter() - start))
        return {**self.name, "median_ms": round(statistics.median(times), 1)}


def make_checkpoints(work):
    import torch
    import transformers

    for name, (architecture, size) in TASKS.items():
        if (work / name / "model.safetensors").exists():
            continue
        config = transformers.BlipConfig()
        config.text_config.num_attention_heads = 12
        config.text_config.encoder_hidden_size = 768
        config.vision_config.image_size = size
        torch.manual_seed(0)
        getattr(transformers, architecture)(config).eval().save_pretrained(work / name)


def load(work, name, dtype, **options):
    import transformers

    return (
        getattr(transformers, TASKS[name][0])
        .from_pretrained(work / name, **options)
        .eval()
        .to(dtype)
    )


def torch_cases(work):
    import torch

    torch.set_grad_enabled(False)
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        yield from torch_cases_in(work, name, dtype)


def torch_cases_in(work, name, dtype):
    import torch

    caption, itm, vqa = (load(work, task, dtype) for task in TASKS)
    pixels, large = (torch.randn(1, 3, size, size, dtype=dtype) for size in (384, 480))
    prompt = torch.tensor([[30522, 1037, 3861, 1997, 102]])
    texts, question = torch.randint(1000, 30000, (10, 35)), torch.randint(1000, 30000, (1, 10))

    limited = torch.backends.cpu.get_cpu_capability() == "AVX2"

    def write(beams):
        return lambda: caption.generate(
            pixel_values=pixels,
            input_ids=prompt,
            num_beams=beams,
            do_sample=False,
            min_length=20,
            max_length=20,
        )

    yield Case("torch", name, "vision 384", lambda: caption.vision_model(pixels), limited)
    yield Case("torch", name, "caption, greedy to 20", write(1), limited)
    yield Case("torch", name, "caption, 3 beams to 20", write(3), limited)
    yield Case(
        "torch",
        name,
        "match, 10 texts of 35",
        lambda: itm(
            input_ids=texts,
            attention_mask=torch.ones_like(texts),
            pixel_values=pixels.expand(10, -1, -1, -1),
            use_itm_head=True,
        ),
        limited,
    )
    yield Case(
        "torch",
        name,
        "ask, greedy to 10",
        lambda: vqa.generate(
            input_ids=question,
            attention_mask=torch.ones_like(question),
            pixel_values=large,
            num_beams=1,
            min_length=10,
            max_length=10,
        ),
        limited,
    )


def export_vision(work):
    import torch

    path = work / "vision.onnx"
    if not path.exists():
        model = load(work, "caption", torch.float32, attn_implementation="eager")

        class Vision(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.tower = model.vision_model

            def forward(self, pixels):
                return self.tower(pixels, return_dict=False)[0]

        torch.onnx.export(
            Vision(),
            (torch.zeros(1, 3, 384, 384),),
            path,
            input_names=["pixels"],
            output_names=["tokens"],
            opset_version=17,
            dynamo=False,
        )
    return path


def pictures(count):
    import numpy

    return [
        numpy.random.RandomState(i).randn(1, 3, 384, 384).astype("float32") for i in range(count)
    ]


def onnxruntime_cases(work, threads):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain, narrow = export_vision(work), work / "vision-int8.onnx"
    if not narrow.exists():
        quantize_dynamic(
            plain, narrow, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for dtype, path in (("f32", plain), ("int8", narrow)):
        session, pixels = (
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]),
            pictures(1)[0],
        )
        yield Case(
            "onnxruntime",
            dtype,
            "vision 384",
            lambda session=session, pixels=pixels: session.run(None, {"pixels": pixels}),
        )


def openvino_cases(work, threads, isa):
    import nncf
    import openvino

    core = openvino.Core()
    model = core.read_model(export_vision(work))
    narrow = nncf.quantize(
        model, nncf.Dataset(pictures(4)), model_type=nncf.ModelType.TRANSFORMER, subset_size=4
    )
    for dtype, network in (("f32", model), ("bf16", model), ("int8", narrow)):
        if dtype == "bf16" and isa:
            continue  # its softmax in bfloat16 is there with AVX-512 alone
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if dtype == "f32" or isa else "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(network, "CPU", settings)
        # The kernels that it chose, such as brgemm_avx512_amx.
        kernels = " ".join(
            str(node.get_rt_info()["primitiveType"])
            for node in compiled.get_runtime_model().get_ops()
        )
        limited = not any(name in kernels for name in ("avx512", "amx"))
        request = compiled.create_infer_request()
        yield Case(
            "openvino",
            dtype,
            "vision 384",
            lambda request=request, pixels=pictures(1)[0]: request.infer({0: pixels}),
            limited,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=pathlib.Path, required=True, help="folder for checkpoints and exports"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="openvino,onnxruntime,torch", help="engines, with commas")
    parser.add_argument(
        "--runs", type=int, default=5, help="of each case, at most: as many as fit in 3 seconds"
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="measure the cases whose numbers come on standard input",
    )
    parser.add_argument("--isa", choices=LIMITS, help="limit everybody to this instruction set")
    options = parser.parse_args()
    os.environ.update(LIMITS.get(options.isa, {}))
    import torch

    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    make_checkpoints(options.work)
    engines = {
        "torch": lambda: torch_cases(options.work),
        "onnxruntime": lambda: onnxruntime_cases(options.work, options.threads),
        "openvino": lambda: openvino_cases(options.work, options.threads, options.isa),
    }
    cases = [case for engine in options.only.split(",") for case in engines[engine]()]
    numbers = range(len(cases))
    if options.serve:
        print(json.dumps([case.name for case in cases]), flush=True)
        numbers = map(int, sys.stdin)
    for number in numbers:
        print(json.dumps(cases[number].measure(options.runs)), flush=True)


if __name__ == "__main__":
    main()
