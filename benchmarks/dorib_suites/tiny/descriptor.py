"""The suite's copy-detection descriptor: trained as SSCD is, and its threshold calibrated.

Contrastive loss between copies, and an entropy term that spreads the descriptors apart. It sees
scenes and background photographs only: no memorized sample and no control.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dorib.reporting import Reporter
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny.copies import copies, likenesses
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.training import Schedule, backward_of, train

SCHEDULE = Schedule(steps=1500, learning_rate=1.5e-3, average_decay=0.995)
QUARTER = 16
TEMPERATURE = 0.07
ENTROPY_WEIGHT = 0.5
FALSE_POSITIVE_RATE = 0.001
CROPS_OF_ONE = 12
"""How many crops of each background picture the training set holds, one after the other."""


def build() -> DescriptorNetwork:
    """The untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(40)
        return DescriptorNetwork()


def train_descriptor(
    scenes: Captioned,
    redrawn: Captioned,
    background: Captioned,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    schedule: Schedule,
) -> DescriptorNetwork:
    """Two copies of each image of a batch are alike, and no other two.

    A quarter of a batch are scenes, a quarter the same scenes in another drawing (`redrawn`), a
    quarter crops of background photographs, and a quarter likenesses of these. Without the second
    and the last the descriptor reads a caption, or colours and outlines, and takes a coloured blot
    for the photograph.
    """
    network = build().to(device)
    originals = len(background) // CROPS_OF_ONE

    def loss(step: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(scenes), (QUARTER,), generator=generator)
        # Crops of one picture overlap: they are neither copies nor different images.
        pictures = torch.randperm(originals, generator=generator)[:QUARTER]
        which = torch.randint(CROPS_OF_ONE, (QUARTER,), generator=generator)
        crops = as_float(background.pixels[pictures * CROPS_OF_ONE + which])
        drawn = as_float(torch.cat([scenes.pixels[chosen], redrawn.pixels[chosen]]))
        images = torch.cat([drawn, crops, likenesses(crops, generator)])
        pair = torch.cat([copies(images, generator), copies(images, generator)]).to(device)
        descriptors = network(pair)
        return contrast(descriptors) + ENTROPY_WEIGHT * entropy_loss(descriptors)

    train("descriptor", network, backward_of(loss), schedule, folder, seed=41, reporter=reporter)
    return network


def calibrated_threshold(similarities: Tensor, rate: float = FALSE_POSITIVE_RATE) -> float:
    """The smallest threshold that at most a share `rate` of `similarities` reaches.

    `similarities` are cosines of pairs of different images, `[pairs]`.
    """
    ordered = similarities.sort(descending=True).values
    allowed = int(rate * len(ordered))
    return float(torch.nextafter(ordered[allowed], torch.tensor(2.0)))


def contrast(descriptors: Tensor) -> Tensor:
    """Cross-entropy of finding the other copy: `[2 * images, d]`, copies `images` rows apart."""
    count = len(descriptors) // 2
    similarity = descriptors @ descriptors.T / TEMPERATURE
    similarity = similarity.masked_fill(
        torch.eye(2 * count, dtype=torch.bool, device=similarity.device), float("-inf")
    )
    labels = torch.arange(2 * count, device=similarity.device).roll(count)
    return functional.cross_entropy(similarity, labels)


def entropy_loss(descriptors: Tensor) -> Tensor:
    """Negative log distance to the nearest other image (Kozachenko-Leonenko, as in SSCD)."""
    count = len(descriptors) // 2
    similarity = descriptors @ descriptors.T
    index = torch.arange(2 * count, device=similarity.device)
    same = index[:, None] % count == index[None] % count
    nearest = similarity.masked_fill(same, -2).max(dim=1).values
    distance = (2 - 2 * nearest).clamp(min=1e-6).sqrt()
    return -distance.log().mean()
