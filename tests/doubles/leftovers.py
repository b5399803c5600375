"""Mitigations that leave weights or settings changed, or edits that no file can hold."""

from __future__ import annotations

import numpy as np
import torch

from dorib import DefenderView, Edit, Register, ScaleOutputs, TargetModel, hookimpl
from doubles.mitigations import Double, named, scales, value_layer

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


class OneTensorForAll(Double):
    expected = None

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        layers = model.cross_attention_value_layers().items()
        ones = torch.ones(max(layer.out_features for _, layer in layers))
        return Edit(ScaleOutputs({name: ones[: layer.out_features] for name, layer in layers}))


class NotesOfNumpy(Double):
    expected = "an edit with notes that are no JSON values"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ScaleOutputs(scales(model)), notes={"mean": np.float32(1.5)})


class NotesNotFinite(Double):
    expected = "an edit with notes that are no JSON values"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ScaleOutputs(scales(model)), notes={"losses": [1.0, float("nan")]})


DOUBLES: dict[str, type[Double]] = named(
    FlipsWeights,
    SwapsTwoWeights,
    SetsTheDefaultDtype,
    TurnsGradientsOff,
    OneTensorForAll,
    NotesOfNumpy,
    NotesNotFinite,
)


@hookimpl
def register_mitigations(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
