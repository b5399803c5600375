"""A descriptor at work: likeness of generations to their originals, and what replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dorib import Generation
from dorib_sscd.descriptors import Descriptor


@dataclass(frozen=True)
class Verdict:
    """On one image."""

    seed: int
    cosine: float
    """With the nearest original."""
    replicates: bool


class Judge:
    """Describes images, and each sample's originals once."""

    def __init__(self, descriptor: Descriptor, batch_size: int) -> None:
        self.descriptor = descriptor
        self._batch_size = descriptor.largest_batch or batch_size
        self._originals: dict[str, Tensor] = {}

    def describe(self, groups: Sequence[Tensor]) -> list[Tensor]:
        """Descriptors `[n, D]` of unit length, float64, of each group of images `[n, 3, H, W]`.

        Raises:
            ValueError: a descriptor is not finite.
        """
        if not groups:
            return []
        images = torch.cat(list(groups))
        parts = [
            self.descriptor.describe(part)
            for part in torch.split(images, self._batch_size)
            if len(part)
        ]
        # In float64 an image's cosine with itself is 1 to the last digits, and no value depends on
        # how many others are summed beside it.
        described = torch.cat(parts).double() if parts else torch.zeros(0, 1).double()
        if not described.isfinite().all():
            raise ValueError("a descriptor is not finite; the images or the weights are damaged")
        described = functional.normalize(described, dim=1)
        return list(torch.split(described, [len(group) for group in groups]))

    def verdicts(
        self, generations: Sequence[Generation], described: Sequence[Tensor]
    ) -> list[list[Verdict]]:
        """What it says of each generation's images, which `describe` has described.

        Of an original the nearest view counts, of several originals the nearest. None where a
        sample has no original.
        """
        for generation in generations:
            if generation.sample not in self._originals:
                # By themselves: rounding must not tell which samples came first in this process.
                views = torch.cat(self.descriptor.views.of(generation.originals))
                [self._originals[generation.sample]] = self.describe([views])
        return [
            self._of_images(generation, own)
            for generation, own in zip(generations, described, strict=True)
        ]

    def _of_images(self, generation: Generation, own: Tensor) -> list[Verdict]:
        originals = self._originals[generation.sample]
        if not len(originals) or not len(own):
            return []
        nearest = (own @ originals.T).max(dim=1).values.tolist()
        return [
            Verdict(seed, cosine, cosine >= self.descriptor.threshold)
            for seed, cosine in zip(generation.seeds, nearest, strict=True)
        ]
