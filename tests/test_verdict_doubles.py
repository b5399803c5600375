"""Mitigations about which the truth is known, through the runner on the embedded suite."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.verdict import Verdict
from dorib.report.overview import verdicts
from dorib.runner import run
from doubles.truth import TRUTHS

EXPECTED = {name: double.expected for name, double in TRUTHS.items()} | {"prompt-filter": "hidden"}
SEARCH = "dori:start=normal"
"""From noise: it needs gradients to get anywhere."""


@pytest.fixture(scope="module")
def found(
    built_in_plugins: list[EntryPoint], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    registry = discover([*built_in_plugins, EntryPoint("truth", "doubles.truth", "dorib")])
    config = {
        "suite": "tiny",
        "out": str(tmp_path_factory.mktemp("out")),
        "mitigation": list(EXPECTED),
        "attack": ["none", SEARCH, "transfer"],
        "metric": ["sscd", "clip"],
        "limit": 6,
        "seeds": 1,
        "budgets": [120],
    }
    return dict(verdicts(run(make_config(config), registry).entries))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_each_double_gets_the_verdict_that_the_truth_has(
    found: dict[str, Verdict], name: str
) -> None:
    assert found[name].word == EXPECTED[name], found[name].sentence


@pytest.mark.slow
def test_what_masks_gradients_is_found_by_an_attack_without(found: dict[str, Verdict]) -> None:
    assert found["gradient-masking"].sentence.startswith("under transfer ")
    assert found["gradient-masking"].sentence.endswith("asked by their captions, 0 of 6 do")
