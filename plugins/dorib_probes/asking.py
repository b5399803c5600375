"""What each target is asked for with, under the edit in force."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import Embeddings, Seeds, Target, TargetModel


def asked(model: TargetModel, targets: Sequence[Target], seeds: Seeds) -> tuple[Embeddings, Tensor]:
    """The captions' embeddings `[B, ...]`, and the sample indices, int64 `[B]`.

    Rules that act on prompts have rewritten the captions.
    """
    drawing = [seeds.generator(target.sample, "rule") for target in targets]
    embeddings = model.encode_request([target.caption for target in targets], drawing)
    return embeddings, torch.tensor([target.index for target in targets], device=model.device)
