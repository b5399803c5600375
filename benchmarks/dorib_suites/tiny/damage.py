"""Damaged U-Nets, and what they make of latents: neither the decoder nor the judge may mind them.

A mitigation that prunes leaves the U-Net to put latents off the manifold of pictures. Here the
weights that count most are zeroed without asking which prompt leans on them, so no memorized
sample is needed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from dorib_suites.tiny.unet import Encoded, scheduler

LARGEST_SHARE = 0.3
"""Of the weights of a feed-forward layer, at most."""
NOISE_RATIO = (0.3, 1.2)
"""Standard deviation of the noise over that of the signal: what remains shows the picture."""
STEPS = 3


@dataclass(frozen=True)
class DamagedLatents:
    """Latents that a damaged U-Net returned, and which pair each of them came from."""

    latents: Tensor
    """`[N, channels, 16, 16]`, float32, scaled to unit variance."""
    rows: Tensor
    """`[N]`, int64: rows of the encoded pairs."""


def damaged(
    unet: UNet2DConditionModel, share: float, generator: torch.Generator
) -> UNet2DConditionModel:
    """A copy in which the `share` largest weights of half the feed-forward layers are zero."""
    broken = copy.deepcopy(unet).eval().requires_grad_(False)
    for name, module in broken.named_modules():
        if not (isinstance(module, nn.Linear) and ".ff.net." in name):
            continue
        if torch.rand((), generator=generator) < 0.5:
            continue
        magnitudes = module.weight.abs().flatten()
        count = int(share * len(magnitudes))
        module.weight.view(-1)[magnitudes.topk(count).indices] = 0
    return broken


@torch.no_grad()
def damaged_latents(
    unet: UNet2DConditionModel, pairs: Encoded, count: int, seed: int, group: int = 64
) -> DamagedLatents:
    """`count` latents of `pairs`, noised and brought back in three steps by damaged copies.

    Every `group` has a copy of its own, damaged by a share of its own, and starts from one noise
    level.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    device = next(unet.parameters()).device
    abar = scheduler().alphas_cumprod
    ratios = ((1 - abar) / abar).sqrt()
    rows = torch.multinomial(pairs.weights, count, replacement=True, generator=generator)
    returned = []
    for chosen in torch.split(rows, group):
        share = LARGEST_SHARE * torch.rand((), generator=generator).item()
        broken = damaged(unet, share, generator)
        low, high = NOISE_RATIO
        wanted = low + (high - low) * torch.rand((), generator=generator)
        start = int(torch.searchsorted(ratios, wanted))
        embeddings = pairs.embeddings[pairs.caption_of[chosen]].to(device)
        noise = torch.randn((len(chosen), *pairs.latents.shape[1:]), generator=generator)
        clean = pairs.latents[chosen].to(device)
        noise = noise.to(device)
        for step in range(STEPS):
            t = start * (STEPS - step) // STEPS
            signal, spread = abar[t].sqrt().item(), (1 - abar[t]).sqrt().item()
            noisy = signal * clean + spread * noise
            velocity = broken(noisy, t, embeddings).sample
            clean, noise = signal * noisy - spread * velocity, spread * noisy + signal * velocity
        returned.append(clean.cpu())
    return DamagedLatents(torch.cat(returned), rows)
