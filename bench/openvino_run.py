"""Runs the networks that openvino_peer.py makes of BLIP, with OpenVINO and NumPy alone.

    python openvino_run.py --networks DIR --picture FILE [--dtype f32|bf16|int8] [--threads 2]

reads DIR/{tower,decoder}.xml, captions the picture with 20 tokens and prints their ids, as one
would in place of `blip caption`. footprint.py measures that.
"""

import pathlib

import numpy
import openvino

import arguments

PROMPT = [30522, 1037, 3861, 1997]


def settings_of(dtype, threads, isa=None):
    settings = {
        "INFERENCE_PRECISION_HINT": "f32" if dtype == "f32" or isa else "bf16",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if dtype == "f32":  # else the decoder's cache is of bytes, as is its default
        settings["KV_CACHE_PRECISION"] = "f32"
    return settings


class Runner:
    """A compiled network."""

    def __init__(self, core, model, settings):
        self.compiled = core.compile_model(model, "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def kernels(self):
        """The names of those that it chose, such as brgemm_avx512_amx."""
        nodes = self.compiled.get_runtime_model().get_ops()
        return [str(node.get_rt_info()["primitiveType"]) for node in nodes]

    def __call__(self, inputs):
        self.request.infer(inputs, share_inputs=True, share_outputs=True)
        return self.request.results


class Decoder:
    """Ids by openvino_peer.decoder_network, greedy or by beam search."""

    def __init__(self, run, beams):
        self.run, self.beams = run, beams

    def step(self, ids, moved, keys):
        out = self.run({"ids": ids, "beam_idx": moved, **keys})
        values, indices = (out[port] for port in self.run.compiled.outputs[:2])
        return values, indices

    def __call__(self, prompt, keys, length):
        """A prompt to ids of that length for each picture, by greedy or beam search (of one
        picture), without an early end.
        """
        rows = keys[0].shape[0]
        keys = {f"cross.{i}": key for i, key in enumerate(keys)}
        self.run.request.reset_state()
        ids, parents = numpy.int64([prompt] * rows), numpy.arange(rows, dtype="int32")
        values, indices = self.step(ids, parents, keys)
        if self.beams > 1:
            return self.search(ids, values, indices, keys, length)
        while True:
            ids = numpy.concatenate([ids, indices], 1)
            if ids.shape[1] == length:
                return ids.tolist()
            values, indices = self.step(indices.astype("int64"), parents, keys)

    def search(self, ids, values, indices, keys, length):
        beams = self.beams
        scores, new = values[0, :beams].copy(), indices[0, :beams].copy()
        parents = numpy.zeros(beams, "int32")
        while True:
            ids = numpy.concatenate([ids[parents], new[:, None]], 1)
            if ids.shape[1] == length:
                return [ids[scores.argmax()].tolist()]
            values, indices = self.step(new[:, None].astype("int64"), parents, keys)
            sums = (scores[:, None] + values).ravel()
            best = numpy.argsort(-sums, kind="stable")[:beams]
            parents = (best // values.shape[1]).astype("int32")
            scores, new = sums[best], indices.ravel()[best]


def pixels_of(path, size=384):
    """The picture as BLIP's processor hands it over: [1, 3, size, size]."""
    from PIL import Image

    picture = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    mean = numpy.float32([0.48145466, 0.4578275, 0.40821073])
    deviation = numpy.float32([0.26862954, 0.26130258, 0.27577711])
    values = (numpy.asarray(picture, numpy.float32) / 255 - mean) / deviation
    return values.transpose(2, 0, 1)[None].copy()


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--networks", type=pathlib.Path, required=True)
    parser.add_argument("--picture", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=("f32", "bf16", "int8"), default="f32")
    parser.add_argument("--threads", type=arguments.count, default=2)
    options = parser.parse_args()
    core, settings = openvino.Core(), settings_of(options.dtype, options.threads)
    tower, decoder = (
        Runner(core, core.read_model(options.networks / f"{name}.xml"), settings)
        for name in ("tower", "decoder")
    )
    keys = list(tower({0: pixels_of(options.picture)}).values())
    print(*Decoder(decoder, 1)(PROMPT, keys, 20)[0])


if __name__ == "__main__":
    main()
