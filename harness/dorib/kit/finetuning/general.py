"""General pairs to train on: the suite's own, or pictures that the model draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dorib.contracts.methods import Scale
from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import DefenderView, GeneralPair
from dorib.errors import DoribError
from dorib.kit.finetuning.pictures import SHARED_WORK, Order, draw_pictures


class GeneralPrompt(NamedTuple):
    """A general caption, and the pair that it is of where its picture is real."""

    caption: str
    pair: GeneralPair | None


def general_prompts(
    view: DefenderView,
    kind: Literal["auto", "real", "drawn"],
    count: int,
    seeds: Seeds,
    method: str,
) -> list[GeneralPrompt]:
    """At most `count` general prompts, chosen by lot; all are real or none is.

    None at all where the suite has no general captions. Of the kind `auto` they are real where the
    suite has any such; `method` is what a message names.

    Raises:
        DoribError: real pairs are asked for and there are none.
    """
    if kind == "real" and not view.general_pairs:
        raise DoribError(
            f"{method}: general=real, but no general caption of the suite has an image; name "
            "images in its general.jsonl, or set general=drawn"
        )
    if kind != "drawn" and view.general_pairs:
        found = [GeneralPrompt(pair.caption, pair) for pair in view.general_pairs]
    else:
        found = [GeneralPrompt(caption, None) for caption in view.general_captions]
    lot = torch.randperm(len(found), generator=seeds.generator("general captions"))
    return [found[i] for i in lot[:count].tolist()]


def drawn_general_pictures(scale: Scale, kind: Literal["auto", "real", "drawn"], count: int) -> int:
    """How many pictures the model will draw for `general_prompts` of the same arguments."""
    if kind == "real" or (kind == "auto" and scale.general_pairs):
        return 0
    return min(count, scale.general_captions)


def general_pictures(
    model: TargetModel, prompts: Sequence[GeneralPrompt], seeds: Seeds, batch_size: int
) -> Tensor:
    """Latents `[prompts, *latent_shape]` of real pictures, or of those that the model draws.

    float32 on the CPU.

    Raises:
        DoribError: a picture cannot be read.
    """
    if not prompts:
        return torch.zeros(0, *model.latent_shape)
    pairs = [prompt.pair for prompt in prompts if prompt.pair is not None]
    if not pairs:
        orders = [
            Order(prompt.caption, seeds.generator(number), SHARED_WORK)
            for number, prompt in enumerate(prompts)
        ]
        return draw_pictures(model, orders, batch_size)
    batches = (pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size))
    return torch.cat(
        [
            model.encode_image(torch.stack([pair.read() for pair in batch])).float().cpu()
            for batch in batches
        ]
    )
