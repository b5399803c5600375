"""What a run found, at a glance: the lines of its table and what belongs below it, as plain text.

The command line and notebooks draw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import BudgetPoint, ProfileName, Summary
from dorib.ranking.rates import Rate
from dorib.ranking.verdict import Verdict, verdict

ABSENT = "-"
FIGURES = ("memorized", "controls", "oracle", "utility", "work")
"""Titles of the columns of numbers."""
AGREEMENT = "agree"
"""Title of the column beside them where the suite has a second judge."""


@dataclass(frozen=True)
class Line:
    """One line of the table: a mitigation's heading, or one of its attacks below it."""

    label: str
    figures: tuple[str, ...]
    """One for each of `titles`; none in a heading."""
    flags: str

    @property
    def is_heading(self) -> bool:
        """Whether it names a mitigation."""
        return not self.figures


def titles(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Of the columns of numbers."""
    judges = [AGREEMENT] if _judged_twice(entries) else []
    return (*FIGURES, *judges, *_marked(entries))


def table_lines(entries: Sequence[Entry]) -> Iterator[Line]:
    """For each mitigation a heading, and below it a line for each attack.

    A flag that holds for all lines of a mitigation stands at its heading alone.
    """
    for mitigation, group in groupby(entries, key=lambda entry: entry.mitigation.label):
        cells = list(group)
        shared = [flag for flag in flags(cells[0]) if all(flag in flags(c) for c in cells)]
        yield Line(mitigation, (), ", ".join(shared))
        for entry in cells:
            figures = (
                _with_interval(entry.memorization_rate),
                _bare(entry.controls_rate),
                _bare(entry.oracle_rate),
                f"{entry.utility.value:.2f}" if entry.utility else ABSENT,
                f"{entry.work.search_mean_memorized:.0f}",
                *([_agreement(entry)] if _judged_twice(entries) else []),
                *(_mean(entry, quantity) for quantity in _marked(entries)),
            )
            own = ", ".join(flag for flag in flags(entry) if flag not in shared)
            yield Line(entry.attack.label, figures, own)


def flags(entry: Entry) -> Iterator[str]:
    """What a reader must know before comparing this row with others."""
    if entry.not_applicable is not None:
        yield "not applicable"
    elif not (entry.ranked or entry.reference_line):
        yield "unranked"
    if entry.errors:
        yield f"{entry.errors} error{'s' if entry.errors > 1 else ''}"
    if entry.scope == "per_sample":
        yield "per sample"
    if entry.bypass:
        yield "bypass"
    if entry.older:
        yield "older"


def footnotes(entries: Sequence[Entry]) -> Iterator[str]:
    """What the columns mean, why rows are not ranked, and what the samples lack."""
    first = entries[0]
    rate = f"memorized, controls, oracle: memorization_rate@{first.k}"
    searched = any(point.budget for point in _points(entries))
    yield f"{rate} within the largest budget" if searched else rate
    yield "in brackets: exact 95 % interval; work: mean U-Net items per memorized sample"
    if _judged_twice(entries):
        yield "agree: share of the memorized samples' images on which both judges agree"
    for quantity, (over, summary) in _marked(entries).items():
        yield f"{quantity}: mean over {over}, {summary.unit}; {summary.direction}"
    yield from _reasons(entries)
    yield from _older(entries)
    if not first.samples.controls:
        yield "no controls: nothing tells what an attack draws from images the model never saw"
    if first.samples.unscorable:
        lacking = counted(first.samples.unscorable, "sample")
        yield f"unscorable: {lacking} without an original image, in no rate"


def verdicts(entries: Sequence[Entry]) -> Iterator[tuple[str, Verdict]]:
    """A verdict on each mitigation, by its label; reference lines have none."""
    of_mitigation: dict[str, list[Entry]] = {}
    for entry in entries:
        of_mitigation.setdefault(entry.mitigation.label, []).append(entry)
    for label, cells in of_mitigation.items():
        found = verdict(cells)
        if found is not None:
            yield label, found


def scale(entries: Sequence[Entry], profile: ProfileName) -> str:
    """How much was run."""
    first = entries[0]
    budgets = sorted({point.budget for point in _points(entries)} - {0})
    parts = [
        counted(first.samples.memorized, "memorized sample"),
        counted(first.samples.controls, "control"),
        counted(first.k, "seed"),
    ]
    if budgets:
        listed = ", ".join(map(str, budgets))
        parts.append(f"budget{'s' if len(budgets) > 1 else ''} {listed}")
    name = {"quick": "Quick profile", "full": "Full profile", "custom": "Custom selection"}[profile]
    return f"{name}: {'; '.join(parts)}."


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _older(entries: Sequence[Entry]) -> Iterator[str]:
    """In what rows are older than the newest."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.older:
            reasons.setdefault(entry.older, []).append(entry.mitigation.label)
    for reason, mitigations in reasons.items():
        yield f"older: {', '.join(dict.fromkeys(mitigations))}: {reason}"


def _reasons(entries: Sequence[Entry]) -> Iterator[str]:
    """Why rows are not ranked; once for a mitigation where it is the same for all attacks."""
    for mitigation, group in groupby(entries, key=lambda entry: entry.mitigation.label):
        cells = [entry for entry in group if not entry.reference_line]
        reasons = {entry.attack.label: entry.reason_not_ranked for entry in cells}
        if len(set(reasons.values())) == 1:
            reasons = {"any attack": cells[0].reason_not_ranked}
        for attack, reason in reasons.items():
            if reason:
                yield f"unranked: {mitigation} x {attack}: {reason}"


def _with_interval(rate: Rate | None) -> str:
    if not (rate and rate.was_seen):
        return ABSENT
    return f"{rate.rate:.2f} ({rate.low:.2f}-{rate.high:.2f})"


def _judged_twice(entries: Sequence[Entry]) -> bool:
    return any(entry.second_judge for entry in entries)


def _agreement(entry: Entry) -> str:
    share = entry.second_judge.verdicts.agreement if entry.second_judge else None
    return ABSENT if share is None else f"{share:.2f}"


def _marked(entries: Sequence[Entry]) -> dict[str, tuple[str, Summary]]:
    """What metrics want shown, by quantity: what it is a mean over, and one cell's summary."""
    marked: dict[str, tuple[str, Summary]] = {}
    for entry in entries:
        for over, summaries in (
            ("the memorized samples at the largest budget", entry.summaries.memorized),
            ("the utility prompts", entry.summaries.utility),
        ):
            for quantity, summary in summaries.items():
                if summary.in_table:
                    marked.setdefault(quantity, (over, summary))
    return marked


def _mean(entry: Entry, quantity: str) -> str:
    of = entry.summaries
    summary = of.memorized.get(quantity) or of.utility.get(quantity)
    return f"{summary.mean:.3g}" if summary else ABSENT


def _bare(rate: Rate | None) -> str:
    return f"{rate.rate:.2f}" if rate and rate.was_seen else ABSENT


def _points(entries: Sequence[Entry]) -> list[BudgetPoint]:
    return [point for entry in entries for point in entry.curve]
