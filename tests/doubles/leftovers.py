"""Mitigations that leave weights or the process's settings otherwise than they found them."""

from __future__ import annotations

import torch

from dorib import DefenderView, Edit, Register, TargetModel, hookimpl
from doubles.mitigations import Double, named, value_layer

dorib_contract = 2


class FlipsWeights(Double):
    expected = "left the model changed (unet: weights"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        values = value_layer(model)[1].weight.data
        values.copy_(values.flip(0).clone())
        return Edit(None)


class SwapsTwoWeights(Double):
    expected = "left the model changed (unet: weights"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        values = value_layer(model)[1].weight.data.view(-1)
        values[:2] = values[:2].flip(0).clone()
        return Edit(None)


class SetsTheDefaultDtype(Double):
    expected = None

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        torch.set_default_dtype(torch.float64)
        return Edit(None)


class TurnsGradientsOff(Double):
    expected = None

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        torch.set_grad_enabled(False)
        return Edit(None)


DOUBLES: dict[str, type[Double]] = named(
    FlipsWeights,
    SwapsTwoWeights,
    SetsTheDefaultDtype,
    TurnsGradientsOff,
)


@hookimpl
def register_mitigations(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
