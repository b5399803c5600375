"""A small copy-detection descriptor in the manner of SSCD (Pizzi et al. 2022)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from dorib_sscd.folders import DescriptorFolder
from dorib_sscd.views import Views

RESIZE_RULE = "bilinear, antialiased, to the square input size, aspect ratio not kept"
NORMALISATION = "(x - 0.5) / 0.25"


@dataclass(frozen=True)
class DescriptorConfig:
    """Shape of a `DescriptorNetwork`."""

    input_size: int = 64
    """Pixels, both ways."""
    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels of each stage; each stage after the first halves the resolution."""
    dimensions: int = 128
    """Length of the descriptor."""
    pooling_power: float = 3.0
    """p of generalised-mean pooling."""
    views: Views = field(default_factory=Views)
    """In which originals are described."""

    def written(self) -> dict[str, Any]:
        """As it stands in `config.json`, which names views only where there are any."""
        content = asdict(self)
        del content["views"]
        return content | ({"views": self.views.model_dump(mode="json")} if self.views else {})


class DescriptorNetwork(nn.Module):
    """Residual stages, GeM pooling, a linear map to a descriptor of unit length."""

    resize_rule: ClassVar[str] = RESIZE_RULE
    normalisation: ClassVar[str] = NORMALISATION

    def __init__(self, config: DescriptorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DescriptorConfig()
        widths = self.config.widths
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            _Stage(before, width, stride=1 if number == 0 else 2)
            for number, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.head = nn.Linear(widths[-1], self.config.dimensions)

    def forward(self, images: Tensor) -> Tensor:
        """Descriptors `[B, dimensions]` of RGB `images` `[B, 3, H, W]` in [0, 1], any size."""
        size = (self.config.input_size,) * 2
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        features = self.stem((images - 0.5) / 0.25)
        for stage in self.stages:
            features = stage(features)
        power = self.config.pooling_power
        pooled = features.clamp(min=1e-4).pow(power).mean(dim=(2, 3)).pow(1 / power)
        return functional.normalize(self.head(pooled), dim=1)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` (float16) into `folder`."""
        weights = {name: value.half() for name, value in self.state_dict().items()}
        DescriptorFolder(folder).write(self.config.written(), weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DescriptorNetwork:
        """Read a network that `save_pretrained` wrote; float32, in evaluation mode.

        Raises:
            DoribError: a file is missing, truncated, of another shape or a link that leads
                elsewhere, or a tensor is not finite.
        """
        own = DescriptorFolder(folder)
        content = own.configuration()
        with own.refused():
            content["widths"] = tuple(content["widths"])
            network = cls(DescriptorConfig(**content))
        own.fill(network)
        return network


class _Stage(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(8, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(8, width)
        self.skip = nn.Conv2d(inputs, width, 1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.relu(self.first_norm(self.first(features)))
        hidden = self.second_norm(self.second(hidden))
        return functional.relu(hidden + self.skip(features))
