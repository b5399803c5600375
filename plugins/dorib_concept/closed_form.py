"""UCE: new cross-attention maps in closed form, from embeddings of captions alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import DefenderView, Edit, ReplaceWeights, Seeds, TargetModel
from dorib_concept import ConceptParams
from dorib_concept.captions import anchors, preserved


def unified_concept_edit(
    params: ConceptParams, model: TargetModel, view: DefenderView, seeds: Seeds
) -> Edit:
    """New key and value maps of all cross-attention layers; the U-Net is not run.

    `notes` hold what is left of the erased vectors' distance from their anchors, and how far the
    preserved ones were moved, as a share of their length: roots of sums of squares, before the
    maps.

    Raises:
        DoribError: the suite has no general captions, and some are asked for.
    """
    erased = vectors(model, [target.caption for target in view.memorized], params.tokens)
    wanted = vectors(model, anchors(params.anchor, view, seeds), params.tokens)
    kept = vectors(model, preserved(params.preserve, view, seeds), params.tokens)
    moved = transformation(
        erased, wanted, kept, params.erase_scale, params.preserve_scale, params.ridge
    )
    weights = model.weights()
    changed = {
        name: (weights[name].double().cpu() @ moved).to(model.dtype)
        for layer in model.cross_attention_value_layers()
        for name in (f"{layer.removesuffix('to_v')}to_k.weight", f"{layer}.weight")
    }
    notes = {
        "erased_left": _ratio(erased @ moved.T - wanted, erased - wanted),
        "preserved_moved": _ratio(kept @ moved.T - kept, kept),
    }
    return Edit(ReplaceWeights(changed), notes=notes)


def transformation(
    erased: Tensor,
    wanted: Tensor,
    kept: Tensor,
    erase_scale: float,
    preserve_scale: float,
    ridge: float,
) -> Tensor:
    """What every map is multiplied by from the right, `[width, width]`, float64.

    The published minimum of, over maps `V` in place of `W`,

        erase_scale * sum |V c - W a|^2 + preserve_scale * sum |V p - W p|^2 + ridge * |V - W|^2

    is `W` times a matrix that does not depend on `W`: so one system is solved for all layers.

    Args:
        erased: `[n, width]`, float64: the vectors c.
        wanted: `[n, width]`: a, what each is to be read as.
        kept: `[m, width]`: p.
        erase_scale: positive, as the others.
        preserve_scale: of the vectors that stay.
        ridge: of the distance from the maps as they are.
    """
    own = torch.eye(erased.shape[1], dtype=erased.dtype)
    gram = ridge * own + preserve_scale * kept.T @ kept + erase_scale * erased.T @ erased
    pull = erase_scale * (wanted - erased).T @ erased
    change: Tensor = torch.linalg.solve(gram, pull.T).T
    return own + change


def vectors(model: TargetModel, captions: Sequence[str], which: str) -> Tensor:
    """What the U-Net reads of captions, float64 `[n, width]` on the CPU.

    All vectors of each, or that of its last word; of an empty caption that of the begin token.
    """
    width = next(iter(model.cross_attention_value_layers().values())).in_features
    # One by one, so that none depends on how many there are.
    found = [torch.zeros(0, width, dtype=torch.float64)]
    for caption in captions:
        read = model.encode_prompt([caption])["prompt_embeds"][0].double().cpu()
        last = int(model.tokenize([caption]).lengths[0]) - 2
        found.append(read if which == "all" else read[last : last + 1])
    return torch.cat(found)


def _ratio(one: Tensor, other: Tensor) -> float:
    """0 where both are nothing."""
    length = float(other.norm())
    return float(one.norm()) / length if length else 0.0
