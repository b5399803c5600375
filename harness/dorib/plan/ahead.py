"""What a run tells before it starts: how much each verb will take, for a bar over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dorib.plan.plan import Plan, plan_of
from dorib.plan.speeds import Speeds
from dorib.plan.steps import Step
from dorib.report.run import Run

WORTH_MEASURING = 10**9
"""U-Net items times an image's pixels from which on a run may be long, and its machine is measured
first: some thousand items at 512 x 512, which take a processor hours and a card a minute."""
IMAGE, JUDGED = 2.0, 0.5
"""What decoding an image, and judging it, weighs beside a U-Net item where nothing was measured."""


@dataclass(frozen=True)
class Expected:
    """A verb to come, by the names that a reporter hears."""

    verb: str
    subject: str
    weight: float
    """Seconds, where speeds are known; else in proportion."""


@runtime_checkable
class Foreseeing(Protocol):
    """A reporter that wants to know what is to come."""

    def foresee(self, plan: Plan, expected: Sequence[Expected]) -> None:
        """Hear it once, before the first verb."""


def foresee(this: Run, reporter: object) -> None:
    """Tell `reporter`, if it wants to hear.

    Raises:
        DoribError: the disk is full or not writable.
    """
    if not isinstance(reporter, Foreseeing):
        return
    plan, speeds, steps = plan_of(this, measure=False)
    sampling = this.context.suite.manifest.sampling
    extent = plan.total.items * sampling.height * sampling.width
    if plan.seconds is None and extent >= WORTH_MEASURING:
        plan, speeds, steps = plan_of(this)
    reporter.foresee(plan, [_expected(step, speeds) for step in steps])


def _expected(step: Step, speeds: Speeds | None) -> Expected:
    seconds = speeds.seconds(step) if speeds else _in_proportion(step)
    return Expected(step.verb, step.subject, seconds or 0.0)


def _in_proportion(step: Step) -> float:
    items = sum(work.items for work in (step.work, step.rule) if work is not None)
    return items + step.images * (IMAGE if step.metric is None else JUDGED)
