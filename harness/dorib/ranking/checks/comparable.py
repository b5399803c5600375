"""Whether the entries of a leaderboard are of one run's making: what they share is the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from dorib.host.configure import NONE, ORACLE
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.ranking.rates import near
from dorib.ranking.statistics import recovered_share

Cells = dict[tuple[str, str], Entry]
"""By the labels of mitigation and attack."""

OF_A_BOARD = (
    "schema_version",
    "suite",
    "split",
    "profile",
    "k",
    "required_attacks",
    "samples",
    "stack",
)
OF_A_MITIGATION: dict[str, Callable[[Entry], Any]] = {
    "mitigation": lambda entry: _method(entry.mitigation),
    "scope": lambda entry: entry.scope,
    "utility": lambda entry: entry.utility,
    "utility_by_kind": lambda entry: entry.utility_by_kind,
    "summaries.utility": lambda entry: entry.summaries.utility,
    "work.fit": lambda entry: entry.work.fit,
    "digests.edit": lambda entry: entry.digests.edit,
}
OF_AN_ATTACK: dict[str, Callable[[Entry], Any]] = {
    "attack": lambda entry: _method(entry.attack),
    "searches": lambda entry: entry.searches,
    "knows": lambda entry: entry.knows,
}


def contradictions(
    entries: Sequence[Entry], to_come: Collection[tuple[str, str]] = ()
) -> Iterator[tuple[Entry, str]]:
    """What keeps `entries` from standing on one leaderboard: an entry, its field and why.

    Nothing but Python and the machine may differ besides what a cell is about: two runs whose
    descriptor, model, budgets or samples differ have no common order. In an entry that says it is
    older, code may differ as well. `to_come` are cells, by their labels, that a run on its way has
    not come to yet.
    """
    cells: Cells = {}
    for entry in entries:
        cell = entry.mitigation.label, entry.attack.label
        if cell in cells:
            yield entry, "stands twice; leave one out"
        cells[cell] = entry
    yield from _different(entries)
    yield from _doubly_named(entries)
    oracles = [entry for entry in entries if entry.mitigation.name == ORACLE]
    for entry in entries:
        yield from _beside_references(entry, cells, oracles, to_come)


def _different(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    # What the others are held against is of the newest code, where any is.
    entries = sorted(entries, key=lambda entry: entry.older is not None)
    first = entries[0]
    searched = next((_budgets(entry) for entry in entries if _budgets(entry)), None)
    mitigations: dict[str, Entry] = {}
    attacks: dict[str, Entry] = {}
    for entry in entries:
        for field in OF_A_BOARD:
            if getattr(entry, field) != getattr(first, field):
                yield entry, f"has another {field} than the first entry; rank each on its own"
        if entry.digests.model != first.digests.model and not entry.older:
            yield entry, "has another digests.model than the first entry; rank each on its own"
        if _environment(entry) != _environment(first) or (
            entry.environment.dorib != first.environment.dorib and not entry.older
        ):
            yield entry, "has another environment than the first entry; rank each on its own"
        if _budgets(entry) and _budgets(entry) != searched:
            yield entry, f"curve: other budgets than {searched}; rank each on its own"
        if (entry.utility is None) != (first.utility is None):
            yield entry, "utility: measured for some mitigations only"
        if set(entry.utility_by_kind) != set(first.utility_by_kind):
            yield entry, "utility_by_kind: other kinds than the first entry's"
        sibling = mitigations.setdefault(entry.mitigation.label, entry)
        rival = attacks.setdefault(entry.attack.label, entry)
        for fields, other, shared in (
            (OF_A_MITIGATION, sibling, "mitigation"),
            (OF_AN_ATTACK, rival, "attack"),
        ):
            for field, value in fields.items():
                if value(entry) != value(other):
                    yield entry, f"{field}: differs from another entry of the same {shared}"
            codes = [getattr(one, shared).fingerprint for one in (entry, other)]
            if codes[0] != codes[1] and not entry.older:
                yield entry, f"{shared}: differs from another entry of the same {shared}"


def _budgets(entry: Entry) -> tuple[int, ...]:
    return tuple(point.budget for point in entry.curve) if entry.searches else ()


def _environment(entry: Entry) -> dict[str, Any]:
    return entry.environment.model_dump(exclude={"python", "dorib", "processor", "threads"})


def _method(method: MethodFacts) -> MethodFacts:
    """Without the code, which an older entry may have of its own."""
    return method.model_copy(update={"fingerprint": ""})


def _doubly_named(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """One method under two labels."""
    seen: dict[str, str] = {}
    for entry in entries:
        for kind, method in (("mitigation", entry.mitigation), ("attack", entry.attack)):
            content = f"{kind} {method.name} {sorted(method.params.items())!r}"
            if seen.setdefault(content, method.label) != method.label:
                yield entry, f"{kind}.label: {method.label!r} is {seen[content]!r} by another name"


def _beside_references(
    entry: Entry, cells: Cells, oracles: Sequence[Entry], to_come: Collection[tuple[str, str]]
) -> Iterator[tuple[Entry, str]]:
    """The oracle's rate is the oracle's own row, and every run has the unmitigated model's."""
    attack = entry.attack.label
    if (NONE, attack) not in cells:
        yield entry, f"the unmitigated model under {attack} is not on the leaderboard"
    if len({cell.mitigation.label for cell in oracles}) > 1:
        yield entry, "mitigation: two oracles; leave one out"
    oracle = next((cell for cell in oracles if cell.attack.label == attack), None)
    awaited = any((cell.mitigation.label, attack) in to_come for cell in oracles)
    if (oracle is None) and (entry.oracle_rate or (oracles and not awaited)):
        yield entry, f"oracle_rate: the oracle under {attack} is not on the leaderboard"
    rates = {point.budget: point.memorized for point in oracle.curve} if oracle else {}
    for point in entry.curve:
        if point.oracle != rates.get(point.budget):
            yield entry, f"curve: oracle at {point.budget} is not the rate of the oracle's own row"
    if oracle and entry.rates_at_thresholds:
        own = [(found.threshold, found.memorized) for found in oracle.rates_at_thresholds]
        if [(found.threshold, found.oracle) for found in entry.rates_at_thresholds] != own:
            yield entry, "rates_at_thresholds: oracle is not the rate of the oracle's own row"
    if oracle and entry.second_judge:
        own_second = oracle.second_judge and oracle.second_judge.memorized
        if entry.second_judge.oracle != own_second:
            yield entry, "second_judge: oracle is not the rate of the oracle's own row"
    expected = _recovered(entry, cells)
    found = entry.recovered_share
    if (found is None) != (expected is None) or (
        found is not None and expected is not None and not near(found, expected, 1e-6)
    ):
        yield entry, f"recovered_share: {found}, where the rates give {expected}"


def _recovered(entry: Entry, cells: Cells) -> float | None:
    rates = [
        cell and cell.memorization_rate
        for cell in (entry, cells.get((entry.mitigation.label, NONE)), cells.get((NONE, NONE)))
    ]
    attacked, mitigated, unmitigated = rates
    if not (attacked and mitigated and unmitigated):
        return None
    return recovered_share(attacked.rate, mitigated.rate, unmitigated.rate)
