"""The second judge's descriptor: features of EfficientNet-Lite0 under a linear map in closed form.

The network stays as ImageNet made it. The map is that of a linear discriminant analysis, whose
classes are pictures: directions count by how far different pictures lie apart in them, over how far
copies of one picture do. To add lookalikes to the former was tried, and made it no better. Nothing
is trained by gradients, so the second judge shares neither task nor architecture with the first.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dorib_suites.tiny.copies import CHANGES
from dorib_suites.tiny.data import as_float
from dorib_suites.tiny.second_judge import EfficientNetLite

PROJECTION = Path(__file__).parent / "stages" / "second-judge-projection.safetensors"
SIDE = 96
"""Pixels, both ways: pictures of 64 are enlarged, since the network was made for 224."""
STAGE = 5
"""Of the stages that were tried alone and together, the best by itself, and as good as any two."""
DIMENSIONS = 160
RIDGE = 1.0
"""Added to each variance within copies, as a share of their mean."""
POOLING_POWER = 3.0


class SecondJudge(nn.Module):
    """Descriptors `[B, DIMENSIONS]` of unit length for RGB images `[B, 3, H, W]` in [0, 1]."""

    mean: Tensor
    projection: Tensor

    def __init__(self, network: EfficientNetLite, mean: Tensor, projection: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("projection", projection)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, centred and mapped."""
        pooled = pooled_features(self.network, images)
        return functional.normalize((pooled - self.mean) @ self.projection, dim=1)

    @classmethod
    def from_files(cls, projection: Path = PROJECTION) -> SecondJudge:
        """The network as converted, and the map from `projection`."""
        return cls(EfficientNetLite.from_file(), **load_file(projection)).eval()

    def save_projection(self, path: Path = PROJECTION) -> None:
        """Write the map alone, float32."""
        save_file({"mean": self.mean, "projection": self.projection.contiguous()}, path)


@torch.no_grad()
def pooled_features(network: EfficientNetLite, images: Tensor) -> Tensor:
    """Generalised-mean and mean features of one stage, `[B, 2 * channels]` of unit length."""
    pooled = []
    for piece in torch.split(images, 32):
        larger = functional.interpolate(piece, (SIDE, SIDE), mode="bicubic", antialias=True)
        features = network(larger.clamp(0, 1))[STAGE]
        power = features.clamp(min=1e-4).pow(POOLING_POWER)
        general = power.mean(dim=(2, 3)).pow(1 / POOLING_POWER)
        pooled.append(torch.cat([general, features.mean(dim=(2, 3))], dim=1))
    return functional.normalize(torch.cat(pooled), dim=1)


@torch.no_grad()
def fitted(network: EfficientNetLite, pixels: Tensor, seed: int = 60) -> SecondJudge:
    """The discriminant analysis over pictures (uint8 `[N, 3, H, W]`) and copies of each kind."""
    generator = torch.Generator("cpu").manual_seed(seed)
    images = as_float(pixels)
    own = pooled_features(network, images)
    within = torch.cat(
        [pooled_features(network, change(images, generator)) - own for change in CHANGES.values()]
    )
    mean = own.mean(dim=0)
    between = own - mean
    covariance = within.T @ within / len(within)
    covariance += RIDGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    root = torch.linalg.inv(torch.linalg.cholesky(covariance))
    whitened = root @ (between.T @ between / len(between)) @ root.T
    _, directions = torch.linalg.eigh(whitened)
    return SecondJudge(network, mean, root.T @ directions[:, -DIMENSIONS:]).eval()
