"""The page: each figure, and a paragraph that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dorib import template_environment
from dorib_locality.findings import Findings, LayerDiscrepancy, SeparationTest
from dorib_locality.geometry import Measure
from dorib_locality.layer_names import short

SIGNIFICANT = 0.05


def render(findings: Findings, figures: Mapping[str, str]) -> str:
    """The page as HTML; `figures` are file stems beside it, by name. Everything is escaped."""
    environment = template_environment("dorib_locality")
    environment.filters |= {"number": _number, "closer": _closer, "short": short}
    shown = findings.shown
    hits = sum(trigger.replicates for trigger in findings.triggers)
    return environment.get_template("page.html").render(
        findings=findings,
        shown=shown,
        hits=hits,
        figures=figures,
        space=shown.embedding_space.spreads[0],
        added=shown.embedding_space.spreads[1].test_of_displacements,
        measures=[_by_measure(findings, measure) for measure in ("cosine", "l2")],
    )


def _by_measure(findings: Findings, measure: Measure) -> dict[str, Any]:
    """What the page says of the activations under one measure."""
    activations = findings.shown.activations
    rows = [row for row in activations.layers if row.measure == measure]
    tests = [test for test in activations.tests if test.measure == measure]
    return {
        "value": _mean_of([row for row in rows if row.kind == "value"]),
        "steps": [
            (step, _mean_of([row for row in rows if row.timestep == step]))
            for step in activations.timesteps
        ],
        "tests": {(test.kind, test.timestep): test.test for test in tests},
    }


def _mean_of(rows: list[LayerDiscrepancy]) -> dict[str, float | None]:
    names = "triggers_of_one_image", "triggers_of_different_images", "random_prompts"
    return {name: _mean([getattr(row, name) for row in rows]) for name in names}


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _number(value: float | None) -> str:
    """Two decimals, or two digits where that would show nothing."""
    if value is None:
        return "not defined"
    if value == 0 or abs(value) >= 0.095:
        return f"{value:.2f}"
    return f"{value:.2g}"


def _closer(test: SeparationTest | None) -> str:
    """The outcome of a test, in words."""
    if test is None:
        return "There are too few pairs for a test."
    seen = "are" if test.p_value < SIGNIFICANT else "are not seen to be"
    return (
        f"Pairs of one image {seen} closer than pairs of different images: a pair of different "
        f"images is further apart than one of the same image in {test.superiority:.0%} of "
        f"comparisons (50 % would be chance; permutation test, p = {test.p_value:.2g})."
    )
