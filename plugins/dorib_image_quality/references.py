"""Real images from a folder, to compare with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dorib import BROKEN_PICTURE, DoribError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder and of those below it, by name.

    Raises:
        DoribError: there are fewer than two, of which no distribution can be told.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = sorted(path for path in found if path.is_file())
    if len(files) < 2:
        raise DoribError(
            f"metric image-quality: {folder} holds {len(files)} images; give reference=FOLDER with "
            f"at least two ({', '.join(sorted(SUFFIXES))})"
        )
    return files


def files_sha256(files: list[Path]) -> str:
    """One sha256 over the bytes of all files, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read(files: list[Path]) -> Iterator[Tensor]:
    """RGB images `[3, H, W]`, float32 in [0, 1], each of its own size.

    Raises:
        DoribError: a file is no image.
    """
    for path in files:
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
        except BROKEN_PICTURE as error:
            raise DoribError(
                f"metric image-quality: {path} cannot be read as an image ({error}); remove it or "
                "restore it"
            ) from error
        yield torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
