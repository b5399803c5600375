"""Whether what came is a whole picture of a size that can be handled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from dorib.reading import BROKEN_PICTURE
from dorib.suites.fetch.download import DownloadError
from dorib.suites.fetch.sources import SUFFIXES

LARGEST_PIXELS = 50_000_000
SMALLEST_SIDE = 32
"""Pixels; below it stand tracking pixels and icons, not training images."""


@dataclass(frozen=True)
class Picture:
    """What is known of a picture's file."""

    suffix: str
    width: int
    height: int
    sha256: str


def inspect_picture(content: bytes) -> Picture:
    """What the bytes hold, whatever the server said of them.

    The header is judged before a pixel is unpacked. The bytes are kept as they came, so that
    their hash can be compared elsewhere and nothing is lost to another encoder.

    Raises:
        DownloadError: no PNG, JPEG or WebP; too large or too small; or not whole, in which case
            another attempt may help.
    """
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as picture:
            width, height = picture.size
            if width * height > LARGEST_PIXELS:
                raise DownloadError(f"{width} x {height} pixels, more than can be handled")
            if min(width, height) < SMALLEST_SIDE:
                raise DownloadError(f"{width} x {height} pixels, no training image")
            suffix = SUFFIXES[picture.format or ""]
            picture.load()
    except Image.DecompressionBombError as error:
        raise DownloadError("more pixels than can be handled") from error
    except UnidentifiedImageError as error:
        raise DownloadError(f"no PNG, JPEG or WebP ({_looks_like(content)})") from error
    except BROKEN_PICTURE as error:
        raise DownloadError(f"a damaged picture ({str(error)[:100]})", again=True) from error
    return Picture(suffix, width, height, hashlib.sha256(content).hexdigest())


def _looks_like(content: bytes) -> str:
    start = content[:256].lstrip().lower()
    if not content:
        return "nothing came"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "XML"
    if start.startswith((b"gif8",)):
        return "a GIF"
    return "something else"
