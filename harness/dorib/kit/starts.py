"""Where a search over text embeddings starts: the own prompt, another caption, or noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.errors import DoribError
from dorib.kit.search_params import Start


def starting_embeddings(
    model: TargetModel,
    targets: Sequence[Target],
    generators: Sequence[torch.Generator],
    start: Start,
) -> Embeddings:
    """Where the search for each target starts, float32; `prompt_embeds` is
    `[targets, tokens, width]`.

    "prompt" draws nothing from the generators, one for each target; the others do.

    Raises:
        DoribError: the start is "other" and a target comes without any caption but its own.
    """
    match start:
        case "prompt":
            return own_prompt(model, targets)
        case "other":
            return another_caption(model, targets, generators)
        case "normal":
            return standard_normal(model, targets, generators)
        case "random":
            return gaussian(model, targets, generators)


def own_prompt(model: TargetModel, targets: Sequence[Target]) -> Embeddings:
    """Embeddings of each target's caption, float32."""
    return _encode(model, [target.caption for target in targets])


def another_caption(
    model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
) -> Embeddings:
    """Embeddings of a caption drawn by each target's generator from those of other images.

    float32.

    Raises:
        DoribError: a target comes without any caption but its own.
    """
    return _encode(model, [_draw(t, g) for t, g in zip(targets, generators, strict=True)])


def standard_normal(
    model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
) -> Embeddings:
    """N(0, I) from each target's generator, float32: nothing of a prompt is in it.

    Source: Kowalczuk et al., arXiv 2507.16880v3.
    """
    prompts = own_prompt(model, targets)
    return {name: _noise(value, generators) for name, value in prompts.items()}


def gaussian(
    model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
) -> Embeddings:
    """Noise from each target's generator, float32.

    The one mean and one standard deviation of each named embedding are those of all its entries,
    of whatever token and feature, for the target's caption.
    """
    prompts = own_prompt(model, targets)
    return {name: _noise_like(value, generators) for name, value in prompts.items()}


def _noise_like(embedding: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    entries = tuple(range(1, embedding.dim()))
    spread = embedding.std(dim=entries, keepdim=True)
    return embedding.mean(dim=entries, keepdim=True) + spread * _noise(embedding, generators)


def _noise(embedding: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    noise = torch.stack([torch.randn(embedding.shape[1:], generator=g) for g in generators])
    return noise.to(embedding)


def _draw(target: Target, generator: torch.Generator) -> str:
    others = [caption for caption in target.other_captions if caption != target.caption]
    if not others:
        raise DoribError(
            f"start=other: sample {target.sample} has no caption of another image to start from; "
            "add general captions to the suite, or set start=prompt or start=normal"
        )
    return others[int(torch.randint(len(others), (), generator=generator))]


def _encode(model: TargetModel, captions: Sequence[str]) -> Embeddings:
    return {name: value.float() for name, value in model.encode_prompt(captions).items()}
