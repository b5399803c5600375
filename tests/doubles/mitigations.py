"""Mitigations that hand over what they must not, or leave the model changed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    MaskWeights,
    Mitigation,
    Params,
    Register,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
    Seeds,
    TargetModel,
    hookimpl,
    load_unet_weights,
)

dorib_contract = 2


class Double(Mitigation[Params]):
    """A global mitigation that hands over whatever `edit` says."""

    expected: ClassVar[str | None]

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        return cast(Edit, self.edit(model, view))

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(None)


def value_layer(model: TargetModel) -> tuple[str, nn.Linear]:
    return next(iter(model.cross_attention_value_layers().items()))


def scales(model: TargetModel, value: float = 1.0, rows: int | None = None) -> dict[str, Tensor]:
    name, layer = value_layer(model)
    shape = (layer.out_features,) if rows is None else (rows, layer.out_features)
    return {name: torch.full(shape, value)}


def unet_of(model: TargetModel) -> nn.Module:
    """The U-Net, reached for around the target model."""
    return cast(Any, model).pipeline.unet  # type: ignore[no-any-return]


class Nothing(Double):
    expected = "fit returned nothing; return an Edit"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return None


class Dictionary(Double):
    expected = "fit returned a dict; return an Edit"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return scales(model)


class UndeclaredScope(Double):
    expected = "fit returned a per_sample edit, but the mitigation declares the scope global"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        samples = tuple(target.sample for target in view.memorized)
        return Edit(ScaleOutputs(scales(model, rows=len(samples))), "per_sample", samples)


class PerSample(Double):
    @property
    def scope(self) -> Any:
        return "per_sample"


class OtherOrder(PerSample):
    expected = "give one row for each of view.memorized, in that order"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        samples = tuple(reversed([target.sample for target in view.memorized]))
        return Edit(ScaleOutputs(scales(model, rows=len(samples))), "per_sample", samples)


class TooFewRows(PerSample):
    expected = "give one row for each of view.memorized, in that order"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        samples = (view.memorized[0].sample,)
        return Edit(ScaleOutputs(scales(model, rows=1)), "per_sample", samples)


class GlobalAfterAll(PerSample):
    expected = "fit returned a global edit, but the mitigation declares the scope per_sample"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ScaleOutputs(scales(model)))


class NotANumber(Double):
    expected = "holds numbers that are not finite"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ScaleOutputs(scales(model, float("nan"))))


class InfiniteWeights(Double):
    expected = "holds numbers that are not finite"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        name, layer = value_layer(model)
        return Edit(ReplaceWeights({f"{name}.weight": torch.full_like(layer.weight, torch.inf)}))


class CarriesGradients(Double):
    expected = "carries gradients; detach it"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        change = {name: value.requires_grad_() for name, value in scales(model).items()}
        return Edit(ScaleOutputs(change))


class UnknownLayer(Double):
    expected = "this model has no layer no.such.layer"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ScaleOutputs({"no.such.layer": torch.ones(4)}))


class OtherWidth(Double):
    expected = "has another width here"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        name, layer = value_layer(model)
        return Edit(ScaleOutputs({name: torch.ones(layer.out_features + 1)}))


class OtherShape(Double):
    expected = "does not fit this model"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        name, layer = value_layer(model)
        return Edit(ReplaceWeights({f"{name}.weight": layer.weight.detach()[1:]}))


class PositionBeyond(Double):
    expected = "has another size here"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        name, layer = value_layer(model)
        return Edit(MaskWeights({name: (torch.tensor([layer.weight.numel()]),)}))


class FloatPositions(Double):
    expected = "give positions as int64"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(MaskWeights({value_layer(model)[0]: (torch.tensor([0.0]),)}))


class IntegerScales(Double):
    expected = "give floating-point numbers"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        change = {name: value.long() for name, value in scales(model).items()}
        return Edit(ScaleOutputs(change))


class ListForATensor(Double):
    expected = "is a list; give a tensor"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        name, layer = value_layer(model)
        weights = cast(Any, {f"{name}.weight": layer.weight.tolist()})
        return Edit(ReplaceWeights(weights))


@dataclass(frozen=True)
class Noise:
    """A change of a kind of its own."""


class OwnKindOfChange(Double):
    expected = "fit returned a change of a Noise"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(cast(Any, Noise()))


class RuleOfNobody(Double):
    expected = "unknown rule 'of-nobody'"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(SamplingRule("of-nobody", {}))


class RuleWithCode(Double):
    expected = "with parameters that are no JSON values"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(SamplingRule("prompt-filter", {"words": print}))


class HalvesWeights(Double):
    expected = "left the model changed"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        with torch.no_grad():
            value_layer(model)[1].weight.mul_(0.5)
        return Edit(None)


class HalvesWeightsUnnoticed(Double):
    expected = "left the model changed"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        value_layer(model)[1].weight.data.mul_(0.5)
        return Edit(None)


class OtherParameter(Double):
    expected = "left the model changed"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        layer = value_layer(model)[1]
        layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        return Edit(None)


class TextEncoderToo(Double):
    expected = "left the model changed (text_encoder"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        encoder = cast(Any, model).pipeline.text_encoder
        with torch.no_grad():
            next(encoder.parameters()).add_(1)
        return Edit(None)


class ForgetsAHook(Double):
    expected = "left the model changed (unet: hooks"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        value_layer(model)[1].register_forward_hook(lambda module, inputs, output: output * 0)
        return Edit(None)


class TrainMode(Double):
    expected = "left the model changed (unet: mode"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        unet_of(model).train()
        return Edit(None)


class WantsGradients(Double):
    expected = "left the model changed (unet: weights"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        unet_of(model).requires_grad_(True)
        return Edit(None)


class OtherProcessor(Double):
    expected = "left the model changed (unet: attention processor"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        from diffusers.models.attention_processor import AttnProcessor

        cast(Any, unet_of(model)).set_attn_processor(AttnProcessor())
        return Edit(None)


class OtherForward(Double):
    expected = "left the model changed (unet: forward"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        layer = value_layer(model)[1]
        forward = layer.forward
        cast(Any, layer).forward = lambda inputs: forward(inputs) * 0
        return Edit(None)


class OtherScheduler(Double):
    expected = "left the model changed (scheduler"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        pipeline = cast(Any, model).pipeline
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        return Edit(None)


class Complains(Double):
    expected = "DoribError: a complaint of the plugin's own"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        raise DoribError("a complaint of the plugin's own")


class Explodes(Double):
    expected = "ZeroDivisionError"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return 1 // 0


class Exits(Double):
    expected = "SystemExit: 3"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        raise SystemExit(3)


class Interrupts(Double):
    expected = "KeyboardInterrupt: no message"

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        raise KeyboardInterrupt


class StealsTheOracle(Double):
    expected = "fit returned the weights of the suite's oracle"
    folder: ClassVar[Path]
    """Where it knows the oracle to lie."""

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        return Edit(ReplaceWeights(load_unet_weights(self.folder)))


class AsksForTheOracle(Double):
    expected = None

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        assert view.oracle is None
        return Edit(None)


class GlobalGenerators(Double):
    expected = None

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        random.random()
        np.random.rand()
        torch.rand(1)
        return Edit(None)


class AroundTheModel(Double):
    """Calls the U-Net itself: let through, and its work is counted all the same."""

    expected = None
    items: ClassVar[int] = 3

    def edit(self, model: TargetModel, view: DefenderView) -> object:
        latents = torch.zeros(self.items, *model.latent_shape)
        prompts = model.encode_prompt([""] * self.items)["prompt_embeds"]
        unet_of(model)(latents, torch.zeros(self.items), prompts)
        return Edit(None)


def named(*doubles: type[Double]) -> dict[str, type[Double]]:
    """Doubles by the names that they are registered under."""
    return {
        "".join(f"-{c.lower()}" if c.isupper() else c for c in one.__name__).strip("-"): one
        for one in doubles
    }


DOUBLES: dict[str, type[Double]] = named(
    Nothing,
    Dictionary,
    UndeclaredScope,
    OtherOrder,
    TooFewRows,
    GlobalAfterAll,
    NotANumber,
    InfiniteWeights,
    CarriesGradients,
    UnknownLayer,
    OtherWidth,
    OtherShape,
    PositionBeyond,
    FloatPositions,
    IntegerScales,
    ListForATensor,
    OwnKindOfChange,
    RuleOfNobody,
    RuleWithCode,
    HalvesWeights,
    HalvesWeightsUnnoticed,
    OtherParameter,
    TextEncoderToo,
    ForgetsAHook,
    TrainMode,
    WantsGradients,
    OtherProcessor,
    OtherForward,
    OtherScheduler,
    Complains,
    Explodes,
    Exits,
    Interrupts,
    StealsTheOracle,
    AsksForTheOracle,
    GlobalGenerators,
    AroundTheModel,
)


@hookimpl
def register_mitigations(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
