"""The directions that are searched: those in which the embeddings of captions differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import DoribError, Target, TargetModel


def principal_components(model: TargetModel, targets: Sequence[Target], count: int) -> Tensor:
    """For each target the leading components of its other captions' embeddings.

    float32 `[targets, components, tokens * width]`, each scaled by its standard deviation over the
    captions, so that a standard normal combination of them varies as captions do, and turned so
    that its entry of largest magnitude is positive. `components` is `count`, or what the captions'
    number allows.

    Raises:
        DoribError: a target comes with fewer than two other captions.
    """
    found: dict[tuple[str, ...], Tensor] = {}
    for target in targets:
        captions = tuple(target.other_captions)
        if captions not in found:
            if len(captions) < 2:
                raise DoribError(
                    f"attack evolution: sample {target.sample} comes with {len(captions)} captions "
                    "of other images, whose differences are searched; add general captions to the "
                    "suite"
                )
            found[captions] = _components(model, captions, count)
    return torch.stack([found[tuple(target.other_captions)] for target in targets])


def _components(model: TargetModel, captions: Sequence[str], count: int) -> Tensor:
    embeddings = model.encode_prompt(captions)["prompt_embeds"].float().flatten(1)
    centred = embeddings - embeddings.mean(dim=0)
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    # A singular vector is one up to its sign, which libraries choose as they please.
    largest = directions.abs().argmax(dim=1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()
    # Centred, so many captions differ in one direction less.
    kept = min(count, len(captions) - 1, len(spread))
    deviations = spread[:kept, None] / math.sqrt(len(captions) - 1)
    components: Tensor = directions[:kept] * deviations
    return components
