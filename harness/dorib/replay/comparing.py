"""What is published held against what was found, number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from dorib.contracts.methods import REPLICATES, SECOND_REPLICATES
from dorib.ranking.entries import Entry
from dorib.ranking.observations import LIKENESS, SECOND_LIKENESS
from dorib.report.witnesses.values import Values

ROUNDING = 0.001
"""What other batches may do on one machine: of 400 images of the published board, no value of
either descriptor or of CLIP moved by more where one number of each image was turned by a 255th."""
TOLERANCE = 0.02
"""By which a number may differ on another machine: of its size, and of 1 where it is smaller."""
EXACT = 1e-6
"""Within which numbers are the same."""
NOT_COMPARED = (
    *("schema_version", "profile", "knows", "adaptive", "required_attacks", "mitigation", "attack"),
    *("environment", "settings", "older", "smallest_batch"),
    *("digests.model", "digests.images", "digests.records"),
)
"""Names and code of methods, which machine, and how: no result."""
DECISIONS = {
    REPLICATES: (LIKENESS, "threshold"),
    SECOND_REPLICATES: (SECOND_LIKENESS, "second_threshold"),
}
"""By metric that says whether an image is a copy: what it follows from, and the threshold."""


class Outcome(IntEnum):
    """How what is published stands to what was found; the higher, the worse."""

    SAME = 0
    WITHIN_TOLERANCE = 1
    NOT_HERE = 2
    """Its witness lies elsewhere: neither true nor untrue."""
    NOT_SO = 3

    @property
    def words(self) -> str:
        """As people read it."""
        return ("same", "within tolerance", "not here", "not so")[self]

    @property
    def is_lie(self) -> bool:
        """Whether what is published did not come out."""
        return self is Outcome.NOT_SO

    @property
    def holds(self) -> bool:
        """Whether what is published came out."""
        return self <= Outcome.WITHIN_TOLERANCE


@dataclass(frozen=True)
class Finding:
    """One number, or one sample, that was held against another."""

    outcome: Outcome
    what: str
    """What is published and what was found, in a few words; empty where they are the same."""


def compare_entries(
    published: Entry, found: Entry, tolerance: float = TOLERANCE, flips: int = 0
) -> Iterator[tuple[str, Finding]]:
    """Every number of an entry that differs, by its path; digests too where none may.

    Args:
        published: what is claimed.
        found: the same cell, made again.
        tolerance: by which a number may differ; 0 where the very same images came out.
        flips: samples whose verdict may have turned over, being as near to the threshold.
    """
    one = dict(_numbers(published.model_dump(mode="json")))
    other = dict(_numbers(found.model_dump(mode="json")))
    samples = max(1, min(published.samples.memorized, published.samples.controls or math.inf))
    for path in dict.fromkeys((*one, *other)):
        if path.startswith(NOT_COMPARED) or (tolerance and path.startswith("digests.")):
            continue
        claimed, came = one.get(path), other.get(path)
        slack = flips if path.endswith(".hits") else tolerance and tolerance + flips / samples
        outcome = _outcome(claimed, came, slack)
        if outcome != Outcome.SAME and not (slack and _is_sentence(path)):
            yield path, Finding(outcome, f"{path} is {_shown(came)}, not {_shown(claimed)}")


def compared(entry: Entry) -> int:
    """How many numbers of an entry are held against others."""
    paths = (path for path, _ in _numbers(entry.model_dump(mode="json")))
    return sum(not path.startswith(NOT_COMPARED) for path in paths)


def compare_sample(
    published: Values,
    found: Values,
    sample: str,
    stack: Mapping[str, Mapping[str, Any]],
    tolerance: float = TOLERANCE,
) -> tuple[Finding, bool]:
    """One sample's values, and whether a verdict on one of its images has turned over.

    A verdict may do so only where the likeness that it follows from lies within the tolerance of
    the judge's threshold, which `stack` states.
    """
    claimed, came = dict(published.of(sample)), dict(found.of(sample))
    worst, text, flipped = Outcome.SAME, "", False
    for metric in dict.fromkeys((*claimed, *came)):
        one, other = claimed.get(metric), came.get(metric)
        if one is None or other is None or one.shape != other.shape:
            return Finding(Outcome.NOT_SO, f"{sample}: {metric} is there on one side alone"), False
        apart = _apart(one, other)
        if metric in DECISIONS and bool((apart > 0).any()):
            outcome = _turned(metric, apart, claimed, came, stack, tolerance)
            flipped = True
        elif bool((apart <= EXACT).all()):
            continue
        else:
            is_near = bool((apart <= max(tolerance, EXACT)).all())
            outcome = Outcome.WITHIN_TOLERANCE if is_near else Outcome.NOT_SO
        if outcome >= worst and outcome != Outcome.SAME:
            at = int(apart.nan_to_num(math.inf).argmax())
            values = [_shown(float(v.flatten()[at])) for v in (other, one)]
            if outcome > worst or not text:
                text = f"{sample}: {metric} is {values[0]}, not {values[1]}"
            worst = outcome
    return Finding(worst, text), flipped


def _turned(
    metric: str,
    apart: Tensor,
    claimed: Mapping[str, Tensor],
    came: Mapping[str, Tensor],
    stack: Mapping[str, Mapping[str, Any]],
    tolerance: float,
) -> Outcome:
    likeness, name = DECISIONS[metric]
    threshold = next((of[name] for of in stack.values() if name in of), None)
    if threshold is None or likeness not in claimed or likeness not in came:
        return Outcome.NOT_SO
    turned = apart > 0
    near = torch.stack([side[likeness] - float(threshold) for side in (claimed, came)]).abs()
    close = (near <= tolerance).all(0)
    return Outcome.WITHIN_TOLERANCE if bool(close[turned].all()) else Outcome.NOT_SO


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """How far apart values are, beside their size; infinitely where one of them is missing."""
    apart = (one - other).abs() / one.abs().clamp(min=1)
    both = one.isnan() & other.isnan()
    return torch.where(both, torch.zeros_like(apart), apart.nan_to_num(math.inf, math.inf))


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        for place, part in enumerate(value):
            yield from _numbers(part, f"{path}.{place}")
    else:
        yield path, value


def _outcome(claimed: Any, came: Any, slack: float) -> Outcome:
    if claimed == came:
        return Outcome.SAME
    numbers = (claimed, came)
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        return Outcome.NOT_SO
    apart = abs(claimed - came) / max(1, abs(claimed))
    if apart <= EXACT:
        return Outcome.SAME
    # A count is told exactly, unless it is one of samples that turned over.
    is_near = (abs(claimed - came) if isinstance(claimed, int) else apart) <= slack
    return Outcome.WITHIN_TOLERANCE if is_near else Outcome.NOT_SO


def _is_sentence(path: str) -> bool:
    """Whether it is told in words, numbers among them, what is compared beside it as a number."""
    return path == "reason_not_ranked"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
