"""dorib: has a mitigation erased a memorized image, or only hidden it?

The public names are loaded when they are first used, so that `import dorib` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dorib.clip_weights import clip_files, clip_sha256, clip_source, load_clip
    from dorib.contracts import (
        Attack,
        DefenderView,
        Generation,
        Measured,
        Method,
        Metric,
        Mitigation,
        PromptRule,
        Quantity,
        Rule,
        Target,
    )
    from dorib.edits import Edit, MaskWeights, ReplaceWeights, SamplingRule, ScaleOutputs
    from dorib.errors import DoribError
    from dorib.hookspecs import hookimpl
    from dorib.ledger import Ledger
    from dorib.params import Params
    from dorib.registry import Register, RegisterSuite
    from dorib.seeds import Seeds
    from dorib.specs import MethodChoice, MethodSpec
    from dorib.starts import starting_embeddings
    from dorib.suite import Suite
    from dorib.target import Embeddings, TargetModel, load_unet_weights, stacked, unstacked
    from dorib.triggers import Trigger

_HOMES = {
    "Attack": "contracts",
    "DefenderView": "contracts",
    "DoribError": "errors",
    "Edit": "edits",
    "Embeddings": "target",
    "Generation": "contracts",
    "Ledger": "ledger",
    "MaskWeights": "edits",
    "Measured": "contracts",
    "Method": "contracts",
    "MethodChoice": "specs",
    "MethodSpec": "specs",
    "Metric": "contracts",
    "Mitigation": "contracts",
    "Params": "params",
    "PromptRule": "contracts",
    "Quantity": "contracts",
    "Register": "registry",
    "RegisterSuite": "registry",
    "ReplaceWeights": "edits",
    "Rule": "contracts",
    "SamplingRule": "edits",
    "ScaleOutputs": "edits",
    "Seeds": "seeds",
    "Suite": "suite",
    "Target": "contracts",
    "TargetModel": "target",
    "Trigger": "triggers",
    "clip_files": "clip_weights",
    "clip_sha256": "clip_weights",
    "clip_source": "clip_weights",
    "hookimpl": "hookspecs",
    "load_clip": "clip_weights",
    "load_unet_weights": "target",
    "stacked": "target",
    "starting_embeddings": "starts",
    "unstacked": "target",
}

__all__ = [
    "Attack",
    "DefenderView",
    "DoribError",
    "Edit",
    "Embeddings",
    "Generation",
    "Ledger",
    "MaskWeights",
    "Measured",
    "Method",
    "MethodChoice",
    "MethodSpec",
    "Metric",
    "Mitigation",
    "Params",
    "PromptRule",
    "Quantity",
    "Register",
    "RegisterSuite",
    "ReplaceWeights",
    "Rule",
    "SamplingRule",
    "ScaleOutputs",
    "Seeds",
    "Suite",
    "Target",
    "TargetModel",
    "Trigger",
    "clip_files",
    "clip_sha256",
    "clip_source",
    "hookimpl",
    "load_clip",
    "load_unet_weights",
    "stacked",
    "starting_embeddings",
    "unstacked",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dorib' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dorib.{_HOMES[name]}"), name)
