"""Where a descent stops: what general captions give, or what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dorib import (
    DefenderView,
    DoribError,
    Embeddings,
    PlannedWork,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_embedding_descent import ThresholdParams

SHARED_WORK = -1
"""Sample index of the threshold's work, which no single sample caused."""

Losses = Callable[[Tensor, Embeddings, Tensor], Tensor]
"""From noise, embeddings and sample indices to the loss of each item."""


def threshold_work(params: ThresholdParams, scale: Scale, each: int) -> PlannedWork:
    """What `threshold` will cost, `each` caption's loss being so many U-Net items."""
    if params.threshold is not None:
        return PlannedWork()
    captions = min(params.captions, scale.general_captions)
    # Those that are memorized as well are left out, which are not known here.
    exact = params.captions <= scale.general_captions - scale.memorized
    return PlannedWork(forward=captions * each, exact=exact)


def threshold(
    params: ThresholdParams, model: TargetModel, view: DefenderView, seeds: Seeds, losses: Losses
) -> float:
    """The one that was given, or the percentile of the losses of general captions.

    Raises:
        DoribError: a percentile is asked for, and the suite has no general captions.
    """
    if params.threshold is not None:
        return params.threshold
    memorized = {target.caption for target in view.memorized}
    captions = [caption for caption in view.general_captions if caption not in memorized]
    if not captions:
        raise DoribError(
            "mitigation: a percentile needs general captions that are not memorized, and the suite "
            "has none; add some, or set threshold"
        )
    lot = torch.randperm(len(captions), generator=seeds.generator("captions"))
    drawn = [captions[place] for place in lot[: params.captions].tolist()]
    values = []
    for first in range(0, len(drawn), params.batch_size):
        batch = drawn[first : first + params.batch_size]
        noise = torch.stack(
            [
                torch.randn(model.latent_shape, generator=seeds.generator("noise", caption))
                for caption in batch
            ]
        ).to(model.device, model.dtype)
        samples = torch.full((len(batch),), SHARED_WORK, device=model.device)
        with torch.no_grad():
            values.append(losses(noise, model.encode_prompt(batch), samples).cpu())
    return torch.quantile(torch.cat(values).double(), params.percentile / 100).item()
