"""A descriptor of ImageNet features: EfficientNet-Lite0 under a linear map.

Independent of networks trained for copy detection in data, in task and in architecture. Source of
the network: Tan and Le 2019 (arXiv 1905.11946), "Lite" without squeeze-and-excite and with ReLU6.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from dorib import StrictModel, checked
from dorib_sscd.folders import CONFIGURATION, DescriptorFolder
from dorib_sscd.views import Views

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, blocks, stride of the first block, kernel."""
STEM = 32
MEAN, STD = 127 / 255, 128 / 255
EPSILON = 1e-3
RESIZE_RULE = "bicubic, antialiased, clipped, to the square input size, aspect ratio not kept"
NORMALISATION = "(x - 127/255) / (128/255)"
TOGETHER = 32
"""Images that pass through the network at once."""


class FeatureConfig(StrictModel):
    """Shape of a `FeatureDescriptor`, as its `config.json` states it."""

    architecture: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    input_size: int = Field(default=96, ge=32, le=1024)
    """Pixels, both ways; the network was made for 224."""
    reduced_size: int | None = Field(default=None, ge=8, le=1024)
    """Pixels, both ways, to which a picture is reduced before that; None: it is not. What copies
    lose, as noise, JPEG and an autoencoder leave them, lies above.
    """
    stage: int = Field(default=5, ge=0, lt=len(STAGES))
    """Whose features are pooled, counted from 0."""
    dimensions: int = Field(default=160, ge=1, le=4096)
    """Length of the descriptor."""
    pooling_power: float = Field(default=3.0, gt=0, le=64)
    """p of generalised-mean pooling."""
    views: Views = Views()
    """In which originals are described."""


class FeatureDescriptor(nn.Module):
    """Pooled features of one stage, centred and mapped to a descriptor of unit length."""

    normalisation: ClassVar[str] = NORMALISATION
    mean: Tensor
    projection: Tensor

    def __init__(self, config: FeatureConfig | None = None) -> None:
        super().__init__()
        self.config = config or FeatureConfig()
        self.network = EfficientNetLite()
        width = 2 * STAGES[self.config.stage][1]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("projection", torch.zeros(width, self.config.dimensions))

    @property
    def resize_rule(self) -> str:
        """How pictures are brought to the network's size."""
        reduced = self.config.reduced_size
        return f"{RESIZE_RULE}, {reduced} px before" if reduced else RESIZE_RULE

    def forward(self, images: Tensor) -> Tensor:
        """Descriptors `[B, dimensions]` of RGB `images` `[B, 3, H, W]` in [0, 1], any size."""
        return functional.normalize((self.pooled(images) - self.mean) @ self.projection, dim=1)

    def pooled(self, images: Tensor) -> Tensor:
        """Generalised-mean and mean features, `[B, 2 * channels]` of unit length."""
        power = self.config.pooling_power
        pooled = []
        for piece in torch.split(images, TOGETHER):
            if self.config.reduced_size:
                piece = _resized(piece, self.config.reduced_size)
            larger = _resized(piece, self.config.input_size)
            features = self.network(larger)[self.config.stage]
            general = features.clamp(min=1e-4).pow(power).mean(dim=(2, 3)).pow(1 / power)
            pooled.append(torch.cat([general, features.mean(dim=(2, 3))], dim=1))
        return functional.normalize(torch.cat(pooled), dim=1)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into `folder`: the network as float16, the
        map as float32.
        """
        maps = {"mean", "projection"}
        weights = {
            name: value.half() if value.is_floating_point() and name not in maps else value
            for name, value in self.state_dict().items()
        }
        configuration = self.config.model_dump(mode="json", exclude_none=True)
        if not self.config.views:
            del configuration["views"]
        DescriptorFolder(folder).write(configuration, weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> FeatureDescriptor:
        """Read a descriptor that `save_pretrained` wrote; float32, in evaluation mode.

        Raises:
            DoribError: a file is missing, truncated, of another shape or a link that leads
                elsewhere, or a tensor is not finite.
        """
        own = DescriptorFolder(folder)
        where = f"{own.what}: {CONFIGURATION}"
        network = cls(checked(FeatureConfig, own.configuration(), where))
        own.fill(network)
        return network


def _resized(images: Tensor, side: int) -> Tensor:
    resized = functional.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


class EfficientNetLite(nn.Module):
    """The convolutional part of EfficientNet-Lite0: features of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, STEM, 3, stride=2)
        stages, width = [], STEM
        for expansion, channels, count, stride, kernel in STAGES:
            blocks = []
            for number in range(count):
                blocks.append(
                    _Block(width, channels, expansion, kernel, stride if number == 0 else 1)
                )
                width = channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features `[B, channels, h, w]` of each stage for `images` `[B, 3, H, W]` in [0, 1]."""
        features = self.stem((images - MEAN) / STD)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class _Convolution(nn.Module):
    """Convolution padded as in TensorFlow, batch normalisation, ReLU6 unless it is linear."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        self._kernel, self._stride, self._linear = kernel, stride, linear

    def forward(self, features: Tensor) -> Tensor:
        """At stride 2 the side is halved, whatever its parity, and rounded up."""
        missing = []
        for side in reversed(features.shape[-2:]):
            outputs = -(-side // self._stride)
            lacking = max(0, (outputs - 1) * self._stride + self._kernel - side)
            missing += [lacking // 2, lacking - lacking // 2]
        hidden: Tensor = self.norm(self.convolution(functional.pad(features, missing)))
        return hidden if self._linear else functional.relu6(hidden)


class _Block(nn.Module):
    """Mobile inverted bottleneck."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _Convolution(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, outputs, 1, linear=True)
        self._skips = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        hidden = features if self.expand is None else self.expand(features)
        hidden = self.project(self.depthwise(hidden))
        assert isinstance(hidden, Tensor)
        return features + hidden if self._skips else hidden
