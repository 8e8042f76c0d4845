"""A small BLIP in PyTorch: one vision tower, four text roles.

While training, the roles share weights as BLIP's pre-training does: embeddings, cross-attention and
feed-forward are common, the caption decoder has self-attention of its own; questions and match
texts use the very same encoder. The answer decoder looks at the question's states, so its layers
are separate. export.py writes every role out as a full tower.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import vocab
from texts import PROMPT

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class Config:
    image_size: int = 128
    patch_size: int = 16
    width: int = 192
    heads: int = 3
    mlp: int = 768
    vision_layers: int = 6
    text_layers: int = 3
    positions: int = 64
    projection: int = 128
    vocab_size: int = len(vocab.TOKENS)

    @property
    def patches(self):
        return (self.image_size // self.patch_size) ** 2


def attend(q, k, v, heads, mask=None, causal=False):
    """softmax(q kT / sqrt(d)) v over [B, N, D] tensors; mask [B, Nq, Nk] is True where a query may
    look.
    """
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    # Written out: at these sizes PyTorch's fused attention spends twice the time, nearly all of it
    # going backward.
    scores = q @ (k * q.shape[-1] ** -0.5).transpose(-1, -2)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()[None]
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -1e4)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class VisionLayer(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.norm1, self.norm2 = nn.LayerNorm(c.width, eps=1e-6), nn.LayerNorm(c.width, eps=1e-6)
        self.qkv, self.projection = nn.Linear(c.width, 3 * c.width), nn.Linear(c.width, c.width)
        self.fc1, self.fc2 = nn.Linear(c.width, c.mlp), nn.Linear(c.mlp, c.width)

    def forward(self, x):  # [B, N, D]
        x = x + self.projection(attend(*self.qkv(self.norm1(x)).chunk(3, -1), self.heads))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.patch = c.patch_size
        # The patch convolution, written as a matrix.
        self.embed = nn.Linear(3 * c.patch_size**2, c.width)
        self.cls = nn.Parameter(torch.zeros(c.width))
        self.position = nn.Parameter(torch.zeros(c.patches + 1, c.width))
        self.layers = nn.ModuleList(VisionLayer(c) for _ in range(c.vision_layers))
        self.norm = nn.LayerNorm(c.width, eps=1e-6)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pixels):  # uint8 [B, H, W, 3] -> [B, 1 + patches, D]
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        b, _, h, w = x.shape
        p = self.patch
        x = x.view(b, 3, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 3 * p * p)
        x = torch.cat([self.cls.expand(b, 1, -1), self.embed(x)], 1) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Attention(nn.Module):
    """BERT's post-norm attention block, over itself or over other states."""

    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.query, self.key, self.value, self.dense = (
            nn.Linear(c.width, c.width) for _ in range(4)
        )
        self.norm = nn.LayerNorm(c.width, eps=1e-12)

    def forward(self, x, states, mask=None, causal=False):
        out = attend(self.query(x), self.key(states), self.value(states), self.heads, mask, causal)
        return self.norm(x + self.dense(out))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.up, self.down = nn.Linear(c.width, c.mlp), nn.Linear(c.mlp, c.width)
        self.norm = nn.LayerNorm(c.width, eps=1e-12)

    def forward(self, x):
        return self.norm(x + self.down(F.gelu(self.up(x))))


class Embeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word, self.position = nn.Embedding(c.vocab_size, c.width), nn.Embedding(
            c.positions, c.width
        )
        self.norm = nn.LayerNorm(c.width, eps=1e-12)

    def forward(self, ids, positions=None):
        where = torch.arange(ids.shape[1], device=ids.device) if positions is None else positions
        return self.norm(self.word(ids) + self.position(where))


class WordHead(nn.Module):
    """BERT's LM head; the output matrix is the word embedding."""

    def __init__(self, c):
        super().__init__()
        self.dense, self.norm = nn.Linear(c.width, c.width), nn.LayerNorm(c.width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size))

    def forward(self, x, words):
        return F.linear(self.norm(F.gelu(self.dense(x))), words, self.bias)


class Blip(nn.Module):
    def __init__(self, config=None):
        super().__init__()
        c = self.config = config or Config()
        stack = lambda block: nn.ModuleList(block(c) for _ in range(c.text_layers))
        self.vision, self.embeddings = Vision(c), Embeddings(c)
        self.encoder_self, self.decoder_self = stack(Attention), stack(Attention)
        self.cross, self.feed = stack(Attention), stack(FeedForward)
        self.answer_self, self.answer_cross, self.answer_feed = (
            stack(Attention),
            stack(Attention),
            stack(FeedForward),
        )
        self.caption_head, self.answer_head = WordHead(c), WordHead(c)
        self.itm_head = nn.Linear(c.width, 2)
        self.vision_proj, self.text_proj = nn.Linear(c.width, c.projection), nn.Linear(
            c.width, c.projection
        )
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # of the contrastive loss only
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(
                    module.weight, std=0.03 if isinstance(module, nn.Linear) else 0.02
                )
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.vision.position, std=0.02)
        nn.init.trunc_normal_(self.vision.cls, std=0.02)

    # --- the roles; image: [B, N, D] from the vision tower ---

    def encode(self, ids, image=None, mask=None, positions=None):
        """The text encoder: image-grounded, or the text alone when image is None."""
        x = self.embeddings(ids, positions)
        for own, cross, feed in zip(self.encoder_self, self.cross, self.feed):
            x = own(x, x, mask)
            x = feed(x if image is None else cross(x, image))
        return x

    def decode(self, ids, image):
        """The caption decoder's states."""
        x = self.embeddings(ids)
        for own, cross, feed in zip(self.decoder_self, self.cross, self.feed):
            x = feed(cross(own(x, x, causal=True), image))
        return x

    def encode_and_decode(self, enc_ids, enc_mask, enc_positions, dec_ids, image):
        """encode and decode side by side; the shared layers run once over both."""
        e, d = self.embeddings(enc_ids, enc_positions), self.embeddings(dec_ids)
        n = e.shape[1]
        for own_e, own_d, cross, feed in zip(
            self.encoder_self, self.decoder_self, self.cross, self.feed
        ):
            x = torch.cat([own_e(e, e, enc_mask), own_d(d, d, causal=True)], 1)
            x = feed(cross(x, image))
            e, d = x[:, :n], x[:, n:]
        return e, d

    def answer(self, ids, question, question_mask, mask=None, positions=None):
        """The answer decoder's states; question: the encoder's states, question_mask [B, La,
        Lq].
        """
        x = self.embeddings(ids, positions)
        for own, cross, feed in zip(self.answer_self, self.answer_cross, self.answer_feed):
            x = feed(cross(own(x, x, mask, causal=mask is None), question, question_mask))
        return x

    def caption_logits(self, states):
        return self.caption_head(states, self.embeddings.word.weight)

    def answer_logits(self, states):
        return self.answer_head(states, self.embeddings.word.weight)

    # --- the tasks, greedy, for lists of images (uint8 tensor [B, H, W, 3]) and texts ---

    @torch.no_grad()
    def captions(self, pixels, limit=20):
        image = self.vision(pixels)
        prompt = [vocab.DEC] + vocab.encode(PROMPT)
        ids = torch.tensor([prompt] * len(pixels))
        while ids.shape[1] < limit:
            ids = torch.cat(
                [ids, self.caption_logits(self.decode(ids, image)[:, -1]).argmax(-1, keepdim=True)],
                1,
            )
        return [vocab.decode(row[len(prompt) :]) for row in ids.tolist()]

    @torch.no_grad()
    def matches(self, pixels, texts):
        """(probability of a match, cosine) for each image with its text."""
        image = self.vision(pixels)
        ids, mask = pad([[vocab.CLS] + vocab.encode(t) + [vocab.SEP] for t in texts])
        grounded = self.encode(ids, image, mask)[:, 0]
        alone = self.encode(ids, None, mask)[:, 0]
        cosine = F.cosine_similarity(self.vision_proj(image[:, 0]), self.text_proj(alone))
        return self.itm_head(grounded).softmax(-1)[:, 1].tolist(), cosine.tolist()

    @torch.no_grad()
    def answers(self, pixels, questions, limit=8):
        ids, mask = pad([[vocab.ENC] + vocab.encode(q) + [vocab.SEP] for q in questions])
        states = self.encode(ids, self.vision(pixels), mask)
        out = torch.full((len(questions), 1), vocab.DEC)
        while out.shape[1] < limit:
            seen = mask[:, :1].expand(-1, out.shape[1], -1)
            out = torch.cat(
                [
                    out,
                    self.answer_logits(self.answer(out, states, seen)[:, -1]).argmax(
                        -1, keepdim=True
                    ),
                ],
                1,
            )
        return [vocab.decode(row[1:]) for row in out.tolist()]


def pad(rows):
    """Ids [B, L] and the mask [B, L, L] that hides the padding."""
    longest = max(map(len, rows))
    ids = torch.tensor([r + [vocab.PAD] * (longest - len(r)) for r in rows])
    seen = torch.tensor([[True] * len(r) + [False] * (longest - len(r)) for r in rows])
    return ids, seen[:, None].expand(-1, longest, -1)
