"""A CLIP's own image preprocessing, on tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dorib import DoribError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""By the numbers that Pillow gives them, as the configurations have them."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, normalise; each as the model's configuration has it."""

    short_edge: int | None
    """Pixels; the aspect ratio is kept."""
    size: tuple[int, int] | None
    """Height and width in pixels; the aspect ratio is not kept."""
    interpolation: str
    crop: tuple[int, int] | None
    """Height and width in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Preprocessing:
        """Read an image processor's configuration; what it leaves out is as CLIP has it.

        Raises:
            DoribError: it asks for something that CLIP's preprocessing does not have.
        """
        short_edge = size = crop = None
        mean: tuple[float, ...] = (0.0,) * 3
        std: tuple[float, ...] = (1.0,) * 3
        try:
            if config.get("do_resize", True):
                stated = config.get("size", 224)
                if isinstance(stated, int):
                    short_edge = stated
                elif "shortest_edge" in stated:
                    short_edge = int(stated["shortest_edge"])
                else:
                    size = int(stated["height"]), int(stated["width"])
            if config.get("do_center_crop", True):
                stated = config.get("crop_size", 224)
                sides = stated if isinstance(stated, Mapping) else dict.fromkeys(_SIDES, stated)
                crop = int(sides["height"]), int(sides["width"])
            if config.get("do_normalize", True):
                mean = tuple(float(value) for value in config.get("image_mean", CLIP_MEAN))
                std = tuple(float(value) for value in config.get("image_std", CLIP_STD))
            interpolation = INTERPOLATIONS[config.get("resample", 3)]
        except (KeyError, TypeError, ValueError) as error:
            raise DoribError(
                f"{where}: its image preprocessing cannot be followed ({error!r}); dorib knows "
                "CLIP's: shortest edge or height and width, bilinear or bicubic, centre crop"
            ) from error
        return cls(short_edge, size, interpolation, crop, mean, std)

    @property
    def resize_rule(self) -> str:
        """In words."""
        how = f"{self.interpolation}, antialiased"
        words = []
        if self.short_edge is not None:
            words.append(f"short edge to {self.short_edge} px, {how}")
        if self.size is not None:
            words.append(f"to {self.size[0]} x {self.size[1]} px, {how}, aspect ratio not kept")
        if self.crop is not None:
            words.append(f"centre crop of {self.crop[0]} x {self.crop[1]} px")
        return "; ".join(words) or "none"

    @property
    def normalisation(self) -> str:
        """In words."""
        return f"mean {self.mean}, standard deviation {self.std}"

    def __call__(self, images: Tensor) -> Tensor:
        """Pixel values `[B, 3, h, w]` of RGB `images` `[B, 3, H, W]`, float32 in [0, 1].

        Raises:
            DoribError: the resized images are smaller than the crop.
        """
        size = self._target_size(images.shape[-2], images.shape[-1])
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode=self.interpolation, antialias=True)
            # Bicubic interpolation overshoots where an 8-bit image is clipped.
            images = images.clamp(0, 1)
        if self.crop is not None:
            images = _centre_crop(images, self.crop)
        mean = torch.tensor(self.mean, device=images.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(3, 1, 1)
        return (images - mean) / std

    def _target_size(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if self.short_edge is None:
            return height, width
        short = min(height, width)
        return self.short_edge * height // short, self.short_edge * width // short


_SIDES = ("height", "width")


def _centre_crop(images: Tensor, crop: tuple[int, int]) -> Tensor:
    top, left = ((images.shape[2 + axis] - crop[axis]) // 2 for axis in (0, 1))
    if top < 0 or left < 0:
        raise DoribError(
            f"metric clip: images of {images.shape[2]} x {images.shape[3]} px are smaller than the "
            f"model's crop of {crop[0]} x {crop[1]}; choose a CLIP that resizes to its crop"
        )
    return images[..., top : top + crop[0], left : left + crop[1]]
