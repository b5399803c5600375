"""A board's rows as its page shows them: a method with its card, its verdict and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dorib.contracts.cards import MethodCard
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.ranking.leaderboard import Leaderboard, Row, entry_file
from dorib.ranking.rates import UtilityShare
from dorib.ranking.verdict import Verdict, verdict
from dorib.report.site.marks import Mark, Marks

Group: TypeAlias = Literal["global", "per sample", "reference"]
GROUPS: dict[Group, str] = {
    "global": "Mitigations, by their worst erasure gap",
    "per sample": "Mitigations for one image each, which presuppose knowing which is asked for",
    "reference": "Reference lines: the model as it is, and one trained without the images",
}
"""In the order of the page, with what their heading says."""


@dataclass(frozen=True)
class BoardRow:
    """One mitigation."""

    row: Row
    group: Group
    cells: Mapping[str, Entry]
    """By the attack's label."""
    verdict: Verdict | None
    differing: str
    """Its parameters in which it differs from rows of the same method; empty where it is alone."""
    mark: Mark | None
    """What is known of its claim; None for reference lines."""

    @cached_property
    def anchor(self) -> str:
        """Its place in the page's address; a method's name alone might be that of a section."""
        return f"row-{self.stem}"

    @property
    def stem(self) -> str:
        """What the names of its entries' files begin with."""
        return Path(entry_file(self.first)).stem.split(".")[0]

    @cached_property
    def files(self) -> dict[str, str]:
        """Its entries' files by the attack's label."""
        return {cell.attack: cell.entry for cell in self.row.cells}

    @property
    def failed(self) -> bool:
        """Whether its claim did not come out."""
        return self.mark is not None and self.mark.state == "failed"

    @property
    def older(self) -> list[str]:
        """What has changed since its cells were made, each once; nothing where nothing has."""
        said = [cell.older.split("; ") for cell in self.cells.values() if cell.older]
        return list(dict.fromkeys(reason for reasons in said for reason in reasons))

    @property
    def first(self) -> Entry:
        """One of its entries: what is of the mitigation stands alike in all."""
        return next(iter(self.cells.values()))

    @property
    def card(self) -> MethodCard:
        """Its card; where an entry has none, its name stands for it."""
        return card_of(self.row.mitigation)

    @property
    def method(self) -> MethodFacts:
        """What was configured."""
        return self.row.mitigation

    @property
    def settings(self) -> str:
        """Its parameters as typed, those left out that have their defaults."""
        return self.method.label.removeprefix(self.method.name).removeprefix(":")

    @property
    def name(self) -> str:
        """Its title, with what tells it from rows of the same method."""
        return f"{self.card.title} ({self.differing})" if self.differing else self.card.title

    @property
    def short(self) -> str:
        """Its title behind its rank, for a place with little room."""
        rank = self.row.rank
        if rank is None:
            return self.card.title
        return f"{'s' if self.group == 'per sample' else ''}{rank} {self.card.title}"

    @property
    def worst_kind(self) -> tuple[str, UtilityShare] | None:
        """The kind of prompts that it keeps least of; None where the suite tells none apart."""
        kinds = self.row.utility_by_kind
        return min(kinds.items(), key=lambda item: item[1].value, default=None)

    @property
    def worst(self) -> Entry | None:
        """The cell of the worst gap."""
        return self.cells.get(self.row.worst_attack or "")

    @property
    def text(self) -> str:
        """What a reader's words are looked for in."""
        card = self.card
        words = [card.title, self.method.label, card.authors, str(card.year or ""), card.sentence]
        return " ".join(words).lower()


def card_of(method: MethodFacts) -> MethodCard:
    """A method's card; where an entry has none, one with its name."""
    return method.card or MethodCard(title=method.name)


def board_rows(board: Leaderboard, entries: Sequence[Entry], marks: Marks) -> list[BoardRow]:
    """All rows, in the order of the page."""
    cells: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        cells.setdefault(entry.mitigation.label, {})[entry.attack.label] = entry
    placed: list[tuple[Group, Row]] = [
        *(("global", row) for row in board.rows),
        *(("per sample", row) for row in board.per_sample_rows),
        *(("reference", row) for row in board.reference_rows),
    ]
    differing = _differing([row.mitigation for _, row in placed])
    rows = []
    for group, row in placed:
        label = row.mitigation.label
        own = cells[label]
        found = verdict([*own.values()])
        mark = None if group == "reference" else marks.of(label, own)
        rows.append(BoardRow(row, group, own, found, differing[label], mark))
    return rows


def attacks_of(board: Leaderboard, entries: Sequence[Entry]) -> list[Entry]:
    """The columns: one entry of each attack that was run, required ones first."""
    ran: dict[str, Entry] = {}
    for entry in entries:
        ran.setdefault(entry.attack.label, entry)
    required = [label for label in board.required_attacks if label in ran]
    return [ran[label] for label in dict.fromkeys([*required, *ran])]


def _differing(methods: Sequence[MethodFacts]) -> dict[str, str]:
    """By label, those parameters in which a method's namesakes differ."""
    namesakes: dict[str, list[dict[str, Any]]] = {}
    for method in methods:
        namesakes.setdefault(card_of(method).title, []).append(method.params)
    return {
        method.label: ", ".join(_apart(method, namesakes[card_of(method).title]))
        for method in methods
    }


def _apart(method: MethodFacts, namesakes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name, value in method.params.items():
        if any(params.get(name) != value for params in namesakes):
            yield f"{name}={shown(value)}"


def shown(value: Any) -> str:
    """A parameter's value as people write it: a method as it is typed, a file by its name."""
    if isinstance(value, dict) and "name" in value:
        inner = value.get("params") or {}
        given = ",".join(f"{name}={shown(part)}" for name, part in inner.items())
        return f"{value['name']}:{given}" if given else str(value["name"])
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
