"""The second judge's descriptor: features of EfficientNet-Lite0 under a linear map in closed form.

`python -m dorib_suites.tiny.second_descriptor` fits the map that is kept in `stages`.

The network stays as ImageNet made it. The map is that of a linear discriminant analysis, whose
classes are pictures: directions count by how far different pictures lie apart in them, over how far
copies of one picture do, of every kind and as the autoencoder leaves it of noisy latents. To add
lookalikes to the former was tried, and made it no better. Nothing is trained by gradients, so the
second judge shares neither task nor architecture with the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib_sscd.efficientnet import EfficientNetLite, FeatureConfig, FeatureDescriptor
from dorib_suites.tiny.copies import ALL_CHANGES
from dorib_suites.tiny.data import as_float, photographs, pool_originals
from dorib_suites.tiny.judge import degraded
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.second_judge import imagenet_network
from dorib_suites.tiny.views import VIEWS

PROJECTION = Path(__file__).parent / "stages" / "second-judge-projection.safetensors"
SUITE = Path(__file__).parent / "suite"
CONFIG = FeatureConfig(reduced_size=32, input_size=128, views=VIEWS)
"""At half the side of the suite's pictures a copy has still what makes it one, and little of what
befalls it: noise, JPEG and coarse reconstructions lie nearer than at 64 or 40 pixels, lookalikes no
nearer. From there it is enlarged to 128, at which the network tells slightly more than at 96. Of
the stages that were tried alone and together, this one is the best by itself, and as good as any
two; pooled in quarters of the picture it tells outlines better and coarse copies worse.
"""
RECONSTRUCTIONS = 4
"""Of each picture, at latent noise drawn by lot each time."""
RIDGE = 1.0
"""Added to each variance within copies, as a share of their mean."""


def second_judge(projection: Path = PROJECTION) -> FeatureDescriptor:
    """The network as converted, and the map from `projection`."""
    return _descriptor(imagenet_network(), **load_file(projection))


def save_projection(judge: FeatureDescriptor, path: Path = PROJECTION) -> None:
    """Write the map alone, float32."""
    save_file({"mean": judge.mean, "projection": judge.projection.contiguous()}, path)


@torch.no_grad()
def fitted(
    network: EfficientNetLite, pixels: Tensor, restored: Sequence[Tensor], seed: int = 60
) -> FeatureDescriptor:
    """The discriminant analysis over pictures and copies of each kind.

    `pixels` are uint8 `[N, 3, H, W]`; each of `restored` holds reconstructions of them, alike.
    """
    unfitted = FeatureDescriptor(CONFIG).eval()
    unfitted.network = network
    generator = torch.Generator("cpu").manual_seed(seed)
    images = as_float(pixels)
    own = unfitted.pooled(images)
    changed = [change(images, generator) for change in ALL_CHANGES.values()]
    copied = [*changed, *map(as_float, restored)]
    within = torch.cat([unfitted.pooled(copies) - own for copies in copied])
    mean = own.mean(dim=0)
    between = own - mean
    covariance = within.T @ within / len(within)
    covariance += RIDGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    root = torch.linalg.inv(torch.linalg.cholesky(covariance))
    whitened = root @ (between.T @ between / len(between)) @ root.T
    _, directions = torch.linalg.eigh(whitened)
    return _descriptor(network, mean, root.T @ directions[:, -CONFIG.dimensions :])


def _descriptor(network: EfficientNetLite, mean: Tensor, projection: Tensor) -> FeatureDescriptor:
    judge = FeatureDescriptor(CONFIG)
    judge.network = network
    judge.mean.copy_(mean)
    judge.projection.copy_(projection)
    return judge.eval().requires_grad_(False)


def main() -> None:
    """Fit the map to the background photographs and the judge's own, but for those it is
    calibrated on.
    """
    own = [p for p in photographs("judge", FIFTH) if p.split == "training"]
    pixels = pool_originals([*photographs("background", FIFTH), *own])
    vae = AutoencoderTiny.from_pretrained(SUITE / "pipeline" / "vae", torch_dtype=torch.float32)
    restored = [degraded(pixels, vae.eval(), seed=61 + n) for n in range(RECONSTRUCTIONS)]
    save_projection(fitted(imagenet_network(), pixels, restored))


if __name__ == "__main__":
    main()
