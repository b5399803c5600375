"""The mitigation: another one's edit, and on top of it the rounded weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    MethodSpec,
    Mitigation,
    PlannedFit,
    ReplaceWeights,
    Scale,
    Seeds,
    Several,
    TargetModel,
)
from dorib_quantize import QuantizeParams


class Quantize(Mitigation[QuantizeParams]):
    """Rounds what the base mitigation leaves, symmetrically, with a scale for each output channel.

    The round trip of weight-only quantisation, as bitsandbytes and torchao do it at 8 bits; at 4
    bits they scale groups of inputs, which is finer than this. An image that comes back was hidden
    by what is below the rounding step. The idea: OpenUnlearning (Dorna et al., arXiv 2506.12618).
    """

    def builds_on(self) -> Mapping[str, tuple[Literal["mitigation"], MethodSpec]]:
        """The mitigation whose model is rounded."""
        return {"base": ("mitigation", self.params.base)}

    def planned(self, scale: Scale) -> PlannedFit | None:
        """What the base costs."""
        base = self.methods["base"]
        assert isinstance(base, Mitigation)
        found = base.planned(scale)
        return None if found is None else replace(found, rules=None)

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The base's changes, then the rounded weights; its sampling rules stay in force.

        Raises:
            DoribError: the base fits an edit for each sample: there is no one model to round.
        """
        base: Mitigation[Any] = self.methods["base"]  # type: ignore[assignment]
        edit = base.fit(model, view, seeds.child("base"), ledger)
        if edit.scope != "global":
            raise DoribError(
                f"mitigation quantize: {self.params.base} has an edit for each sample, and there "
                "is no one model to round; name one that is global"
            )
        with model.edited(edit):
            rounded = {
                name: round_trip(weight, self.params.bits).cpu()
                for name, weight in model.weights().items()
                if weight.dim() > 1
            }
        return Edit(Several((*edit.changes, ReplaceWeights(rounded))), notes=edit.notes)


def round_trip(weight: Tensor, bits: int) -> Tensor:
    """`weight` `[d_out, ...]` as `bits` a value give it back, in its own dtype.

    Integers from `-2**(bits - 1) + 1` to `2**(bits - 1) - 1`, times the channel's largest absolute
    value over the largest of them.
    """
    largest = 2 ** (bits - 1) - 1
    values = weight.detach().float()
    scale = values.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / largest
    scale = scale.view(-1, *[1] * (values.dim() - 1))
    rounded: Tensor = (values / scale).round().clamp(-largest, largest) * scale
    return rounded.to(weight.dtype)
