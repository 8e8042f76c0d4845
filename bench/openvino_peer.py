"""BLIP end to end on OpenVINO, written as well as its documentation allows; peers.py times it.

    python openvino_peer.py --work work [--dtype f32]    # its answers beside transformers'

The vision tower gives each layer's cross-attention keys and values, once a picture. The decoder
keeps its own keys and values as state inside the network, in the pattern that OpenVINO fuses
(ReadValue, Gather by `beam_idx`, Concat, scaled dot product), and picks its candidates there too,
so that no logits leave it. Beams and texts of one picture stand side by side in a query, so that
the picture's keys are neither copied nor read once a beam. int8 means what OpenVINO recommends:
the tower quantized with calibration, the weights of everything that decodes compressed. What runs
the networks is openvino_run.py, which needs no torch.
"""

import math
import pathlib

import arguments
import numpy
import openvino
import torch
from openvino import opset13 as ops
from openvino_run import Decoder, Runner, settings_of
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

BOS, SEP = 30522, 102


def heads_of(x, heads):
    """[N, T, width] to [N, heads, T, width / heads]."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def joined(x):
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


class Layer(nn.Module):
    """One layer of BLIP's text model around the weights of transformers' layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.heads = layer.attention.self.num_attention_heads

    def own(self, x):
        attention = self.layer.attention.self
        return (
            heads_of(part(x), self.heads)
            for part in (attention.query, attention.key, attention.value)
        )

    def cross_keys(self, tokens):
        attention = self.layer.crossattention.self
        return heads_of(attention.key(tokens), self.heads), heads_of(
            attention.value(tokens), self.heads
        )

    def after_own(self, attended, x, keys, values):
        """The rest of the layer. `keys` [pictures, heads, tokens, width / heads] serve the rows
        [pictures * n, length, width] of x, those of a picture side by side.
        """
        x = self.layer.attention.output(joined(attended), x)
        rows, length, width = x.shape
        cross = self.layer.crossattention
        query = heads_of(cross.self.query(x).reshape(keys.shape[0], -1, width), self.heads)
        attended = joined(scaled_dot_product_attention(query, keys, values))
        x = cross.output(attended.reshape(rows, length, width), x)
        return self.layer.output(self.layer.intermediate(x), x)


class Tower(nn.Module):
    """Pixels to image tokens or, with `text`, its cross-attention's keys and values of these."""

    def __init__(self, vision, text):
        super().__init__()
        self.vision = vision
        self.layers = nn.ModuleList(Layer(layer) for layer in (text.encoder.layer if text else ()))

    def forward(self, pixels):
        tokens = self.vision(pixels, return_dict=False)[0]
        if not self.layers:
            return tokens
        return tuple(x for layer in self.layers for x in layer.cross_keys(tokens))


class Encoder(nn.Module):
    """Whole texts, without padding: [CLS] states, or the keys and values of a decoder's layers."""

    def __init__(self, text, head=None, decoder=None):
        super().__init__()
        self.embeddings = text.embeddings
        self.layers = nn.ModuleList(Layer(layer) for layer in text.encoder.layer)
        self.head = head
        self.decoder = decoder and nn.ModuleList(Layer(layer) for layer in decoder.encoder.layer)

    def forward(self, ids, *cross):
        x = self.embeddings(input_ids=ids)
        for i, layer in enumerate(self.layers):
            attended = scaled_dot_product_attention(*layer.own(x))
            x = layer.after_own(attended, x, cross[2 * i], cross[2 * i + 1])
        if self.decoder is None:
            return self.head(x[:, 0])
        return tuple(y for layer in self.decoder for y in layer.cross_keys(x))


class Step(nn.Module):
    """Tokens behind those whose keys and values are in the cache: the best 2 x `beams` after."""

    def __init__(self, decoder, beams):
        super().__init__()
        self.embeddings = decoder.bert.embeddings
        self.layers = nn.ModuleList(Layer(layer) for layer in decoder.bert.encoder.layer)
        self.head = decoder.cls
        self.count = 1 if beams == 1 else 2 * beams

    def forward(self, ids, *rest):
        caches, cross = rest[: 2 * len(self.layers)], rest[2 * len(self.layers) :]
        past, length = caches[0].shape[2], ids.shape[1]
        at = torch.arange(length) + past
        mask = torch.where(torch.arange(length + past)[None, :] <= at[:, None], 0.0, -math.inf)
        mask = mask[None, None].expand(ids.shape[0], 1, -1, -1)
        x = self.embeddings(input_ids=ids, position_ids=at[None, :])
        grown = []
        for i, layer in enumerate(self.layers):
            query, key, value = layer.own(x)
            key, value = torch.cat([caches[2 * i], key], 2), torch.cat(
                [caches[2 * i + 1], value], 2
            )
            grown += [key, value]
            attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
            x = layer.after_own(attended, x, cross[2 * i], cross[2 * i + 1])
        logits = self.head(x[:, -1])
        # The works end at a length, not at [SEP]: it is refused, as min_length does.
        logits = torch.where(torch.arange(logits.shape[-1]) == SEP, -math.inf, logits)
        if self.count > 1:
            logits = torch.log_softmax(logits, -1)
        best = torch.topk(logits, self.count)
        return best.values, best.indices, *grown


def converted(module, inputs, names, shapes):
    with torch.no_grad():
        model = openvino.convert_model(
            module.eval(),
            example_input=tuple(inputs),
            input=[openvino.PartialShape(s) for s in shapes],
        )
    for port, name in zip(model.inputs, names):
        port.get_tensor().set_names({name})
    return model


def stateful(model, first, count):
    """Makes `count` inputs and outputs, from those numbers, state that moves with the beams."""
    beams = ops.parameter([-1], numpy.int32, name="beam_idx")
    beams.output(0).get_tensor().set_names({"beam_idx"})
    model.add_parameters([beams])
    pairs = {}
    for i in range(count):
        cache, grown = model.inputs[first + i], model.outputs[2 + i]
        name = f"cache.{i}"
        cache.get_tensor().set_names({name})
        grown.get_tensor().set_names({f"grown.{i}"})
        pairs[name] = f"grown.{i}"
        readers = list(cache.get_target_inputs())
        moved = ops.gather(cache, beams, ops.constant(0))
        for reader in readers:
            reader.replace_source_output(moved.output(0))
    model.validate_nodes_and_infer_types()
    from openvino._offline_transformations import apply_make_stateful_transformation

    apply_make_stateful_transformation(model, pairs)
    rows = ops.gather(ops.shape_of(model.input("ids"), "i64"), ops.constant([0]), ops.constant(0))
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            heads, width = (node.get_output_partial_shape(0)[i].get_length() for i in (1, 3))
            shape = ops.concat([rows, ops.constant(numpy.int64([heads, 0, width]))], 0)
            node.set_arguments([ops.broadcast(ops.constant(numpy.float32(0)), shape)])
    model.validate_nodes_and_infer_types()
    return model


def decoder_network(decoder, beams, compress):
    """Its inputs: ids, beam_idx and cross.0 .. of the picture; its outputs: candidates."""
    layers, config = len(decoder.bert.encoder.layer), decoder.config
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    cache, cross = [-1, heads, -1, width], [-1, heads, -1, width]
    caches = [torch.zeros(2, heads, 3, width)] * (2 * layers)
    keys = [torch.zeros(1, heads, 5, width)] * (2 * layers)
    names = ["ids"] + [f"cache.{i}" for i in range(2 * layers)]
    names += [f"cross.{i}" for i in range(2 * layers)]
    shapes = [[-1, -1]] + [cache] * (2 * layers) + [cross] * (2 * layers)
    ids = torch.zeros(2, 2, dtype=torch.int64)
    model = converted(Step(decoder, beams), [ids, *caches, *keys], names, shapes)
    return stateful(compress(model), 1, 2 * layers)


class Engine:
    """The five works in one number type, from transformers' models {task: model}."""

    def __init__(self, models, dtype, threads, isa):
        import nncf

        self.core = openvino.Core()
        self.settings = settings_of(dtype, threads, isa)
        self.int8 = dtype == "int8"
        self.compress = nncf.compress_weights if self.int8 else lambda model: model
        self.models = models
        self.built = {}

    def quantized(self, model, size):
        import nncf

        samples = [
            numpy.random.RandomState(i).randn(1, 3, size, size).astype("float32") for i in range(4)
        ]
        return nncf.quantize(
            model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=4
        )

    def get(self, key, build):
        if key not in self.built:
            self.built[key] = build()
        return self.built[key]

    def limited(self):
        """Does nothing that was compiled so far use AVX-512 or AMX?"""
        built = [getattr(item, "run", item) for item in self.built.values()]
        names = [name for item in built if isinstance(item, Runner) for name in item.kernels()]
        return not any(part in name for name in names for part in ("avx512", "amx"))

    def tower_network(self, task, size, text):
        module = Tower(self.models[task].vision_model, text)
        pixels = torch.zeros(1, 3, size, size)
        model = converted(module, [pixels], ["pixels"], [[-1, 3, size, size]])
        return self.quantized(model, size) if self.int8 else model

    def tower(self, task, shape, text=None):
        """For pixels of that shape: image tokens, or the keys and values of `text` of them."""

        def build():
            network = self.get(
                ("network", task, text is None),
                lambda: self.tower_network(task, shape[-1], text),
            )
            model = network.clone()
            model.reshape(list(shape))
            return Runner(self.core, model, self.settings)

        return self.get(("tower", task, shape, text is None), build)

    def keys(self, task, text, pixels):
        return list(self.tower(task, pixels.shape, text)({0: pixels}).values())

    def encoder(self, task, **parts):
        def build():
            text = self.models[task].text_encoder
            heads = text.config.num_attention_heads
            width = text.config.hidden_size // heads
            count = 2 * len(text.encoder.layer)
            names = ["ids"] + [f"cross.{i}" for i in range(count)]
            shapes = [[-1, -1]] + [[1, heads, -1, width]] * count
            keys = [torch.zeros(1, heads, 5, width)] * count
            inputs = [torch.zeros(2, 3, dtype=torch.int64), *keys]
            model = converted(Encoder(text, **parts), inputs, names, shapes)
            return Runner(self.core, self.compress(model), self.settings)

        return self.get(("encoder", task), build)

    def decoder(self, task, beams):
        text = self.models[task].text_decoder
        return self.get(
            ("decoder", task, beams),
            lambda: Decoder(
                Runner(self.core, decoder_network(text, beams, self.compress), self.settings),
                beams,
            ),
        )

    def caption(self, pixels, prompt, beams, length):
        keys = self.keys("caption", self.models["caption"].text_decoder.bert, pixels)
        return self.decoder("caption", beams)(prompt, keys, length)

    def match(self, pixels, ids):
        keys = self.keys("itm", self.models["itm"].text_encoder, pixels)
        run = self.encoder("itm", head=self.models["itm"].itm_head)
        return run({"ids": ids, **{f"cross.{i}": key for i, key in enumerate(keys)}})

    def ask(self, pixels, question, length):
        model = self.models["vqa"]
        keys = self.keys("vqa", model.text_encoder, pixels)
        run = self.encoder("vqa", decoder=model.text_decoder.bert)
        states = run({"ids": question, **{f"cross.{i}": key for i, key in enumerate(keys)}})
        return self.decoder("vqa", 1)([BOS], list(states.values()), length)


def values_of(result):
    """An engine's tokens, scores or ids as one array."""
    if isinstance(result, (list, torch.Tensor)):
        return numpy.asarray(result)
    return numpy.asarray(next(iter(result.values())))


def main():
    """How far its tokens, scores and ids are from transformers', and the largest of these, on the
    checkpoints that peers.py makes.
    """
    import argparse

    import peers

    parser = arguments.parser(main.__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=("f32", "bf16", "int8"), default="f32")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    models = {task: peers.load(options.work, task, torch.float32) for task in peers.TASKS}
    engine = Engine(models, options.dtype, 2, None)
    inputs = peers.Inputs(torch.float32)
    for name, reference, ours in (
        (
            "vision",
            peers.torch_vision(models, inputs.pixels),
            peers.openvino_vision(engine, inputs.pixels),
        ),
        *(
            (
                f"{beams} beams, {len(pixels)} pictures",
                peers.torch_caption(models, inputs, beams, pixels),
                peers.openvino_caption(engine, inputs, beams, pixels),
            )
            for beams, pixels in ((1, inputs.pixels), (3, inputs.pixels), (1, inputs.many))
        ),
        ("match", peers.torch_match(models, inputs), peers.openvino_match(engine, inputs)),
        ("ask", peers.torch_ask(models, inputs), peers.openvino_ask(engine, inputs)),
    ):
        expected, got = values_of(reference()), values_of(ours())
        print(f"{name}: {numpy.abs(expected - got).max():.3g} of {numpy.abs(expected).max():.3g}")


if __name__ == "__main__":
    main()
