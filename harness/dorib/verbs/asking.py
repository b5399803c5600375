"""From triggers to what the model is asked with: embeddings, and how long their prompts are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings, unstacked
from dorib.contracts.target_model import TargetModel
from dorib.contracts.triggers import Trigger


def asked_with(
    model: TargetModel, triggers: Sequence[Trigger], generators: Sequence[torch.Generator]
) -> tuple[Embeddings, Tensor]:
    """Embeddings `[B, ...]` on the model's device, and the tokens of each prompt, int64 `[B]`.

    Prompts, token ids that are one too among them, pass the sampling rules in force; `generators`
    are theirs to draw from. Embeddings count as long as the encoder reads.
    """
    rows: list[Embeddings | None] = [trigger.embeddings or None for trigger in triggers]
    words = [i for i, t in enumerate(triggers) if t.prompt is not None and t.encodes_back]
    ids = [i for i, row in enumerate(rows) if row is None and i not in words]
    longest = model.tokenize([""]).ids.shape[1]
    lengths = torch.full((len(triggers),), longest)
    if words:
        prompts = model.rewritten(
            [str(triggers[i].prompt) for i in words], [generators[i] for i in words]
        )
        lengths[words] = model.tokenize(prompts).lengths
        for place, row in zip(words, unstacked(model.encode_prompt(prompts)), strict=True):
            rows[place] = row
    if ids:
        tokens = model.tokens_of([triggers[i].tokens for i in ids])
        lengths[ids] = tokens.lengths
        with torch.no_grad():
            encoded = unstacked(model.encode_tokens(tokens))
        for place, row in zip(ids, encoded, strict=True):
            rows[place] = row
    whole = [row for row in rows if row is not None]
    stacked = {
        name: torch.stack([row[name].to(model.device) for row in whole]) for name in whole[0]
    }
    return stacked, lengths
