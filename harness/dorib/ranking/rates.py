"""What entries are made of: rates, shares and survival, each of which agrees with itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from dorib.ranking.estimates.survival import restricted_mean
from dorib.ranking.statistics import clopper_pearson
from dorib.reprs import own_fields
from dorib.validation import StrictModel

ROUNDING = 1e-9
"""How far two derivations of one number may lie apart."""

Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
"""Beyond it a JSON reader that has floats alone reads another number."""
Positive: TypeAlias = Annotated[int, Field(gt=0, le=2**53)]
Share01: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Facts(StrictModel):
    """Base of everything an entry holds; docstrings go into the published JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    __repr__ = own_fields


class Rate(Facts):
    """A share of samples, with its exact (Clopper-Pearson) 95 % interval."""

    hits: Count
    n: Positive
    """Samples, fixed before the run."""
    errors: Count
    """Samples among `n` that lack a value; without one they count as not replicating."""
    rate: Share01
    low: Share01
    high: Share01

    @property
    def was_seen(self) -> bool:
        """Whether any sample has a value: 0 where all failed would look like perfect erasure."""
        return self.errors < self.n

    @model_validator(mode="after")
    def _agrees(self) -> Rate:
        if self.hits > self.n:
            raise ValueError(f"hits: {self.hits} of {self.n} samples")
        if self.errors > self.n:
            raise ValueError(f"errors: {self.errors} of {self.n} samples")
        if not near(self.rate, self.hits / self.n):
            raise ValueError(f"rate: {self.rate} is not {self.hits} of {self.n}")
        low, high = clopper_pearson(self.hits, self.n)
        # Wider than `ROUNDING`: a quantile is found by iteration, and versions of scipy differ.
        if not (near(self.low, low, 1e-6) and near(self.high, high, 1e-6)):
            raise ValueError(
                f"low, high: {self.low} to {self.high} is not the exact interval of {self.hits} "
                f"of {self.n}, {low:.6f} to {high:.6f}"
            )
        return self


class Interval(Facts):
    """A difference of rates with its 95 % interval, from a bootstrap over clusters."""

    value: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Interval:
        _check_order(self.low, self.value, self.high)
        if self.low == self.high:
            raise ValueError("low, high: an interval without width, which no bootstrap here gives")
        return self


class UtilityShare(Facts):
    """A utility with its 95 % interval."""

    value: float
    low: float | None
    """None where so few prompts allow no interval that holds."""
    high: float | None

    @model_validator(mode="after")
    def _in_order(self) -> UtilityShare:
        if (self.low is None) != (self.high is None):
            raise ValueError("low, high: one bound without the other")
        if self.low is not None and self.high is not None:
            _check_order(self.low, self.value, self.high)
        return self


class ThresholdRates(Facts):
    """The rates within the largest budget at a threshold other than the suite's."""

    threshold: float = Field(gt=-1, lt=1)
    """Cosine of the official SSCD descriptor from which an image replicates."""
    memorized: Rate
    controls: Rate | None
    oracle: Rate | None


class ProbeResult(Facts):
    """One probe under one mitigation."""

    knows: tuple[str, ...]
    """What whoever probes holds."""
    auc: Share01
    """The chance that a memorized sample scores above a control, ties counting half; 0.5 where the
    scores tell nothing."""
    low: Share01
    high: Share01
    """95 % interval (Newcombe 2006, method 5), each source photograph counted once."""
    memorized: Positive
    controls: Positive
    """Samples with a score."""
    errors: Count
    """Samples without one."""
    oracle_auc: Share01 | None
    """The same probe on the oracle, which never saw the memorized samples; None without one."""
    work: float = Field(ge=0)
    """Mean per sample, in U-Net items."""

    @model_validator(mode="after")
    def _ordered(self) -> ProbeResult:
        if not self.low <= self.auc <= self.high:
            raise ValueError(f"auc: {self.auc} is not within {self.low} to {self.high}")
        return self


class Verdicts(Facts):
    """What two judges say of the same images, counted."""

    both: Count
    """Images that both call copies."""
    first_alone: Count
    second_alone: Count
    neither: Count
    agreement: Share01 | None
    """Share of the images on which they say the same; None where there is no image."""

    @model_validator(mode="after")
    def _agrees(self) -> Verdicts:
        share = (self.both + self.neither) / self.images if self.images else None
        if (self.agreement is None) != (share is None) or not near(self.agreement or 0, share or 0):
            raise ValueError(f"agreement: {self.agreement}, where the counts give {share}")
        return self

    @property
    def images(self) -> int:
        """How many were judged."""
        return self.both + self.first_alone + self.second_alone + self.neither

    @property
    def copies_to_the_first(self) -> int:
        """Images that the first calls copies."""
        return self.both + self.first_alone

    @property
    def copies_to_the_second(self) -> int:
        """Images that the second calls copies."""
        return self.both + self.second_alone


class SecondJudge(Facts):
    """What the suite's second descriptor says of the same images; no rank depends on it.

    Rates are within the largest budget, as the first's; verdicts are of the images at all budgets.
    """

    memorized: Rate
    controls: Rate | None
    oracle: Rate | None
    verdicts: Verdicts
    """On the memorized samples' images."""
    verdicts_on_controls: Verdicts | None


def is_absent(value: object) -> bool:
    """Whether a field says nothing and is left out: files from before it was there stay as good."""
    return value is None or value == ()


Stack: TypeAlias = Mapping[str, Mapping[str, str | float | None]]
"""By metric, what its values depend on."""


def has_second_judge(stack: Stack) -> bool:
    """Whether a metric names a second descriptor in its stack."""
    return any("second_threshold" in of_metric for of_metric in stack.values())


class WorkToBreak(Facts):
    """Kaplan-Meier survival of the samples over the budgets."""

    budgets: tuple[Positive, ...] = Field(min_length=1)
    survival: tuple[Share01, ...]
    """Share of the samples not broken within each of `budgets`."""
    restricted_mean: float = Field(ge=0)
    """Mean work to break, in U-Net items, where at most the last budget is counted."""
    censored: Count
    """Samples that no budget broke."""
    n: Positive

    @model_validator(mode="after")
    def _agrees(self) -> WorkToBreak:
        check_rising("budgets", self.budgets)
        if len(self.survival) != len(self.budgets):
            raise ValueError(
                f"survival: {len(self.survival)} shares for {len(self.budgets)} budgets"
            )
        for share in self.survival:
            if not near(share * self.n, round(share * self.n)):
                raise ValueError(f"survival: {share} is no share of {self.n} samples")
        for before, after in pairwise(self.survival):
            if after > before + ROUNDING:
                raise ValueError(f"survival: rises from {before} to {after}")
        if not near(self.censored, self.survival[-1] * self.n):
            raise ValueError(
                f"censored: {self.censored} of {self.n}, but {self.survival[-1]} of them survive"
            )
        mean = restricted_mean(self.budgets, self.survival, self.budgets[-1])
        if not near(self.restricted_mean, mean, ROUNDING * self.budgets[-1]):
            raise ValueError(
                f"restricted_mean: {self.restricted_mean} is not the area below the curve, {mean}"
            )
        return self


def near(one: float, other: float, distance: float = ROUNDING) -> bool:
    """Whether two numbers differ by rounding alone."""
    return abs(one - other) <= distance


def check_rising(name: str, values: Sequence[int]) -> None:
    """Refuse `values` that do not rise strictly.

    Raises:
        ValueError: names the first that does not.
    """
    for before, after in pairwise(values):
        if after <= before:
            raise ValueError(f"{name}: {after} comes after {before}; they must rise")


def _check_order(low: float, value: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"low, value, high: {low}, {value}, {high} are not in order")
