"""Whether two cells, of one leaderboard or of two, answer the same question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dorib.ranking.entries import Entry

SECOND_JUDGE = "second_"
"""How what a judge's stack says of the suite's second descriptor begins."""


def incomparable_boards(first: Entry, second: Entry) -> str | None:
    """Why no cell of the one's leaderboard can be compared with one of the other's; or None."""
    return next(_of_boards(first, second), None)


def incomparable_cells(first: Entry, second: Entry) -> str | None:
    """Why two cells of boards that can be compared cannot be; None where they can."""
    return next(_of_cells(first, second), None)


def _of_boards(first: Entry, second: Entry) -> Iterator[str]:
    for entry in (first, second):
        if entry.schema_version == 1:
            yield (
                "schema_version: entries of version 1 count what breaks at a budget alone, not "
                "within it; run that one again"
            )
    one, other = first.suite, second.suite
    if one.name != other.name:
        yield _differs("suite", one.name, other.name)
    if one.version != other.version:
        yield _differs(f"version of suite {one.name}", one.version, other.version)
    if one.digest != other.digest:
        yield _differs(f"files of suite {one.name}", one.digest[:12], other.digest[:12])
    for field in ("split", "profile", "k"):
        if getattr(first, field) != getattr(second, field):
            yield _differs(field, getattr(first, field), getattr(second, field))
    judges = [_judge(entry) for entry in (first, second)]
    for name in dict.fromkeys([*judges[0], *judges[1]]):
        values = [judge.get(name) for judge in judges]
        if values[0] != values[1]:
            yield _differs(f"judge, {name}", *values)


def _of_cells(first: Entry, second: Entry) -> Iterator[str]:
    for entry in (first, second):
        if entry.not_applicable is not None:
            yield f"{_named(entry)} is not applicable: {entry.not_applicable}"
        if entry.memorization_rate is None:
            yield f"{_named(entry)} has no rate: no metric told of replication"
    budgets = [[point.budget for point in entry.curve] for entry in (first, second)]
    if first.searches and second.searches and budgets[0] != budgets[1]:
        yield _differs("budgets", *(", ".join(map(str, of_one)) for of_one in budgets))
    if first.mitigation.label != second.mitigation.label and (
        first.attack.label != second.attack.label
    ):
        yield (
            f"{_named(first)} and {_named(second)} differ in both, so that nothing tells which "
            "made the difference; take the same mitigation or the same attack"
        )


def _judge(entry: Entry) -> dict[str, Any]:
    """What decides whether an image replicates."""
    return {
        f"{metric} {name}": value
        for metric, stack in entry.stack.items()
        if "threshold" in stack
        for name, value in stack.items()
        if not name.startswith(SECOND_JUDGE)
    }


def _named(entry: Entry) -> str:
    return f"{entry.mitigation.label} x {entry.attack.label}"


def _differs(what: str, first: Any, second: Any) -> str:
    return f"{what}: {first} in A and {second} in B"
