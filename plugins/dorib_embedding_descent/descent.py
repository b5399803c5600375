"""AdamW down a loss, each item by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dorib_embedding_descent import DescentRuleParams


def descend(
    start: Tensor, losses: Callable[[Tensor, Sequence[int]], Tensor], params: DescentRuleParams
) -> Tensor:
    """Where each item of `start` `[B, ...]` first was not above the threshold, else its lowest.

    `losses` gives the loss `[N]` of values `[N, ...]`, float32, of the items at the N places. An
    item that has arrived is left out from then on. Each point is differentiated before it is known
    whether the item stops there, so that what one costs does not depend on the others; the point
    after the last step is looked at as well.
    """
    values = [row.detach().float().clone().requires_grad_() for row in start]
    lowest = [math.inf] * len(values)
    reached = list(start.detach())
    optimizer = torch.optim.AdamW(values, lr=params.rate, weight_decay=params.weight_decay)
    going = list(range(len(values))) if params.steps else []
    for taken in range(params.steps + 1):
        if not going:
            break
        moving = [values[place] for place in going]
        with torch.set_grad_enabled(taken < params.steps):
            loss = losses(torch.stack(moving), going)
            gradients = torch.autograd.grad(loss.sum(), moving) if taken < params.steps else ()
        for place, value in zip(going, loss.tolist(), strict=True):
            if value < lowest[place]:
                lowest[place], reached[place] = value, values[place].detach().to(start, copy=True)
        for place, gradient in zip(going, gradients, strict=False):
            above = lowest[place] > params.threshold
            # AdamW passes over what has no gradient.
            values[place].grad = gradient if above else None
        going = [place for place in going if lowest[place] > params.threshold]
        if gradients:
            optimizer.step()
    return torch.stack(reached)
