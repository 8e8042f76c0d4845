"""What a training step minimises: BLIP's three losses, answers, and patch labels through heads that
are thrown away later.
"""

import torch
import torch.nn.functional as F
from torch import nn

from batches import PLACES
from kinds import COLOURS, KINDS


class PatchHeads(nn.Module):
    """Dense lessons for the vision tower: we drew the scenes, so we know what every patch shows."""

    def __init__(self, width):
        super().__init__()
        self.kind, self.offset, self.ground = (
            nn.Linear(width, len(KINDS) + 1),
            nn.Linear(width, 2),
            nn.Linear(width, len(COLOURS)),
        )
        self.place, self.twins = nn.Linear(width, len(PLACES)), nn.Linear(width, 4)

    def forward(self, image, batch, with_places=True):
        patches, kinds = image[:, 1:], batch["kinds"]
        known = kinds >= 0
        weight = torch.ones(len(KINDS) + 1)
        weight[0] = 0.2  # most patches are background
        logits = self.kind(patches)[known].float()
        loss = F.cross_entropy(logits, kinds[known], weight=weight)
        on_thing = kinds > 0
        offset = F.smooth_l1_loss(
            self.offset(patches)[on_thing].float(), batch["offsets"][on_thing], beta=0.05
        )
        grounds = batch["grounds"]
        ground = F.cross_entropy(self.ground(image[:, 0]).float(), grounds, ignore_index=-1)
        right = (logits.argmax(-1) == kinds[known])[kinds[known] > 0].float().mean()
        log = {"patch": loss, "patch_right": right, "offset": offset, "ground": ground}
        total = loss + 2 * offset + 0.3 * ground
        on_place = batch["places"] >= 0
        if with_places and on_place.any():
            logits, places = self.place(patches)[on_place].float(), batch["places"][on_place]
            log["place"] = F.cross_entropy(logits, places)
            log["place_right"] = (logits.argmax(-1) == places).float().mean()
            log["twins"] = F.cross_entropy(
                self.twins(patches)[on_place].float(), batch["twins"][on_place]
            )
            total = total + log["place"] + 0.5 * log["twins"]
        return total, log


def same_part(a, b):
    return a[:, :, None] == b[:, None, :]


def words_loss(head, states, targets):
    known = targets >= 0
    logits = head(states[known]).float()
    return (
        F.cross_entropy(logits, targets[known]),
        (logits.argmax(-1) == targets[known]).float().mean(),
    )


def contrastive(model, image, batch):
    part = batch["alone_part"]
    text = model.encode(batch["alone"], None, same_part(part, part))[:, 0]
    a = F.normalize(model.vision_proj(image[:, 0]).float(), dim=-1)
    b = F.normalize(model.text_proj(text).float(), dim=-1)
    logits = a @ b.T * model.log_scale.exp().clamp(max=50)
    twin = (batch["alone"][:, None] == batch["alone"][None]).all(-1) & ~torch.eye(
        len(a), dtype=torch.bool
    )
    # The same sentence twice in a batch is no counter-example.
    logits = logits.masked_fill(twin, -1e4)
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def text_losses(model, image, batch):
    parts = batch["enc_part"]
    e, d = model.encode_and_decode(
        batch["enc"], same_part(parts, parts), batch["enc_at"], batch["caption"], image
    )
    caption, caption_right = words_loss(model.caption_logits, d, batch["caption_target"])

    starts = batch["starts"][..., None].expand(-1, -1, e.shape[-1])
    logits = model.itm_head(e.gather(1, starts)).float().flatten(0, 1)
    target = torch.tensor([1, 0]).repeat(len(image))
    match = F.cross_entropy(logits, target)

    own = batch["answer_part"]
    causal = torch.ones(own.shape[1], own.shape[1], dtype=torch.bool).tril()
    # Padded answer places look at padded question places; every row has one, so no softmax is over
    # nothing.
    a = model.answer(
        batch["answer"], e, same_part(own, parts), same_part(own, own) & causal, batch["answer_at"]
    )
    answer, answer_right = words_loss(model.answer_logits, a, batch["answer_target"])

    itc = contrastive(model, image, batch)
    log = {
        "caption": caption,
        "caption_right": caption_right,
        "match": match,
        "itc": itc,
        "answer": answer,
        "match_right": (logits.argmax(-1) == target).float().mean(),
        "answer_right": answer_right,
    }
    return caption + match + answer + 0.15 * itc, log
