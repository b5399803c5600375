"""Both judges as the suite ships them: networks, thresholds, views and licence."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor

from dorib.contracts.suite_view import DescriptorSettings
from dorib.suites.suite import Suite
from dorib_sscd.backends import SuiteNetwork, load_network
from dorib_sscd.efficientnet import FeatureDescriptor
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny.calibration import DIFFERENT_RATE, calibrate
from dorib_suites.tiny.judge import Pool
from dorib_suites.tiny.reuse import STAGES
from dorib_suites.tiny.second_descriptor import second_judge
from dorib_suites.tiny.second_judge import LICENCE
from dorib_suites.tiny.views import VIEWS, seen, similarity

NOT_FOR_THE_SECOND = ("scenes", "templates")
"""ImageNet features do not tell drawings of shapes apart; the second judge is asked about
photographs alone."""
FIGURES = STAGES / "judges.json"
"""What `judge_figures` found of the kept judges."""
FIRST, SECOND = "descriptor", "second-descriptor"
"""Their folders in the suite."""


@dataclass(frozen=True)
class Judges:
    """Both networks, and what was found when their thresholds were calibrated."""

    first: DescriptorNetwork
    second: FeatureDescriptor
    calibrations: dict[str, Any]
    """Of `first` and `second`, as `calibrate` gives them."""

    @classmethod
    def calibrated(cls, first: DescriptorNetwork, pool: Pool) -> Self:
        """A trained first judge and the kept second one, calibrated on `pool`."""
        second = second_judge()
        calibrations = {
            "first": calibrate(first, pool),
            "second": calibrate(second, pool, NOT_FOR_THE_SECOND),
        }
        return cls(first, second, calibrations)

    @classmethod
    def kept(cls) -> Self:
        """Both from `stages`, with the thresholds that they were kept with."""
        first = DescriptorNetwork()
        state = load_file(STAGES / "judge.safetensors")
        first.load_state_dict({name: value.float() for name, value in state.items()})
        figures = json.loads(FIGURES.read_text())
        calibrations = {name: figures[name]["calibration"] for name in ("first", "second")}
        return cls(first.eval().requires_grad_(False), second_judge(), calibrations)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write both into a suite's folder, and give what its manifest says of them."""
        first = copy.deepcopy(self.first)
        first.config = replace(first.config, views=VIEWS)
        first.save_pretrained(folder / FIRST)
        self.second.save_pretrained(folder / SECOND)
        shutil.copy(LICENCE, folder / SECOND / "LICENSE.txt")
        return {
            key: {
                "path": path,
                "threshold": self.calibrations[name]["threshold"],
                "false_positive_rate": DIFFERENT_RATE,
            }
            for key, path, name in (
                ("descriptor", FIRST, "first"),
                ("second_descriptor", SECOND, "second"),
            )
        }


@dataclass(frozen=True)
class ShippedJudge:
    """A descriptor as a suite's folder has it."""

    network: SuiteNetwork
    threshold: float

    @classmethod
    def of(cls, suite: Suite, settings: DescriptorSettings) -> Self:
        """The one that `settings` of the suite's manifest name by their path."""
        assert settings.path is not None
        return cls(load_network(Path(suite.component(settings.path))), settings.threshold)

    @torch.no_grad()
    def similarity(self, images: Tensor, originals: Sequence[Tensor]) -> Tensor:
        """Cosine of each image to the nearest of its originals (`[n, 3, H, W]` each), `[images]`.

        Of an original the nearest view counts.
        """
        known = seen(self.network, torch.cat([*originals]), self.network.config.views)
        of_each = torch.split(known, [len(of_image) for of_image in originals], dim=1)
        described = self.network(images)
        return torch.stack([(k @ own).max() for k, own in zip(of_each, described, strict=True)])

    @torch.no_grad()
    def pairwise(self, originals: Tensor, images: Tensor) -> Tensor:
        """Cosine of each image to the original in its own place, `[images]`."""
        return similarity(
            seen(self.network, originals, self.network.config.views), self.network(images)
        )

    def share(self, cosines: Tensor, digits: int = 4) -> float:
        """Share at or above the threshold."""
        return round((cosines >= self.threshold).float().mean().item(), digits)
