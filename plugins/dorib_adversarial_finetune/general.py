"""General pairs for the utility loss: the suite's own, or pictures that the model draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dorib import DefenderView, DoribError, GeneralPair, Seeds, TargetModel
from dorib_adversarial_finetune import AdversarialFinetuneParams
from dorib_adversarial_finetune.pictures import SHARED_WORK, Order, draw


class GeneralPrompt(NamedTuple):
    """A general caption, and the pair that it is of where its picture is real."""

    caption: str
    pair: GeneralPair | None


def general_prompts(
    params: AdversarialFinetuneParams, view: DefenderView, seeds: Seeds
) -> list[GeneralPrompt]:
    """General prompts chosen by lot, none without utility loss; all are real or none is.

    Raises:
        DoribError: there are no general captions, or real pairs are asked for and there are none.
    """
    if params.utility_weight == 0:
        return []
    if params.general == "real" and not view.general_pairs:
        raise DoribError(
            "mitigation adversarial-finetune: general=real, but no general caption of the suite "
            "has an image; name images in its general.jsonl, or set general=drawn"
        )
    if params.general != "drawn" and view.general_pairs:
        found = [GeneralPrompt(pair.caption, pair) for pair in view.general_pairs]
    else:
        found = [GeneralPrompt(caption, None) for caption in view.general_captions]
    if not found:
        raise DoribError(
            "mitigation adversarial-finetune: the suite has no general captions for the utility "
            "loss; add some, or set utility_weight=0"
        )
    lot = torch.randperm(len(found), generator=seeds.generator("general captions"))
    return [found[i] for i in lot[: params.general_images].tolist()]


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
        return draw(model, orders, batch_size)
    batches = (pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size))
    return torch.cat(
        [
            model.encode_image(torch.stack([pair.read() for pair in batch])).float().cpu()
            for batch in batches
        ]
    )
