"""Both judges as the recipe writes them into the fifth suite, through the `sscd` metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from dorib import Generation, Suite
from dorib_sscd import SscdParams
from dorib_sscd.backends import load_network
from dorib_sscd.metric import Sscd
from dorib_suites.tiny.copies import CHANGES
from dorib_suites.tiny.data import as_float, fixed_crops, photographs
from dorib_suites.tiny.judges import FIGURES, Judges, ShippedJudge
from dorib_suites.tiny.lookalikes import LOOKALIKES
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.second_descriptor import second_judge
from dorib_suites.tiny.views import VIEWS
from fixtures.suites import manifest, write_manifest

SILHOUETTES = [
    "black fill",
    "purple fill",
    "mean fill",
    "recoloured masses",
    "flat masses",
    "blurred shape",
    "blocky shape",
    "outline",
]
"""Of the lookalikes those that keep a shape and lose what is in it."""
REPEATS = 4
"""As in the calibration: some kinds draw lots."""
FIGURES_OF = {key: found["calibration"] for key, found in json.loads(FIGURES.read_text()).items()}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("fifth")
    write_manifest(folder, manifest() | Judges.kept().write(folder))
    return Suite.load(folder)


def prepared(suite: Suite) -> Sscd:
    metric = Sscd(SscdParams())
    metric.prepare(suite, torch.device("cpu"))
    return metric


def white_originals() -> dict[str, Tensor]:
    """Those of the fifth suite's samples that are cut out on white, uint8 `[3, 64, 64]` by id."""
    found = {}
    for role in ("memorized", "control"):
        pixels = fixed_crops(role, FIFTH).pixels
        for own, photograph in zip(pixels, photographs(role, FIFTH), strict=True):
            if photograph.ground == "white":
                found[photograph.id] = own
    return found


def shares(metric: Sscd, planted: dict[str, Tensor]) -> dict[str, float]:
    """Of what is planted for each original, how much each judge calls copies."""
    verdicts: dict[str, list[float]] = {"replicates": [], "replicates_second": []}
    for sample, original in white_originals().items():
        images = planted[sample]
        shown = Generation(sample, "", tuple(range(len(images))), images, as_float(original[None]))
        (values,) = metric.measure([shown])
        for value in values:
            if value.metric in verdicts:
                verdicts[value.metric].append(value.value)
    return {name: sum(found) / len(found) for name, found in verdicts.items() if found}


def test_the_folder_says_what_both_judges_are(suite: Suite) -> None:
    first, second = suite.descriptor, suite.second_descriptor
    assert first is not None and second is not None
    assert first.threshold == FIGURES_OF["first"]["threshold"]
    assert second.threshold == FIGURES_OF["second"]["threshold"]
    for settings in (first, second):
        assert settings.path is not None and settings.false_positive_rate == 0.001
        assert load_network(suite.root / settings.path).config.views == VIEWS
    licence = suite.root / "second-descriptor" / "LICENSE.txt"
    assert licence.read_text().startswith("Apache Software License")
    stack = prepared(suite).stack()
    assert stack["views"] == stack["second_views"] == "whole; corners 0.85 0.72; centres 0.75"
    weights = [path.stat().st_size for path in suite.root.rglob("*.safetensors")]
    assert sum(weights) < 10 * 10**6


def test_what_was_written_judges_as_what_was_kept(suite: Suite) -> None:
    images = as_float(fixed_crops("control", FIFTH).pixels[:3])
    kept = Judges.kept()
    assert suite.descriptor is not None and suite.second_descriptor is not None
    for network, settings in (
        (kept.first, suite.descriptor),
        (second_judge(), suite.second_descriptor),
    ):
        shipped = ShippedJudge.of(suite, settings)
        assert torch.equal(shipped.network(images), network(images))
        originals = [images[n : n + 1] for n in range(3)]
        assert shipped.similarity(images, originals).min() > 1 - 1e-5
        assert shipped.pairwise(images, images.roll(1, 0)).max() < settings.threshold


def test_a_suite_is_loaded_with_both_from_its_yaml(suite: Suite) -> None:
    content = yaml.safe_load((suite.root / "suite.yaml").read_text())
    assert content["second_descriptor"]["path"] == "second-descriptor"


def test_planted_silhouettes_are_no_copies_to_the_metric(suite: Suite, tmp_path: Path) -> None:
    """Pooled over all kinds, as the threshold was calibrated: at most 1 %."""
    content = yaml.safe_load((suite.root / "suite.yaml").read_text())
    del content["second_descriptor"]
    write_manifest(tmp_path, content | {"descriptor": absolute(suite, content["descriptor"])})
    planted = {}
    for sample, original in white_originals().items():
        generator = torch.Generator("cpu").manual_seed(54)
        image = as_float(original[None]).expand(REPEATS, -1, -1, -1)
        planted[sample] = torch.cat([LOOKALIKES[k](image, generator) for k in SILHOUETTES])
    assert len(planted) >= 16
    found = shares(prepared(Suite.load(tmp_path)), planted)
    assert found["replicates"] <= 0.01, found


def absolute(suite: Suite, settings: dict[str, object]) -> dict[str, object]:
    """A component may be given by its absolute path."""
    return settings | {"path": str(suite.root / str(settings["path"]))}


def test_planted_copies_are_copies_to_the_metric(suite: Suite) -> None:
    planted = {}
    for sample, original in white_originals().items():
        generator = torch.Generator("cpu").manual_seed(5)
        planted[sample] = torch.cat(
            [change(as_float(original[None]), generator) for change in CHANGES.values()]
        )
    found = shares(prepared(suite), planted)
    assert found["replicates"] >= 0.95 and found["replicates_second"] >= 0.85, found
