"""A BLIP checkpoint of any layout as canonical tensors and sizes: what src/model/ does for the
program, in numpy.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import BuildError
from .tensor_files import read_any

BUNDLED_VOCABULARY = Path(__file__).resolve().parents[3] / "data/bert-base-uncased/vocab.txt"
DEC, ENC = "[DEC]", "[ENC]"
MODEL_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Part -> its name in an error message.
TEXT_PARTS = {
    "text": "text encoder",
    "caption": "caption decoder",
    "question": "question encoder",
    "answer": "answer decoder",
}
DECODERS = ("caption", "answer")

# Canonical name -> (transformers', salesforce/BLIP's); '#' is the layer.
VISION_NAMES = {
    "class_token": ("embeddings.class_embedding", "cls_token"),
    "position": ("embeddings.position_embedding", "pos_embed"),
    "patch.weight": ("embeddings.patch_embedding.weight", "patch_embed.proj.weight"),
    "patch.bias": ("embeddings.patch_embedding.bias", "patch_embed.proj.bias"),
    "norm.weight": ("post_layernorm.weight", "norm.weight"),
    "norm.bias": ("post_layernorm.bias", "norm.bias"),
}
VISION_LAYER_NAMES = {
    "norm1": ("layer_norm1", "norm1"),
    "qkv": ("self_attn.qkv", "attn.qkv"),
    "proj": ("self_attn.projection", "attn.proj"),
    "norm2": ("layer_norm2", "norm2"),
    "fc1": ("mlp.fc1", "mlp.fc1"),
    "fc2": ("mlp.fc2", "mlp.fc2"),
}
# Both layouts use BERT's names in the text towers.
TEXT_NAMES = {
    "word": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
TEXT_LAYER_NAMES = {
    "self.q": "attention.self.query",
    "self.k": "attention.self.key",
    "self.v": "attention.self.value",
    "self.out": "attention.output.dense",
    "self.norm": "attention.output.LayerNorm",
    "cross.q": "crossattention.self.query",
    "cross.k": "crossattention.self.key",
    "cross.v": "crossattention.self.value",
    "cross.out": "crossattention.output.dense",
    "cross.norm": "crossattention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "norm": "output.LayerNorm",
}
HEAD_NAMES = {
    "head.dense.weight": "transform.dense.weight",
    "head.dense.bias": "transform.dense.bias",
    "head.norm.weight": "transform.LayerNorm.weight",
    "head.norm.bias": "transform.LayerNorm.bias",
    "head.weight": "decoder.weight",  # absent where it is tied to the word embeddings
    "head.bias": "bias",
}


@dataclass
class VisionSizes:
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    eps: float

    @property
    def tokens(self):
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclass
class TextSizes:
    width: int
    layers: int
    heads: int
    positions: int
    vocab: int
    eps: float


@dataclass
class Checkpoint:
    name: str
    vision: VisionSizes
    text: dict  # part -> TextSizes
    tensors: dict  # canonical name -> array
    vocabulary: list
    embed_dim: int = 0
    has_itm: bool = False
    max_text: int = 35
    prompt: str = ""
    mean: list = field(default_factory=lambda: [0.48145466, 0.4578275, 0.40821073])
    std: list = field(default_factory=lambda: [0.26862954, 0.26130258, 0.27577711])

    def values(self, name):
        return np.ascontiguousarray(self.tensors[name], dtype=np.float32)

    @property
    def tasks(self):
        tasks = ["caption"] if "caption" in self.text else []
        tasks += ["itm"] if self.has_itm else []
        tasks += ["itc"] if self.embed_dim else []
        return tasks + (["ask"] if "answer" in self.text else [])

    def digest(self):
        """See NETWORKS.md: the same for every layout of the same weights."""
        total = hashlib.sha256()
        for name in sorted(self.tensors, key=str.encode):
            values = self.values(name)
            total.update(name.encode() + b"\0" + "x".join(map(str, values.shape)).encode() + b"\0")
            total.update(values.astype("<f4", copy=False).data)
        return total.hexdigest()


# ---- finding the files


def _model_file(path):
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise BuildError(f"no such file or folder: {path}")
        return path
    for name in MODEL_FILES:
        if (path / name).is_file():
            return path / name
    for extension in (".gguf", ".pth", ".safetensors"):
        found = sorted(path.glob(f"*{extension}"))
        if len(found) == 1:
            return found[0]
        if found:
            raise BuildError(f"{path} holds {len(found)} {extension} files; name the one to use")
    raise BuildError(
        f"{path}: no model here; looked for {', '.join(MODEL_FILES)} and one .gguf, .pth or "
        ".safetensors file"
    )


def _load_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BuildError(f"{path}: not valid JSON: {error}") from error


def _check_tokenizer(folder):
    """A compiled folder keeps the tokens alone: what else a tokenizer may be told has to be BERT's
    own.
    """
    config = (
        _load_json(folder / "tokenizer_config.json")
        if (folder / "tokenizer_config.json").is_file()
        else {}
    )
    whole = _load_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else {}
    normalizer = whole.get("normalizer") or {}
    for place, keys, name, expected in (
        ("tokenizer_config.json", config, "do_lower_case", True),
        ("tokenizer_config.json", config, "strip_accents", True),
        ("tokenizer_config.json", config, "tokenize_chinese_chars", True),
        ("tokenizer.json", normalizer, "lowercase", True),
        ("tokenizer.json", normalizer, "strip_accents", True),
        ("tokenizer.json", normalizer, "handle_chinese_chars", True),
    ):
        if keys.get(name) not in (None, expected):
            raise BuildError(
                f"{folder / place}: {name} is {json.dumps(keys[name])}; only uncased tokenizers "
                "can be compiled"
            )
    usual = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", DEC, ENC}
    added = [entry["content"] for entry in whole.get("added_tokens", [])]
    added += [entry["content"] for entry in config.get("added_tokens_decoder", {}).values()]
    if (folder / "added_tokens.json").is_file():
        added += list(_load_json(folder / "added_tokens.json"))
    other = sorted(set(added) - usual)
    if other:
        raise BuildError(
            f"{folder}: the added token {other[0]} is matched whole, which a compiled folder "
            "cannot say; compile a model without added tokens"
        )


def _vocabulary(folder):
    _check_tokenizer(folder)
    if (folder / "vocab.txt").is_file():
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    elif (folder / "tokenizer.json").is_file():
        by_token = _load_json(folder / "tokenizer.json")
        ids = {token: i for token, i in by_token["model"]["vocab"].items()}
        ids.update({entry["content"]: entry["id"] for entry in by_token.get("added_tokens", [])})
        tokens = sorted(ids, key=ids.get)
        if [ids[token] for token in tokens] != list(range(len(tokens))):
            raise BuildError(f"{folder / 'tokenizer.json'}: the ids of its tokens have gaps")
    else:
        tokens = BUNDLED_VOCABULARY.read_text(encoding="utf-8").splitlines()
    return _with_special(tokens)


def _with_special(tokens):
    """[DEC] and [ENC] come behind what is there, as the official code adds them."""
    return tokens + [token for token in (DEC, ENC) if token not in tokens]


# ---- layouts of torch checkpoints


def _strip_wrappers(tensors):
    for wrapper in ("model.", "state_dict.", "module."):
        if any(
            name.startswith(
                (wrapper + "visual_encoder.", wrapper + "vision_model.", wrapper + "module.")
            )
            for name in tensors
        ):
            tensors = {
                name[len(wrapper) :]: value
                for name, value in tensors.items()
                if name.startswith(wrapper)
            }
    return tensors


class _Layout:
    """Where each part lies in the tensors of a checkpoint."""

    def __init__(self, tensors, where):
        self.tensors, self.where = tensors, where
        has = lambda prefix: any(name.startswith(prefix + ".") for name in tensors)
        self.hugging_face = has("vision_model")
        if not self.hugging_face and not has("visual_encoder"):
            raise BuildError(
                f"{where}: not a BLIP checkpoint: no tensors named vision_model.* or "
                "visual_encoder.*"
            )
        if has("text_model"):
            raise BuildError(
                f"{where}: transformers' BlipModel has no captioning, matching or "
                "question-answering head"
            )
        self.itm, self.itc = has("itm_head"), has("vision_proj")
        encoder, decoder = has("text_encoder"), has("text_decoder")
        # The layout with all towers over one vision tower.
        named = has("question_encoder") or has("answer_decoder")
        vqa = encoder and decoder and not (self.itm or self.itc or named)
        self.prefixes = {}
        if encoder:
            self.prefixes["question" if vqa else "text"] = "text_encoder"
        if decoder:
            self.prefixes["answer" if vqa else "caption"] = "text_decoder"
        for part, prefix in (("question", "question_encoder"), ("answer", "answer_decoder")):
            if has(prefix):
                self.prefixes[part] = prefix

    def take(self, name, rank=None):
        if name not in self.tensors:
            raise BuildError(f"{self.where}: tensor {name} is missing")
        value = self.tensors[name]
        while rank is not None and value.ndim > rank and value.shape[0] == 1:
            value = value[0]
        return value

    def layers(self, prefix):
        numbers = [
            name[len(prefix) :].split(".", 1)[0] for name in self.tensors if name.startswith(prefix)
        ]
        return 1 + max((int(n) for n in numbers if n.isdigit()), default=-1)

    def vision(self):
        side = 0 if self.hugging_face else 1
        prefix = "vision_model." if self.hugging_face else "visual_encoder."
        ranks = {"class_token": 1, "position": 2, "patch.weight": 4}
        out = {
            f"vision.{name}": self.take(prefix + names[side], ranks.get(name))
            for name, names in VISION_NAMES.items()
        }
        blocks = prefix + ("encoder.layers." if self.hugging_face else "blocks.")
        for layer in range(self.layers(blocks)):
            for name, names in VISION_LAYER_NAMES.items():
                for kind in ("weight", "bias"):
                    out[f"vision.{layer}.{name}.{kind}"] = self.take(
                        f"{blocks}{layer}.{names[side]}.{kind}"
                    )
        return out

    def text(self, part):
        tower = self.prefixes[part] + "."
        bert = tower + ("bert." if part in DECODERS else "")
        head = tower + "cls.predictions."
        out = {
            f"{part}.{name}": self.tensors.get(bert + theirs) for name, theirs in TEXT_NAMES.items()
        }
        if part in DECODERS and out[f"{part}.word"] is None:  # tied: saved under the other name
            out[f"{part}.word"] = self.take(head + "decoder.weight")
        for name, theirs in TEXT_NAMES.items():
            if out[f"{part}.{name}"] is None:
                self.take(bert + theirs)
        for layer in range(self.layers(f"{bert}encoder.layer.")):
            for name, theirs in TEXT_LAYER_NAMES.items():
                for kind in ("weight", "bias"):
                    out[f"{part}.{layer}.{name}.{kind}"] = self.take(
                        f"{bert}encoder.layer.{layer}.{theirs}.{kind}"
                    )
        if part in DECODERS:
            self._head(part, head, out)
        return out

    def _head(self, part, head, out):
        for name, theirs in HEAD_NAMES.items():
            if name == "head.weight":
                untied = self.tensors.get(head + theirs)
                if untied is not None and not np.array_equal(untied, out[f"{part}.word"]):
                    out[f"{part}.head.weight"] = untied
            elif name == "head.bias" and head + "decoder.bias" in self.tensors:
                out[f"{part}.head.bias"] = self.tensors[head + "decoder.bias"]
            else:
                out[f"{part}.{name}"] = self.take(head + theirs)

    def heads(self):
        out = {}
        for canonical, theirs in (
            ("itm", "itm_head"),
            ("itc.vision", "vision_proj"),
            ("itc.text", "text_proj"),
        ):
            if self.itm if canonical == "itm" else self.itc:
                for kind in ("weight", "bias"):
                    out[f"{canonical}.{kind}"] = self.take(f"{theirs}.{kind}")
        return out


def _read_settings(folder, model_file):
    config = folder / "config.json"
    if not config.is_file():
        raise BuildError(
            f"{config} is missing; {model_file} has transformers' tensor names, and such a model "
            "needs it"
        )
    settings = _load_json(config)
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            settings["preprocessor"] = _load_json(folder / name)
            settings["preprocessor"] = settings["preprocessor"].get(
                "image_processor", settings["preprocessor"]
            )
            break
    return settings


def _square(value):
    if isinstance(value, dict):
        value = [value["height"], value["width"]]
    if isinstance(value, list):
        if value[0] != value[1]:
            raise BuildError(
                f"images of {value[0]} x {value[1]} pixels are not supported: expected a square"
            )
        value = value[0]
    return value


def _table_side(table):
    return math.isqrt(table.shape[0] - 1)


def _from_layout(path, tensors, name):
    layout = _Layout(_strip_wrappers(tensors), path)
    settings = _read_settings(path.parent, path) if layout.hugging_face else {}
    vision_settings, text_settings = settings.get("vision_config", {}), settings.get(
        "text_config", {}
    )
    canonical = layout.vision()
    width, patch = (
        canonical["vision.patch.weight"].shape[0],
        canonical["vision.patch.weight"].shape[-1],
    )
    processor = settings.get("preprocessor", {})
    size = _square(
        processor.get("size")
        or vision_settings.get("image_size")
        or _table_side(canonical["vision.position"]) * patch
    )
    official_heads = lambda w: max(1, w // 64)
    vision = VisionSizes(
        size,
        patch,
        width,
        _count_layers(canonical, "vision"),
        (
            vision_settings.get("num_attention_heads", 12)
            if layout.hugging_face
            else official_heads(width)
        ),
        vision_settings.get("layer_norm_eps", 1e-5 if layout.hugging_face else 1e-6),
    )
    text = {}
    for part in layout.prefixes:
        canonical.update(layout.text(part))
        vocab, text_width = canonical[f"{part}.word"].shape
        text[part] = TextSizes(
            text_width,
            _count_layers(canonical, part),
            (
                text_settings.get("num_attention_heads", 8)
                if layout.hugging_face
                else official_heads(text_width)
            ),
            canonical[f"{part}.position"].shape[0],
            vocab,
            text_settings.get("layer_norm_eps", 1e-12),
        )
    canonical.update(layout.heads())
    checkpoint = Checkpoint(
        name,
        vision,
        text,
        canonical,
        _vocabulary(path.parent),
        has_itm=layout.itm,
        embed_dim=canonical["itc.vision.bias"].shape[0] if layout.itc else 0,
        max_text=settings.get("max_text", Checkpoint.max_text),
        prompt=settings.get("prompt", ""),
    )
    if processor.get("do_normalize", True):
        checkpoint.mean, checkpoint.std = processor.get(
            "image_mean", checkpoint.mean
        ), processor.get("image_std", checkpoint.std)
    else:
        checkpoint.mean, checkpoint.std = [0, 0, 0], [1, 1, 1]
    return checkpoint


# ---- our own files


def _from_gguf(path, tensors, data):
    get = lambda key: data[f"blip.{key}"]
    try:
        vision = VisionSizes(
            get("vision.image_size"),
            get("vision.patch_size"),
            get("vision.embedding_length"),
            get("vision.block_count"),
            get("vision.attention.head_count"),
            get("vision.attention.layer_norm_epsilon"),
        )
        text = {
            part: TextSizes(
                get(f"{part}.embedding_length"),
                get(f"{part}.block_count"),
                get(f"{part}.attention.head_count"),
                get(f"{part}.context_length"),
                get(f"{part}.vocab_size"),
                get(f"{part}.attention.layer_norm_epsilon"),
            )
            for part in TEXT_PARTS
            if f"blip.{part}.block_count" in data
        }
        return Checkpoint(
            data.get("general.name") or path.stem,
            vision,
            text,
            tensors,
            data["tokenizer.ggml.tokens"],
            get("itc_length"),
            get("itm_head"),
            get("max_text_length"),
            get("prompt"),
            get("vision.image_mean"),
            get("vision.image_std"),
        )
    except KeyError as error:
        raise BuildError(
            f"{path}: the key {error} is missing; is this a GGUF file written by `blip convert`?"
        ) from error


# ---- the whole


def _count_layers(tensors, part):
    return 1 + max(
        (
            int(name.split(".")[1])
            for name in tensors
            if name.startswith(part + ".") and name.split(".")[1].isdigit()
        ),
        default=-1,
    )


def expected_shapes(c):
    """Every tensor of a checkpoint of these sizes."""
    v, d = c.vision, c.vision.width
    mlp = c.tensors["vision.0.fc1.weight"].shape[0]
    linear = lambda name, out, into: {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    norm = lambda name, width: {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    shapes = {
        "vision.class_token": (d,),
        "vision.position": (v.tokens, d),
        "vision.patch.weight": (d, 3, v.patch_size, v.patch_size),
        "vision.patch.bias": (d,),
        **norm("vision.norm", d),
    }
    for i in range(v.layers):
        at = f"vision.{i}."
        shapes |= {
            **norm(at + "norm1", d),
            **linear(at + "qkv", 3 * d, d),
            **linear(at + "proj", d, d),
            **norm(at + "norm2", d),
            **linear(at + "fc1", mlp, d),
            **linear(at + "fc2", d, mlp),
        }
    for part, t in c.text.items():
        w, cross = t.width, d if part != "answer" else c.text["question"].width
        mlp = c.tensors[f"{part}.0.fc1.weight"].shape[0]
        shapes |= {
            f"{part}.word": (t.vocab, w),
            f"{part}.position": (t.positions, w),
            **norm(f"{part}.norm", w),
        }
        for i in range(t.layers):
            at = f"{part}.{i}."
            for kind, width in (("self", w), ("cross", cross)):
                shapes |= {
                    **linear(at + kind + ".q", w, w),
                    **linear(at + kind + ".k", w, width),
                    **linear(at + kind + ".v", w, width),
                    **linear(at + kind + ".out", w, w),
                    **norm(at + kind + ".norm", w),
                }
            shapes |= {
                **linear(at + "fc1", mlp, w),
                **linear(at + "fc2", w, mlp),
                **norm(at + "norm", w),
            }
        if part in DECODERS:
            shapes |= {
                **linear(f"{part}.head.dense", w, w),
                **norm(f"{part}.head.norm", w),
                f"{part}.head.bias": (t.vocab,),
            }
            if f"{part}.head.weight" in c.tensors:
                shapes[f"{part}.head.weight"] = (t.vocab, w)
    if c.has_itm:
        shapes |= linear("itm", 2, c.text["text"].width)
    if c.embed_dim:
        shapes |= {
            **linear("itc.vision", c.embed_dim, d),
            **linear("itc.text", c.embed_dim, c.text["text"].width),
        }
    return shapes


def _check(c, path):
    if not c.text:
        raise BuildError(f"{path}: no text tower")
    if ("answer" in c.text) != ("question" in c.text):
        raise BuildError(
            f"{path}: question answering needs both its question encoder and its answer decoder"
        )
    if (c.has_itm or c.embed_dim) and "text" not in c.text:
        raise BuildError(f"{path}: matching heads without a text encoder")
    for part, sizes in [("vision", c.vision), *c.text.items()]:
        if sizes.layers < 1 or sizes.width % sizes.heads:
            raise BuildError(
                f"{path}: the {part} tower has {sizes.layers} layers, width {sizes.width} and "
                f"{sizes.heads} heads"
            )
    shapes = expected_shapes(c)
    for name, shape in shapes.items():
        if name not in c.tensors:
            raise BuildError(f"{path}: tensor {name} is missing; expected shape {list(shape)}")
        got = c.tensors[name].shape
        if tuple(got) != tuple(shape):
            raise BuildError(
                f"{path}: tensor {name}: expected shape {list(shape)}, got {list(got)}"
            )
    c.tensors = {name: c.tensors[name] for name in shapes}
    for part, sizes in c.text.items():
        if len(c.vocabulary) > sizes.vocab:
            raise BuildError(
                f"{path}: the vocabulary has {len(c.vocabulary)} tokens, the {TEXT_PARTS[part]} "
                f"{sizes.vocab}; "
                "put the model's own vocab.txt beside it"
            )
        if part not in DECODERS:
            c.max_text = min(c.max_text, sizes.positions)


def _cubic(x):
    """Weights of the four neighbours at distance x behind the second: cubic convolution with a =
    -0.75, as torch's.
    """
    a = -0.75
    near = lambda t: ((a + 2) * t - (a + 3)) * t * t + 1
    far = lambda t: ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.array([far(x + 1), near(x), near(1 - x), far(2 - x)])


def _resize_matrix(before, after):
    matrix = np.zeros((after, before))
    for i in range(after):
        at = (i + 0.5) * before / after - 0.5
        base = math.floor(at)
        for k, weight in enumerate(_cubic(at - base)):
            matrix[i, min(max(base - 1 + k, 0), before - 1)] += weight
    return matrix


def _fit_positions(c):
    """A table trained at another image size is interpolated (bicubic); the class token's row
    stays.
    """
    table = np.asarray(c.tensors["vision.position"])
    if table.ndim != 2 or table.shape[0] == c.vision.tokens:
        return
    before, after = _table_side(table), c.vision.image_size // c.vision.patch_size
    if before * before + 1 != table.shape[0]:
        raise BuildError(
            f"the position table has {table.shape[0]} rows, which are not a square and one"
        )
    m = _resize_matrix(before, after)
    grid = table[1:].astype(np.float64).reshape(before, before, -1)
    grid = np.einsum("yi,xj,ijc->yxc", m, m, grid).reshape(after * after, -1)
    c.tensors["vision.position"] = np.concatenate([table[:1], grid]).astype(np.float32)


def open_checkpoint(path):
    """Folder, .safetensors, .bin, .pth or .gguf. Raises BuildError for what is no whole BLIP."""
    given, path = Path(path), _model_file(path)
    tensors, metadata = read_any(path)
    if any(n.startswith("nlvr.") or ".crossattention.self0." in n for n in tensors):
        raise BuildError(
            f"{path}: a BLIP-NLVR, which judges statements about two pictures, is not compiled for "
            "chips; it runs on the CPU"
        )
    name = given.resolve().name if given.is_dir() else path.stem
    c = (
        _from_gguf(path, tensors, metadata)
        if metadata is not None
        else _from_layout(path, tensors, name)
    )
    _fit_positions(c)
    _check(c, path)
    return c


def merge(checkpoints):
    """One model of several checkpoints with the same vision tower and vocabulary."""
    first = checkpoints[0]
    for other in checkpoints[1:]:
        for name in (
            n for n in other.tensors if n.startswith("vision.") or n.startswith("itc.vision")
        ):
            if name in first.tensors and not np.array_equal(
                first.tensors[name], other.tensors[name]
            ):
                raise BuildError(
                    f"{first.name} and {other.name} have different vision towers ({name} differs): "
                    "build a folder for each"
                )
        if (
            first.vocabulary != other.vocabulary
            or first.vision != other.vision
            or (first.mean, first.std) != (other.mean, other.std)
        ):
            raise BuildError(
                f"{first.name} and {other.name} have different vocabularies or images: build a "
                "folder for each"
            )
        both = sorted(set(first.text) & set(other.text))
        if both:
            raise BuildError(
                f"{first.name} and {other.name} both have a {TEXT_PARTS[both[0]]}: build a folder "
                "for each"
            )
        first.tensors |= other.tensors
        first.text |= other.text
        first.name += "+" + other.name
        first.has_itm |= other.has_itm
        first.embed_dim = first.embed_dim or other.embed_dim
        first.max_text = min(first.max_text, other.max_text)
        first.prompt = first.prompt or other.prompt
    return first
