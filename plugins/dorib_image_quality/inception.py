"""Inception-v3 as in published FIDs: the TorchScript translation that clean-fid uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dorib import WeightsFile

NAME = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""On which the public projects that pin the file agree."""
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{NAME}"
SIDE = 299
PREPROCESSING = f"bicubic, antialiased, to {SIDE} x {SIDE}, not clipped; (255 x - 128) / 128"
"""Parmar et al., arXiv 2104.11222 ("clean" mode)."""


def path_of(weights: Path | None) -> Path:
    """The weights file: the one named, or the one in the user's cache."""
    return (weights or Path("~/.cache/dorib/inception") / NAME).expanduser()


def load(path: Path, device: torch.device, sha256: str = SHA256) -> tuple[Any, str]:
    """The network and its file's sha256; nothing is downloaded.

    Raises:
        DoribError: the file is missing, is another one, or is no TorchScript.
    """
    advice = f"run `curl --create-dirs -o {path} {URL}` (96 MB)"
    file = WeightsFile(
        path,
        sha256,
        "metric image-quality",
        if_missing=f"for Inception's weights {advice}, give weights=FILE, or choose features=clip",
        if_another=f"delete it and {advice}",
    )
    return file.torchscript(device)


def embedder(network: Any, device: torch.device) -> Callable[[Sequence[Tensor]], Tensor]:
    """Embeds RGB images `[3, H, W]`, float32 in [0, 1], as `[B, 2048]`."""

    @torch.no_grad()
    def embed(images: Sequence[Tensor]) -> Tensor:
        resized = torch.cat([_resized(image[None]) for image in images])
        pooled: Tensor = network.layers((255 * resized.to(device) - 128) / 128)
        return pooled.flatten(start_dim=1)

    return embed


def _resized(image: Tensor) -> Tensor:
    if image.shape[-2:] == (SIDE, SIDE):
        return image
    return functional.interpolate(image, (SIDE, SIDE), mode="bicubic", antialias=True)
