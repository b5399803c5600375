"""Which pictures are kept and which forgotten, for each memorized image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Seeds,
    TargetModel,
    copy_threshold,
    general_pictures,
    general_prompts,
    own_pictures,
    unstacked,
)
from dorib_unlearn import UnlearnParams
from dorib_unlearn.draws import Pool

METHOD = "mitigation unlearn"


@dataclass(frozen=True)
class Pictures:
    """All pictures that are drawn before the training; latents are float32, on the CPU."""

    own: Sequence[Tensor]
    """By memorized image `[pictures, *latent_shape]`: those that are no copies."""
    copies: Sequence[Tensor]
    """By memorized image `[pictures, *latent_shape]`."""
    general: Tensor
    """`[pictures, *latent_shape]`; no rows where none is needed."""
    notes: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        model: TargetModel,
        view: DefenderView,
        params: UnlearnParams,
        under: Edit,
        keeps: bool,
        seeds: Seeds,
    ) -> Pictures:
        """Draw own pictures under the edit `under`, and general ones where they are kept.

        Raises:
            DoribError: there is nothing to calibrate the threshold on, or nothing to keep.
        """
        own, copies, notes = _own(model, view, params, under, seeds.child("own"))
        general = torch.zeros(0, *model.latent_shape)
        lacking = [t.sample for t, kept in zip(view.memorized, own, strict=True) if not len(kept)]
        if keeps and params.keep == "own" and lacking:
            raise DoribError(
                f"{METHOD}: of {lacking[0]} there is no picture that is no copy; set keep=auto, or "
                "draw under another mitigation (keep_under)"
            )
        if keeps and (params.keep == "general" or lacking):
            prompts = general_prompts(view, params.general, params.general_images, seeds, METHOD)
            if not prompts:
                raise DoribError(
                    f"{METHOD}: the suite has no general captions, whose pictures would be kept; "
                    "add some, or set keep=own"
                )
            general = general_pictures(model, prompts, seeds.child("general"), params.batch_size)
            made = "real" if prompts[0].pair else "drawn"
            notes = {**notes, "general_pairs": len(general), "general_pairs_are": made}
        return cls(own, copies, general, {**notes, "samples_without_own_pictures": lacking})

    def pools(self, model: TargetModel, view: DefenderView, params: UnlearnParams) -> list[Pool]:
        """What each memorized image keeps and forgets."""
        originals = model.encode_image(torch.stack([target.original for target in view.memorized]))
        prompts = unstacked(model.encode_targets(view.memorized))
        pools = []
        for place, target in enumerate(view.memorized):
            own = self.own[place]
            general = params.keep == "general" or not len(own)
            pools.append(
                Pool(
                    target,
                    {name: value.float().cpu() for name, value in prompts[place].items()},
                    self.general if general else own,
                    torch.cat([originals[place, None].float().cpu(), self.copies[place]]),
                )
            )
        return pools


def _own(
    model: TargetModel, view: DefenderView, params: UnlearnParams, under: Edit, seeds: Seeds
) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
    """Own pictures that are no copies, copies, and what the notes say of them."""
    none = torch.zeros(0, *model.latent_shape)
    if params.pictures == 0:
        nothing = [none] * len(view.memorized)
        return nothing, nothing, {}
    threshold = params.similarity_threshold
    if threshold is None:
        originals = torch.stack([target.original for target in view.memorized])
        threshold = copy_threshold(originals, METHOD)
    with model.edited(under):
        drawn = own_pictures(model, view.memorized, params.pictures, seeds, params.batch_size)
    own = [one.latents[one.likeness < threshold] for one in drawn]
    copies = [one.latents[one.likeness >= threshold] for one in drawn]
    notes = {
        "similarity_threshold": threshold,
        "own_pictures": sum(map(len, own)),
        "copies": sum(map(len, copies)),
    }
    return own, copies, notes
