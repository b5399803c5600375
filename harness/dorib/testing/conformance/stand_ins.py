"""Mitigations that the checks put around what is checked: masks that differ by sample, a rule."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field

from dorib.contracts.edits import Edit, MaskWeights, SamplingRule
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import Mitigation
from dorib.contracts.params import Params, Scope
from dorib.contracts.seeds import Seeds
from dorib.contracts.specs import MethodChoice, MethodSpec
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import DefenderView
from dorib.host.registry import Registration, Registry

MASKS, NAMES_RULE = "check-masks", "check-names-rule"


class Masks(Mitigation[Params]):
    """Removes other weights of the value layers for each sample."""

    @property
    def scope(self) -> Scope:
        """An edit a sample."""
        return "per_sample"

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Half of each layer's weights, drawn by sample."""
        samples = tuple(target.sample for target in view.memorized)
        indices = {}
        for name, layer in model.cross_attention_value_layers().items():
            size = layer.weight.numel()
            indices[name] = tuple(
                torch.randperm(size, generator=seeds.generator(sample, name))[: size // 2]
                for sample in samples
            )
        return Edit(MaskWeights(indices), "per_sample", samples)


class RuleParams(Params):
    """Which rule."""

    rule: MethodChoice = Field(MethodSpec(name="none"), description="the rule, with its parameters")


class NamesRule(Mitigation[RuleParams]):
    """An edit that names the rule and does nothing else."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule by name."""
        rule = self.params.rule
        return Edit(SamplingRule(rule.name, dict(rule.params)))


def with_stand_ins(registry: Registry) -> Registry:
    """`registry` and the two mitigations of this module."""
    registrations = dict(registry.registrations)
    for name, target, params in (
        (MASKS, f"{__name__}:Masks", Params),
        (NAMES_RULE, f"{__name__}:NamesRule", RuleParams),
    ):
        registrations["mitigation", name] = Registration(
            "mitigation", name, "dorib.testing", target, params, built_in=True
        )
    return replace(registry, registrations=registrations)
