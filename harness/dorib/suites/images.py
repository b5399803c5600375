"""Images as PNG files and as tensors."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms
from torch import Tensor

from dorib.errors import DoribError
from dorib.reading import BROKEN_PICTURE

if TYPE_CHECKING:
    from dorib.suites.manifest import Orientation

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of EXIF's orientation."""


def read_image(
    path: Path, size: tuple[int, int] | None = None, orientation: Orientation = "apply"
) -> Tensor:
    """Read a picture as people see it: `[3, height, width]`, sRGB, float32 in [0, 1].

    It is turned as its EXIF orientation says, unless that is to be ignored; transparent parts lie
    on white; 16 bits of gray are rounded to 8; CMYK, and colours of another profile than sRGB,
    are converted. Where its size differs from `size` (height, width), it is cropped to that aspect
    ratio about its centre and resampled (Lanczos).

    Raises:
        DoribError: the file is missing or no picture.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as file:
            turn = _TURNS.get(_orientation(file)) if orientation == "apply" else None
            picture = _to_rgb(file)
            if turn is not None:
                picture = picture.transpose(turn)
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore the picture") from None
    except (*BROKEN_PICTURE, Image.DecompressionBombError) as error:
        raise DoribError(f"{path}: not a readable picture; give a PNG, JPEG or WebP") from error
    if size is not None and picture.size != (size[1], size[0]):
        picture = _fit(picture, size)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)


def write_image(image: Tensor, path: Path) -> None:
    """Write `[3, height, width]` in [0, 1] as an 8-bit PNG.

    Raises:
        ValueError: a pixel is not finite.
    """
    to_picture(image).save(path, format="PNG")


def to_picture(image: Tensor) -> Image.Image:
    """A PIL picture of `[3, height, width]` in [0, 1], rounded to 8 bits.

    Raises:
        ValueError: a pixel is not finite.
    """
    if not bool(torch.isfinite(image).all()):
        raise ValueError("the image is not finite")
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(array.permute(1, 2, 0).numpy())


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = min(picture.width / width, picture.height / height)
    left = (picture.width - width * scale) / 2
    top = (picture.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return picture.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _orientation(file: Image.Image) -> int:
    """As EXIF has it; 1, upright, where there is none, or none that can be read."""
    try:
        return int(file.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, TypeError, ValueError, OverflowError, struct.error):
        return 1


def _to_rgb(file: Image.Image) -> Image.Image:
    """The picture in sRGB, 8 bits, transparent parts on white."""
    if file.mode.startswith("I"):
        return _gray16_to_rgb(file)
    if not file.has_transparency_data:
        return _in_srgb(file)
    with_alpha = file.convert("RGBA")
    colours = with_alpha.convert("RGB")
    colours.info["icc_profile"] = file.info.get("icc_profile")
    white = Image.new("RGB", file.size, "white")
    return Image.composite(_in_srgb(colours), white, with_alpha.getchannel("A"))


def _gray16_to_rgb(file: Image.Image) -> Image.Image:
    values = np.asarray(file).astype(np.float64)
    gray = (values / 65535 * 255).round().clip(0, 255).astype(np.uint8)
    transparent = file.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray).convert("RGB")


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Converted from the profile that is embedded; one that does not fit the picture is passed
    over, as browsers do."""
    content = picture.info.get("icc_profile")
    if content:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
            # Through the converter these colours would come out one off here and there.
            if not ImageCms.getProfileDescription(profile).startswith("sRGB"):
                own = picture if picture.mode in ("RGB", "L", "CMYK") else picture.convert("RGB")
                converted = ImageCms.profileToProfile(
                    own, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass
    return picture.convert("RGB")
