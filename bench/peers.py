"""What one would run BLIP with instead of blip: transformers on torch, ONNX Runtime, OpenVINO. Prints a JSON line a figure.

    python peers.py --work work [--threads 2] [--only torch,onnxruntime,openvino] [--runs 5]

The checkpoints it measures are made at the first run: BLIP-base with random weights in work/{caption,itm,vqa}.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

TASKS = {"caption": ("BlipForConditionalGeneration", 384), "itm": ("BlipForImageTextRetrieval", 384), "vqa": ("BlipForQuestionAnswering", 480)}


class Meter:
    def __init__(self, runs):
        self.runs = runs

    def measure(self, engine, dtype, work, run):
        run()  # warm-up
        times = []
        for _ in range(self.runs):
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"engine": engine, "dtype": dtype, "work": work, "median_ms": round(statistics.median(times), 1)}), flush=True)


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

    return getattr(transformers, TASKS[name][0]).from_pretrained(work / name, **options).eval().to(dtype)


def measure_torch(meter, work):
    import torch

    torch.set_grad_enabled(False)
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        pixels = torch.randn(1, 3, 384, 384, dtype=dtype)
        model = load(work, "caption", dtype)
        meter.measure("torch", name, "vision 384", lambda: model.vision_model(pixels))
        prompt = torch.tensor([[30522, 1037, 3861, 1997, 102]])
        for beams, label in ((1, "caption, greedy to 20"), (3, "caption, 3 beams to 20")):
            meter.measure("torch", name, label, lambda: model.generate(
                pixel_values=pixels, input_ids=prompt, num_beams=beams, do_sample=False, min_length=20, max_length=20))
        model = load(work, "itm", dtype)
        texts, mask = torch.randint(1000, 30000, (10, 35)), torch.ones(10, 35, dtype=torch.long)
        meter.measure("torch", name, "match, 10 texts of 35", lambda: model(
            input_ids=texts, attention_mask=mask, pixel_values=pixels.expand(10, -1, -1, -1), use_itm_head=True))
        model = load(work, "vqa", dtype)
        large, question = torch.randn(1, 3, 480, 480, dtype=dtype), torch.randint(1000, 30000, (1, 10))
        meter.measure("torch", name, "ask, greedy to 10", lambda: model.generate(
            input_ids=question, attention_mask=torch.ones_like(question), pixel_values=large, num_beams=1, min_length=10, max_length=10))


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

        torch.onnx.export(Vision(), (torch.zeros(1, 3, 384, 384),), path, input_names=["pixels"], output_names=["tokens"], opset_version=17, dynamo=False)
    return path


def pictures(count):
    import numpy

    return [numpy.random.RandomState(i).randn(1, 3, 384, 384).astype("float32") for i in range(count)]


def measure_onnxruntime(meter, work, threads):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain, narrow = export_vision(work), work / "vision-int8.onnx"
    if not narrow.exists():
        quantize_dynamic(plain, narrow, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for dtype, path in (("f32", plain), ("int8", narrow)):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        meter.measure("onnxruntime", dtype, "vision 384", lambda: session.run(None, {"pixels": pictures(1)[0]}))


def measure_openvino(meter, work, threads):
    import nncf
    import openvino

    core = openvino.Core()
    model = core.read_model(export_vision(work))
    narrow = nncf.quantize(model, nncf.Dataset(pictures(4)), model_type=nncf.ModelType.TRANSFORMER, subset_size=4)
    for dtype, network in (("f32", model), ("bf16", model), ("int8", narrow)):
        settings = {"INFERENCE_PRECISION_HINT": "f32" if dtype == "f32" else "bf16", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(network, "CPU", settings).create_infer_request()
        pixels = pictures(1)[0]
        meter.measure("openvino", dtype, "vision 384", lambda: request.infer({0: pixels}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for checkpoints and exports")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="openvino,onnxruntime,torch", help="engines, with commas")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    make_checkpoints(options.work)
    meter = Meter(options.runs)
    engines = {"torch": lambda: measure_torch(meter, options.work),
               "onnxruntime": lambda: measure_onnxruntime(meter, options.work, options.threads),
               "openvino": lambda: measure_openvino(meter, options.work, options.threads)}
    for engine in options.only.split(","):
        engines[engine]()


if __name__ == "__main__":
    main()
