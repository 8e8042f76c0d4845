"""What one would run BLIP with instead of blip: transformers on torch, ONNX Runtime, OpenVINO.
Prints a JSON line a figure.

    python peers.py --work work [--threads 2] [--only torch,onnxruntime,openvino] [--runs 5]

With --isa avx2 they are limited to that instruction set as far as they let themselves: a case's
`limit` says whether it took.

With --serve it prints a line that lists its cases, then takes the number of a case a line on
standard input and answers with its figure, so that compare.py can measure everybody in turn. The
checkpoints are made at the first run: BLIP-base with random weights in work/{caption,itm,vqa}.
"""

import json
import os
import pathlib
import statistics
import sys
import time
import warnings

import arguments

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
    """A work of an engine: run() does it once; limited() says of what ran whether --isa took."""

    def __init__(self, engine, dtype, work, run, limited=lambda: False):
        self.name = {"engine": engine, "dtype": dtype, "work": work}
        self.run = run
        self.limited = limited
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
        figures = {"limited": self.limited(), "median_ms": round(statistics.median(times), 1)}
        return {**self.name, **figures}


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


class Inputs:
    """What every engine is given: pictures of both sizes, a prompt, ten texts, a question."""

    def __init__(self, dtype):
        import torch

        torch.manual_seed(1)
        self.many = torch.randn(8, 3, 384, 384).to(dtype)
        self.pixels, self.large = self.many[:1], torch.randn(1, 3, 480, 480).to(dtype)
        self.prompt = torch.tensor([[30522, 1037, 3861, 1997, 102]])
        self.texts = torch.randint(1000, 30000, (10, 35))
        self.question = torch.randint(1000, 30000, (1, 10))


def torch_vision(models, pixels):
    return lambda: models["caption"].vision_model(pixels)


def torch_caption(models, inputs, beams, pixels):
    return lambda: models["caption"].generate(
        pixel_values=pixels,
        input_ids=inputs.prompt.expand(len(pixels), -1),
        num_beams=beams,
        do_sample=False,
        min_length=20,
        max_length=20,
    )


def torch_match(models, inputs):
    return lambda: models["itm"](
        input_ids=inputs.texts,
        attention_mask=inputs.texts.new_ones(inputs.texts.shape),
        pixel_values=inputs.pixels.expand(len(inputs.texts), -1, -1, -1),
        use_itm_head=True,
    )[0]


def torch_ask(models, inputs):
    return lambda: models["vqa"].generate(
        input_ids=inputs.question,
        attention_mask=inputs.question.new_ones(inputs.question.shape),
        pixel_values=inputs.large,
        num_beams=1,
        min_length=10,
        max_length=10,
    )


def torch_cases(work):
    import torch

    torch.set_grad_enabled(False)
    limited = lambda: torch.backends.cpu.get_cpu_capability() == "AVX2"  # noqa: E731
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        models = {task: load(work, task, dtype) for task in TASKS}
        inputs = Inputs(dtype)
        for title, run in (
            ("vision 384", torch_vision(models, inputs.pixels)),
            ("vision 384, 8 pictures", torch_vision(models, inputs.many)),
            ("caption, greedy to 20", torch_caption(models, inputs, 1, inputs.pixels)),
            ("caption, greedy to 20, 8 pictures", torch_caption(models, inputs, 1, inputs.many)),
            ("caption, 3 beams to 20", torch_caption(models, inputs, 3, inputs.pixels)),
            ("match, 10 texts of 35", torch_match(models, inputs)),
            ("ask, greedy to 10", torch_ask(models, inputs)),
        ):
            yield Case("torch", name, title, run, limited)


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


def openvino_vision(engine, pixels):
    pixels = pixels.numpy()
    return lambda: engine.tower("caption", pixels.shape)({0: pixels})


def openvino_caption(engine, inputs, beams, pixels):
    pixels, prompt = pixels.numpy(), inputs.prompt[0, :-1].tolist()
    return lambda: engine.caption(pixels, prompt, beams, 20)


def openvino_match(engine, inputs):
    pixels, texts = inputs.pixels.numpy(), inputs.texts.numpy()
    return lambda: engine.match(pixels, texts)


def openvino_ask(engine, inputs):
    pixels, question = inputs.large.numpy(), inputs.question.numpy()
    return lambda: engine.ask(pixels, question, 10)


def openvino_cases(work, threads, isa):
    import torch

    from openvino_peer import Engine

    torch.set_grad_enabled(False)
    models = {task: load(work, task, torch.float32) for task in TASKS}
    inputs = Inputs(torch.float32)
    # Its softmax in bfloat16 is there with AVX-512 alone.
    for dtype in ("f32", "int8") if isa else ("f32", "bf16", "int8"):
        engine = Engine(models, dtype, threads, isa)
        for title, run in (
            ("vision 384", openvino_vision(engine, inputs.pixels)),
            ("vision 384, 8 pictures", openvino_vision(engine, inputs.many)),
            ("caption, greedy to 20", openvino_caption(engine, inputs, 1, inputs.pixels)),
            ("caption, greedy to 20, 8 pictures", openvino_caption(engine, inputs, 1, inputs.many)),
            ("caption, 3 beams to 20", openvino_caption(engine, inputs, 3, inputs.pixels)),
            ("match, 10 texts of 35", openvino_match(engine, inputs)),
            ("ask, greedy to 10", openvino_ask(engine, inputs)),
        ):
            yield Case("openvino", dtype, title, run, engine.limited)


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument(
        "--work", type=pathlib.Path, required=True, help="folder for checkpoints and exports"
    )
    parser.add_argument("--threads", type=arguments.count, default=len(os.sched_getaffinity(0)))
    arguments.add_peers(parser)
    parser.add_argument(
        "--runs",
        type=arguments.count,
        default=5,
        help="of each case, at most: as many as fit in 3 seconds",
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
    cases = [case for engine in options.only for case in engines[engine]()]
    numbers = range(len(cases))
    if options.serve:
        print(json.dumps([case.name for case in cases]), flush=True)
        numbers = map(int, sys.stdin)
    for number in numbers:
        print(json.dumps(cases[number].measure(options.runs)), flush=True)


if __name__ == "__main__":
    main()
