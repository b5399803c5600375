"""Which weights are zeroed, by score: no model needed."""

from __future__ import annotations

import torch
from torch import Tensor


def selected_weights(
    weight: Tensor, target: Tensor, baseline: Tensor, per_row: int, select_ratio: float
) -> Tensor:
    """Positions in the flattened `weight` that are zeroed, int64, rising.

    `weight` is `[d_out, d_in]`; `target` and `baseline` are squared column norms
    `[timesteps, d_in]`. At each timestep the `per_row` weights of each output row with the highest
    score `|weight| * norm` are chosen, as far as the target's score exceeds the baseline's; a
    weight is zeroed if it is chosen at more than `select_ratio` of the timesteps.
    """
    magnitude = weight.detach().abs().float()
    times_chosen = torch.zeros_like(magnitude)
    for own, other in zip(target.sqrt(), baseline.sqrt(), strict=True):
        score = magnitude * own
        top = score.topk(per_row, dim=1).indices
        exceeds = score > magnitude * other
        times_chosen.scatter_add_(1, top, exceeds.gather(1, top).float())
    return (times_chosen > select_ratio * len(target)).flatten().nonzero().squeeze(1)
