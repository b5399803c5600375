"""Leaderboards: mitigations in order of what they failed to erase, and the file that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from dorib.contracts.params import Scope
from dorib.errors import DoribError
from dorib.ranking.checks.comparable import contradictions
from dorib.ranking.checks.reasons import not_attacked
from dorib.ranking.entries import Entry, read_entry
from dorib.ranking.entry_fields import MethodFacts, ProfileName, SuiteFacts
from dorib.ranking.entry_files import NEXT, complete, versions, write_together
from dorib.ranking.published import read_published
from dorib.ranking.rates import (
    Count,
    Facts,
    Interval,
    Positive,
    Rate,
    SecondJudge,
    UtilityShare,
    is_absent,
)
from dorib.reading import Malformed
from dorib.store.fingerprint import method_slug

LEADERBOARD_FILE = "leaderboard.json"


class CellSummary(Facts):
    """One attack's part of a row."""

    attack: str
    """The attack's label."""
    memorization_rate: Rate | None
    controls_rate: Rate | None
    oracle_rate: Rate | None
    second_judge: SecondJudge | None = None
    """Where the suite has a second descriptor, what it says of the same images."""
    erasure_gap: Interval | None
    recovered_share: float | None
    errors: Count
    bypass: bool
    reason_not_ranked: str | None
    entry: str
    """The entry's file, relative to the leaderboard's folder."""
    older: str | None = Field(default=None, exclude_if=is_absent)
    """What has changed since another run made it; left out where nothing has."""


class PlannedCell(Facts):
    """One that a run has yet to come to, by its labels."""

    mitigation: str
    attack: str


class Row(Facts):
    """One mitigation under all attacks."""

    rank: int | None
    """1 is best; rows of the same gap share a rank; None for rows that are not ranked."""
    mitigation: MethodFacts
    scope: Scope
    utility: UtilityShare | None
    utility_by_kind: dict[str, UtilityShare] = Field(default_factory=dict)
    """Where the suite tells kinds of utility prompts apart."""
    worst_gap: Interval | None
    """The largest erasure gap over the required attacks."""
    worst_attack: str | None
    errors: Count
    """Over all its cells; an error in the utility prompts counts in each."""
    reason_not_ranked: str | None
    cells: tuple[CellSummary, ...]


class Leaderboard(Facts):
    """All rows of one suite, split and profile."""

    schema_version: Literal[1, 2, 3, 4]
    """That of its entries."""
    suite: SuiteFacts
    split: str
    profile: ProfileName
    k: Positive
    required_attacks: tuple[str, ...]
    """A row's rank is its worst erasure gap over these."""
    rows: tuple[Row, ...]
    """Global edits: ranked rows by rising worst gap, then the others."""
    per_sample_rows: tuple[Row, ...]
    """Edits that presuppose knowing which image is asked for; ranked among themselves."""
    reference_rows: tuple[Row, ...]
    """`none` and the oracle."""
    unfinished: tuple[PlannedCell, ...] = Field(default=(), exclude_if=is_absent)
    """What a run had yet to come to when this was written; left out where it was done."""

    @property
    def entry_files(self) -> list[str]:
        """Of all its cells, relative to its folder."""
        rows = (*self.reference_rows, *self.rows, *self.per_sample_rows)
        return [cell.entry for row in rows for cell in row.cells]


def leaderboard(
    entries: Sequence[Entry],
    required_attacks: Sequence[str] | None = None,
    unfinished: Sequence[PlannedCell] = (),
) -> Leaderboard:
    """Order the mitigations of `entries`.

    Args:
        entries: Cells of one suite, split, profile and number of images.
        required_attacks: Labels of the attacks that decide, for entries of version 1, which do not
            state them; None for every attack in `entries`.
        unfinished: Cells that a run on its way has yet to come to.

    Raises:
        DoribError: there are no entries, two are of the same cell, or they cannot be compared.
    """
    if not entries:
        raise DoribError("leaderboard: no entries; run at least one mitigation and attack")
    for entry, problem in contradictions(entries, to_come(unfinished)):
        raise DoribError(f"leaderboard: {entry_file(entry)} {problem}")
    required = _required(entries, required_attacks)
    of_mitigation: dict[str, list[Entry]] = {}
    for entry in entries:
        of_mitigation.setdefault(entry.mitigation.label, []).append(entry)
    references, global_rows, per_sample_rows = [], [], []
    for cells in of_mitigation.values():
        row = _row(cells, required)
        if cells[0].reference_line:
            references.append(row)
        elif row.scope == "global":
            global_rows.append(row)
        else:
            per_sample_rows.append(row)
    first = entries[0]
    return Leaderboard(
        schema_version=first.schema_version,
        suite=first.suite,
        split=first.split,
        profile=first.profile,
        k=first.k,
        required_attacks=required,
        rows=_ranked(global_rows),
        per_sample_rows=_ranked(per_sample_rows),
        reference_rows=tuple(references),
        unfinished=tuple(unfinished),
    )


def to_come(unfinished: Sequence[PlannedCell]) -> set[tuple[str, str]]:
    """The labels of cells that a run has yet to come to."""
    return {(cell.mitigation, cell.attack) for cell in unfinished}


def read_entries(folder: Path, board: Leaderboard) -> tuple[Entry, ...]:
    """The entries that a leaderboard in `folder` names: those that it follows from, if any do.

    Raises:
        DoribError: one cannot be read, or they make no leaderboard.
    """
    *waiting, there = versions(folder, board.entry_files)
    for paths in waiting:
        with suppress(DoribError):
            entries = tuple(read_entry(path) for path in paths)
            if _follows(board, entries):
                return entries
    return tuple(read_entry(path) for path in there)


def write_leaderboard(
    folder: Path,
    entries: Sequence[Entry],
    required_attacks: Sequence[str] | None = None,
    unfinished: Sequence[PlannedCell] = (),
) -> Path:
    """Write `leaderboard.json` and one file for each entry; the same entries, the same bytes.

    Killed anywhere, it leaves either the former leaderboard or the new one.

    Raises:
        DoribError: the entries make no leaderboard.
        OSError: the disk is full or not writable.
    """
    board = leaderboard(entries, required_attacks, unfinished)
    path = folder / LEADERBOARD_FILE
    content = {entry_file(entry): entry.model_dump(mode="json") for entry in entries}
    if any(folder.glob(f"entries/*{NEXT}")):
        complete(folder, leaderboard_follows=_is_ahead(folder))
    write_together(folder, content, path, board.model_dump(mode="json"))
    return path


def entry_file(entry: Entry) -> str:
    """An entry's file, relative to its leaderboard's folder."""
    slugs = [method_slug(m.name, m.label, m.params) for m in (entry.mitigation, entry.attack)]
    return f"entries/{'.'.join(slugs)}.json"


def _follows(board: Leaderboard, entries: Sequence[Entry]) -> bool:
    return leaderboard(entries, board.required_attacks, board.unfinished) == board


def _is_ahead(folder: Path) -> bool:
    """Whether the leaderboard that is there follows from entries that wait to be put in place."""
    try:
        board = read_published(Leaderboard, folder / LEADERBOARD_FILE)
        return _follows(
            board, [read_entry(path) for path in next(versions(folder, board.entry_files))]
        )
    except (Malformed, FileNotFoundError, ValidationError, DoribError):
        return False


def _required(entries: Sequence[Entry], stated: Sequence[str] | None) -> tuple[str, ...]:
    own = entries[0].required_attacks
    if own is not None:
        if stated is not None and tuple(stated) != own:
            raise DoribError(
                f"leaderboard: required_attacks {', '.join(stated) or 'none'} are not those that "
                f"its entries state, {', '.join(own)}"
            )
        return own
    if stated is None:
        return tuple(dict.fromkeys(entry.attack.label for entry in entries))
    if not stated or len(set(stated)) != len(stated):
        raise DoribError("leaderboard: required_attacks must be at least one, each once")
    return tuple(stated)


def _row(cells: Sequence[Entry], required: Sequence[str]) -> Row:
    first = cells[0]
    by_attack = {entry.attack.label: entry for entry in cells}
    gaps = [
        (entry.erasure_gap, attack)
        for attack in required
        if (entry := by_attack.get(attack)) and entry.erasure_gap
    ]
    worst_gap, worst_attack = max(gaps, key=lambda gap: gap[0].value, default=(None, None))
    return Row(
        rank=None,
        mitigation=first.mitigation,
        scope=first.scope,
        utility=first.utility,
        utility_by_kind=first.utility_by_kind,
        worst_gap=worst_gap,
        worst_attack=worst_attack,
        errors=sum(entry.errors for entry in cells),
        reason_not_ranked="; ".join(_reasons_not_ranked(by_attack, required)) or None,
        cells=tuple(_cell(entry) for entry in cells),
    )


def _reasons_not_ranked(by_attack: dict[str, Entry], required: Sequence[str]) -> list[str]:
    missing = [attack for attack in required if attack not in by_attack]
    reasons = [not_attacked(attack) for attack in missing]
    for attack in required:
        reason = by_attack[attack].reason_not_ranked if attack in by_attack else None
        if reason is not None:
            reasons += reason.split("; ")
    return list(dict.fromkeys(reasons))


def _cell(entry: Entry) -> CellSummary:
    return CellSummary(
        attack=entry.attack.label,
        memorization_rate=entry.memorization_rate,
        controls_rate=entry.controls_rate,
        oracle_rate=entry.oracle_rate,
        second_judge=entry.second_judge,
        erasure_gap=entry.erasure_gap,
        recovered_share=entry.recovered_share,
        errors=entry.errors,
        bypass=entry.bypass,
        reason_not_ranked=entry.reason_not_ranked,
        entry=entry_file(entry),
        older=entry.older,
    )


def _ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Ranked rows by rising worst gap, numbered; then the others by label."""
    rows = sorted(rows, key=lambda row: row.mitigation.label)
    standing = sorted((r for r in rows if r.reason_not_ranked is None), key=_gap_value)
    gaps = [_gap_value(row) for row in standing]
    numbered = [
        row.model_copy(update={"rank": 1 + gaps.index(gap)})
        for row, gap in zip(standing, gaps, strict=True)
    ]
    return (*numbered, *(row for row in rows if row.reason_not_ranked is not None))


def _gap_value(row: Row) -> float:
    # A row is ranked only where each of its required cells has a gap.
    assert row.worst_gap is not None
    return row.worst_gap.value
