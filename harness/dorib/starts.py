"""Where a search over text embeddings starts: the own prompt, another caption, or noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dorib.contracts import Target
from dorib.errors import DoribError
from dorib.target import TargetModel

Start: TypeAlias = Literal["prompt", "other", "random"]


def starting_embeddings(
    model: TargetModel,
    targets: Sequence[Target],
    generators: Sequence[torch.Generator],
    start: Start,
) -> Tensor:
    """Where the search for each target starts, float32 `[targets, tokens, width]`.

    "prompt" draws nothing from the generators, one for each target; "other" and "random" do.

    Raises:
        DoribError: the start is "other" and a target comes without any caption but its own.
    """
    match start:
        case "prompt":
            return own_prompt(model, targets)
        case "other":
            return another_caption(model, targets, generators)
        case "random":
            return gaussian(model, targets, generators)


def own_prompt(model: TargetModel, targets: Sequence[Target]) -> Tensor:
    """Embedding of each target's caption, float32 `[targets, tokens, width]`."""
    return _encode(model, [target.caption for target in targets])


def another_caption(
    model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
) -> Tensor:
    """Embedding of a caption drawn by each target's generator from those of other images.

    float32 `[targets, tokens, width]`.

    Raises:
        DoribError: a target comes without any caption but its own.
    """
    return _encode(model, [_draw(t, g) for t, g in zip(targets, generators, strict=True)])


def gaussian(
    model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
) -> Tensor:
    """Noise from each target's generator, float32 `[targets, tokens, width]`.

    Its one mean and one standard deviation are those of all entries, of whatever token and
    feature, of the embedding of the target's caption.
    """
    prompts = own_prompt(model, targets)
    noise = torch.stack([torch.randn(prompts.shape[1:], generator=g) for g in generators])
    spread = prompts.std(dim=(1, 2), keepdim=True)
    return prompts.mean(dim=(1, 2), keepdim=True) + spread * noise.to(prompts)


def _draw(target: Target, generator: torch.Generator) -> str:
    others = [caption for caption in target.other_captions if caption != target.caption]
    if not others:
        raise DoribError(
            f"start=other: sample {target.sample} has no caption of another image to start from; "
            "add general captions to the suite, or set start=prompt or start=random"
        )
    return others[int(torch.randint(len(others), (), generator=generator))]


def _encode(model: TargetModel, captions: Sequence[str]) -> Tensor:
    return model.encode_prompt(captions)["prompt_embeds"].float()
