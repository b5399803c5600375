"""MS-SSIM between noise differences, at settings that fit the latent's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dorib import DoribError

AUTHORS_SIDE = 64
"""Latent size that the authors' settings are for: sigma 1.5 (a window of 11), three scales."""
AUTHORS_SIGMA = 1.5
SMALLEST_SIGMA = 0.375
"""Below, the window sees next to nothing but its central value: noise passes for its inverse."""
AUTHORS_SCALES = 3
AUTHORS_BETA = 0.33


@dataclass(frozen=True)
class Similarity:
    """MS-SSIM of images in [0, 1]."""

    sigma: float
    kernel_size: int
    betas: tuple[float, ...]
    data_range: float | None
    """None: the widest range in the batch, anew at each scale, as the authors leave it. A score
    then depends on what else is in the batch."""

    @classmethod
    def for_latents(cls, height: int, width: int, data_range: float | None) -> Similarity:
        """The authors' settings from 64 x 64 on; below, a window that shrinks with the latent.

        Where three scales do not fit, fewer share their weight.

        Raises:
            DoribError: the latent is too small for any window.
        """
        side = min(height, width)
        sigma = max(AUTHORS_SIGMA * min(1.0, side / AUTHORS_SIDE), SMALLEST_SIGMA)
        radius = int(3.5 * sigma + 0.5)  # how torchmetrics cuts off the Gaussian
        fitting = [n for n in range(1, AUTHORS_SCALES + 1) if side // 2 ** (n - 1) > 2 * radius]
        if not fitting:
            raise DoribError(
                f"mitigation nemo: latents of {height} x {width} are too small to compare by "
                "MS-SSIM; use a suite with larger images"
            )
        scales = max(fitting)
        betas = (AUTHORS_BETA * AUTHORS_SCALES / scales,) * scales
        return cls(sigma, 2 * radius + 1, betas, data_range)

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Similarity of each pair of `[N, channels, height, width]`: float32 `[N]`."""
        similarity: Tensor = multiscale_structural_similarity_index_measure(
            one.float(),
            other.float(),
            reduction="none",
            sigma=self.sigma,
            kernel_size=self.kernel_size,
            betas=self.betas,
            data_range=self.data_range,
        )
        return similarity

    def each(self, reference: Tensor, others: Tensor) -> Tensor:
        """Similarity of `others[m, n]` to `reference[n]`: `[M, N, C, H, W]` to float32 `[M, N]`.

        Each of `others` is a batch by itself.
        """
        if self.data_range is None:
            return torch.stack([self(reference, other) for other in others])
        repeated = reference.expand_as(others).flatten(0, 1)
        return self(repeated, others.flatten(0, 1)).view(len(others), -1)

    def closest(self, images: Tensor) -> Tensor:
        """Each image's similarity to the one most like it among `[N, C, H, W]`: float32 `[N]`."""
        pairs = torch.combinations(torch.arange(len(images), device=images.device))
        similarity = self(images[pairs[:, 0]], images[pairs[:, 1]])
        table = similarity.new_full((len(images), len(images)), -torch.inf)
        table[pairs[:, 0], pairs[:, 1]] = similarity
        return torch.maximum(table, table.T).amax(dim=1)
