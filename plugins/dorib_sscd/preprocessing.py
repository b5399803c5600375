"""How images are brought before the official SSCD networks.

Published scores were made with several incompatible rules, so a cosine is comparable only within
one of them. Source: the README of facebookresearch/sscd-copy-detection, which names both rules.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Resize: TypeAlias = Literal["short-edge-288", "square-320"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NORMALISATION = "ImageNet mean and standard deviation"
EIGHT_BIT = "none: 8-bit values, which the network normalises itself"


def preprocess(images: Tensor, rule: Resize) -> Tensor:
    """Resized and normalised images `[B, 3, h, w]`, float32.

    `images` are RGB, `[B, 3, H, W]`, float32 in [0, 1].
    """
    images = resized(images, rule)
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return (images - mean) / std


def eight_bit(images: Tensor, rule: Resize) -> Tensor:
    """Resized images as pictures store them: `[B, h, w, 3]`, uint8; `images` as in `preprocess`."""
    values = (255 * resized(images, rule)).round().clamp(0, 255)
    return values.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def resized(images: Tensor, rule: Resize) -> Tensor:
    """Images `[B, 3, h, w]` of the size that `rule` asks for.

    "short-edge-288" keeps the aspect ratio; "square-320" does not. Both are bilinear and
    antialiased.
    """
    height, width = images.shape[-2:]
    if rule == "square-320":
        size = (320, 320)
    else:
        short = min(height, width)
        size = (288 * height // short, 288 * width // short)
    if (height, width) == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True)
