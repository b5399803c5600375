"""Images as PNG files and as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dorib.errors import DoribError


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a picture as `[3, height, width]`, float32 in [0, 1].

    Where its size differs from `size` (height, width), it is cropped to that aspect ratio about
    its centre and resampled (Lanczos).

    Raises:
        DoribError: the file is missing or no picture.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as file:
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore the picture") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DoribError(f"{path}: not a readable picture; give a PNG, JPEG or WebP") from error
    if size is not None and picture.size != (size[1], size[0]):
        picture = _fit(picture, size)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)


def write_image(image: Tensor, path: Path) -> None:
    """Write `[3, height, width]` in [0, 1] as an 8-bit PNG."""
    to_picture(image).save(path, format="PNG")


def to_picture(image: Tensor) -> Image.Image:
    """A PIL picture of `[3, height, width]` in [0, 1], rounded to 8 bits."""
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(array.permute(1, 2, 0).numpy())


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = min(picture.width / width, picture.height / height)
    left = (picture.width - width * scale) / 2
    top = (picture.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
