"""Small random BLIP checkpoints in every layout found in the wild, made with transformers.

Plain random weights say nothing: next-token logits are nearly uniform, attention averages
everything away and every picture gets the same text. The weights here are scaled so that attention
has favourites, texts follow the picture and end at different lengths. Values are representable in
the stored 16-bit type, so that reader and reference start from the same numbers.
"""

import json
import pathlib
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipTextConfig,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

ROOT = pathlib.Path(__file__).resolve().parents[2]
BERT_VOCAB = ROOT / "data/bert-base-uncased/vocab.txt"

WORDS = """a the of in on at and with is are there what how many where who which does it this that
to near under over behind picture photo cat dog bird horse cow sheep man woman boy girl people
person child car bus train boat bike plane street road house tree grass water beach sky snow sun
table chair bed kitchen room plate pizza cake apple banana red blue green white black yellow brown
small large big little young old two three four one five six sitting standing walking running riding
holding eating playing looking next side front top bottom left right colour color kite ball phone
clock umbrella hat shirt yes no not field park city night day""".split()
PIECES = [
    "##s",
    "##ing",
    "##ed",
    "##er",
    "##ly",
    "##es",
    "##y",
    "##al",
    "##en",
    "##le",
    "##man",
    "##board",
    "##light",
]


def small_vocabulary():
    """bert-base-uncased's own order, cut down; [DEC] and [ENC] last."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    wanted = {
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *PIECES,
        *letters,
        *("##" + c for c in letters),
        *"0123456789.,?!'-",
    }
    tokens = [t for t in BERT_VOCAB.read_text(encoding="utf-8").splitlines() if t in wanted]
    return tokens + ["[DEC]", "[ENC]"]


def full_vocabulary():
    return BERT_VOCAB.read_text(encoding="utf-8").splitlines() + ["[DEC]", "[ENC]"]


@dataclass
class Shape:
    kind: str  # caption, match, vqa
    layout: str  # safetensors, sharded, bin, pth
    seed: int
    dtype: str = "float16"  # of the stored values
    image: int = 48  # pixels a side the model runs at
    table: int = 0  # pixels a side its position table was trained at; 0 = image
    patch: int = 16
    vision_width: int = 48
    vision_layers: int = 2
    vision_heads: int = 4
    vision_mlp: int = 96
    text_width: int = 32
    text_layers: int = 2
    text_heads: int = 4
    text_mlp: int = 64
    embed: int = 24
    positions: int = 48
    vocabulary: str = "small"
    end_bias: float = 4.0  # added to [SEP]'s logit
    vision_eps: float = 1e-5


class Model:
    """A reference model and what its files say."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self.vocabulary = small_vocabulary() if shape.vocabulary == "small" else full_vocabulary()
        ids = {t: i for i, t in enumerate(self.vocabulary)}
        self.sep, self.dec, self.enc = ids["[SEP]"], ids["[DEC]"], ids["[ENC]"]
        torch.manual_seed(shape.seed)
        self.net = self._build().eval()
        self._randomize()
        self.tokenizer = BertTokenizer(vocab=ids, do_lower_case=True)
        self.processor = BlipImageProcessorPil(size={"height": shape.image, "width": shape.image})

    def _build(self):
        s = self.shape
        text = dict(
            hidden_size=s.text_width,
            intermediate_size=s.text_mlp,
            num_hidden_layers=s.text_layers,
            num_attention_heads=s.text_heads,
            vocab_size=len(self.vocabulary),
            max_position_embeddings=s.positions,
            bos_token_id=self.dec,
            sep_token_id=self.sep,
            eos_token_id=self.sep,
            pad_token_id=0,
            projection_dim=s.text_width,
        )
        config = BlipConfig(
            vision_config=dict(
                hidden_size=s.vision_width,
                intermediate_size=s.vision_mlp,
                num_hidden_layers=s.vision_layers,
                num_attention_heads=s.vision_heads,
                image_size=s.table or s.image,
                patch_size=s.patch,
                layer_norm_eps=s.vision_eps,
            ),
            text_config=text,
            image_text_hidden_size=s.embed,
        )
        kind = {
            "caption": BlipForConditionalGeneration,
            "match": BlipForImageTextRetrieval,
            "vqa": BlipForQuestionAnswering,
        }[s.kind]
        net = kind(config)
        if s.kind == "vqa" and s.text_width != s.vision_width:
            # transformers gives the answer decoder the vision width; it reads question states, so
            # the official code does not.
            decoder = BlipTextConfig(**text, encoder_hidden_size=s.text_width)
            net.text_decoder = BlipTextLMHeadModel(decoder)
        return net

    @torch.no_grad()
    def _randomize(self):
        dtype = getattr(torch, self.shape.dtype)
        for name, p in self.net.named_parameters():
            if p.ndim == 1:
                p.normal_(0, 0.1)
                if "orm" in name and name.endswith("weight"):
                    p.add_(1)
            elif "word_embeddings" in name:
                # Tied to the output: logits of standard deviation 2. Rows of one length, so that no
                # token wins everywhere.
                p.normal_().mul_(2 / p.norm(dim=1, keepdim=True))
            elif "position_embeddings" in name:
                # Above the words': what comes next depends on where.
                p.normal_(0, 6 / p.shape[1] ** 0.5)
            elif "embed" in name and "patch" not in name:
                p.normal_(0, 0.3)
            else:
                fan_in = p[0].numel()
                gain = 2.0 if any(k in name for k in ("query", "key", "qkv")) else 1.3
                if "output.dense" in name and "text" in name:
                    gain = 1.0 if "crossattention" in name else 2.5
                p.normal_(0, gain / fan_in**0.5)
        for name, p in self.net.named_parameters():
            if name.endswith("predictions.bias"):
                p[self.sep] += self.shape.end_bias
                p[: self.sep] -= 4  # [PAD], [UNK], [CLS] would only hide in the decoded text
                p[[self.dec, self.enc]] -= 4
            p.copy_(p.to(dtype).float())
        if hasattr(self.net, "tie_weights"):
            self.net.tie_weights()
        for decoder in (getattr(self.net, "text_decoder", None),):
            if decoder is not None:
                head = decoder.cls.predictions
                head.decoder.weight = decoder.bert.embeddings.word_embeddings.weight
                head.decoder.bias = head.bias

    # ---- files

    def _state(self):
        dtype = getattr(torch, self.shape.dtype)
        state = {}
        for k, v in self.net.state_dict().items():
            if k.endswith("predictions.decoder.weight") or k.endswith("predictions.decoder.bias"):
                continue  # tied
            state[k] = v.detach().to(dtype).clone() if v.is_floating_point() else v.clone()
        return state

    def save(self, folder):
        """Writes the checkpoint; returns what Engine::load is given, relative to folder."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        layout = self.shape.layout
        if self.shape.vocabulary == "small":
            (folder / "vocab.txt").write_text("\n".join(self.vocabulary) + "\n")
        if layout == "pth":
            state = official_names(self._state())
            torch.save(
                {"model": state, "config": {"image_size": self.shape.image}, "epoch": 1},
                folder / "model.pth",
            )
            return "model.pth"
        config = json.loads(self.net.config.to_json_string())
        config["architectures"] = [type(self.net).__name__]
        if self.shape.table:
            config["vision_config"]["image_size"] = self.shape.image
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        self.processor.save_pretrained(folder)
        state = self._state()
        if layout == "bin":
            torch.save(state, folder / "pytorch_model.bin")
        elif layout == "safetensors":
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            names = sorted(state)
            files = [f"model-{i + 1:05}-of-00003.safetensors" for i in range(3)]
            where = {name: files[i * 3 // len(names)] for i, name in enumerate(names)}
            for file in files:
                save_file(
                    {k: state[k] for k in names if where[k] == file},
                    folder / file,
                    metadata={"format": "pt"},
                )
            (folder / "model.safetensors.index.json").write_text(
                json.dumps({"metadata": {}, "weight_map": where}, indent=1)
            )
        return "."


def official_names(state):
    """transformers' tensor names -> those of salesforce/BLIP."""
    vision = {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "encoder.layers": "blocks",
        "self_attn.qkv": "attn.qkv",
        "self_attn.projection": "attn.proj",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "post_layernorm": "norm",
    }
    out = {}
    for name, tensor in state.items():
        if name.startswith("vision_model."):
            name = name.removeprefix("vision_model.")
            for theirs, official in vision.items():
                name = name.replace(theirs, official)
            name = "visual_encoder." + name
        out[name] = tensor
    return out


def describe(shape):
    return asdict(shape)
