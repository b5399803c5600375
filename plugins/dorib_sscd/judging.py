"""A descriptor at work: likeness of generations to their originals, and what replicates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dorib import Generation
from dorib_sscd.descriptors import Descriptor


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

    def describe_originals(self, generations: Sequence[Generation]) -> None:
        """Describe the originals of samples that have not been seen yet, in all their views."""
        new = {g.sample: g.originals for g in generations if g.sample not in self._originals}
        views = [torch.cat(self.descriptor.views.of(originals)) for originals in new.values()]
        self._originals.update(zip(new, self.describe(views), strict=True))

    def likeness(self, generation: Generation, own: Tensor) -> list[float]:
        """Cosine of each image, described in `own`, to the nearest view of the nearest original.

        None at all where the sample has no original. `describe_originals` comes before.
        """
        originals = self._originals[generation.sample]
        if not len(originals) or not len(own):
            return []
        nearest: list[float] = (own @ originals.T).max(dim=1).values.tolist()
        return nearest

    def replicates(self, cosine: float) -> bool:
        """Whether an image of this likeness is a copy."""
        return cosine >= self.descriptor.threshold
