"""The page: each figure, and a paragraph that explains it."""

from __future__ import annotations

from collections.abc import Mapping

from dorib import template_environment
from dorib_locality.findings import Findings, LayerDiscrepancy, SeparationTest

SIGNIFICANT = 0.05


def render(findings: Findings, figures: Mapping[str, str]) -> str:
    """The page as HTML; `figures` are file stems beside it, by name. Everything is escaped."""
    environment = template_environment("dorib_locality")
    environment.filters |= {"number": _number, "closer": _closer}
    shown = findings.shown
    hits = sum(trigger.replicates for trigger in findings.triggers)
    return environment.get_template("page.html").render(
        findings=findings,
        shown=shown,
        hits=hits,
        figures=figures,
        space=shown.embedding_space.spreads[0],
        added=shown.embedding_space.spreads[1].test_of_displacements,
        value=_mean_of([row for row in _cosines(findings) if row.kind == "value"]),
        steps=[
            (step, _mean_of([row for row in _cosines(findings) if row.timestep == step]))
            for step in shown.activations.timesteps
        ],
        tests={(test.kind, test.timestep): test.test for test in shown.activations.tests},
    )


def _cosines(findings: Findings) -> list[LayerDiscrepancy]:
    return [row for row in findings.shown.activations.layers if row.measure == "cosine"]


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
