"""The rule: which scale an image is guided by at a step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dorib import Rule, Step
from dorib_guidance import GuidanceParams


class Guide(Rule[GuidanceParams]):
    """Guides by `before` until the switch, and by the suite's scale from then on.

    Minima are looked for while sampling, in the raw outputs, whatever their parametrisation: at
    zero terminal SNR differences of the noise would say nothing at the first step. A minimum shows
    one step after it was passed.
    """

    acts_on = frozenset({"guidance"})

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """`u + g (c - u)` with each image's own `g`."""
        # As in sampling without a rule: below 1 there is no guidance, but the prompt alone.
        suite = max(scale, 1.0)
        decay = math.cos(math.pi / 2 * step.index / step.total)
        early = self._early(step, unconditional, conditional)
        scales = [
            (self.params.before if is_early else suite) - self.params.repulsion * decay
            for is_early in early
        ]
        rows = zip(unconditional, conditional, scales, strict=True)
        return torch.stack([c if g == 1 else u + g * (c - u) for u, c, g in rows])

    def _early(self, step: Step, unconditional: Tensor, conditional: Tensor) -> list[bool]:
        """Whether each image is still before its switch."""
        if self.params.switch == "timestep":
            until = self.params.until * step.model.timesteps
            return [float(step.timestep) > until] * len(step.states)
        if self.params.switch == "difference":
            values = (conditional - unconditional).float().flatten(1).norm(dim=1)
        else:
            values = _motion(step)
        pairs = zip(step.states, values.tolist(), strict=True)
        return [not _past_minimum(state, value) for state, value in pairs]


def _motion(step: Step) -> Tensor:
    """1 - the cosine between each image's latents and those of the step before, `[B]`.

    Infinite at the first step, which has none before it.
    """
    now = step.latents.float().flatten(1)
    before = [state.get("latents") for state in step.states]
    for state, latents in zip(step.states, now, strict=True):
        state["latents"] = latents
    moved = [
        now.new_tensor(math.inf) if old is None else 1 - functional.cosine_similarity(old, new, 0)
        for old, new in zip(before, now, strict=True)
    ]
    return torch.stack(moved)


def _past_minimum(state: dict[str, Any], value: float) -> bool:
    """Whether the series that `value` continues has been through its first minimum."""
    last = state.get("last", value)
    if state.get("falling", False) and value > last:
        state["past"] = True
    state["falling"] = value < last < math.inf
    state["last"] = value
    return "past" in state
