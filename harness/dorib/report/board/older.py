"""Which cells of a board were made by older code, and which can no longer stand on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dorib.host.configure import NONE, ORACLE
from dorib.ranking.entry_fields import MethodFacts
from dorib.report.board.kept import KeptBoard, KeptCell, KeptFacts, ListedCell

Labels = tuple[str, str]
OTHER_CODE = "made by other code of dorib or its libraries"


def changed_since(kind: str, label: str) -> str:
    """What is said where a method's own code has changed."""
    return f"{kind} {label} has changed since"


def reasons_older(board: KeptBoard, cells: Mapping[Labels, KeptCell]) -> dict[Labels, str]:
    """By cell, in what the code has changed since: that of dorib, of a library or of a method."""
    if not board.cells:
        return {}
    by_turn = sorted(board.cells, key=lambda cell: cell.turn)
    newest = cells[_labels(by_turn[-1])].facts
    codes: dict[tuple[str, str], str] = {}
    for listed in by_turn:
        for kind, method in _methods(cells[_labels(listed)].facts):
            codes[kind, method.label] = method.fingerprint
    found = {place: "; ".join(_reasons(cell.facts, newest, codes)) for place, cell in cells.items()}
    return {place: reasons for place, reasons in found.items() if reasons}


def leaving_for(new: KeptCell, cells: Mapping[Labels, KeptCell]) -> list[Labels]:
    """Which cells cannot stand on a board once `new` does; its own place may be among them.

    With a reference line's cell go all under its attack: they are read against it.
    """
    leaving = {p for p, c in cells.items() if not can_stand_beside(c.facts, new.facts)}
    without_reference = {
        attack
        for mitigation, attack in leaving - {new.labels}
        if cells[mitigation, attack].facts.mitigation.name in (NONE, ORACLE)
    }
    return [place for place in cells if place in leaving or place[1] in without_reference]


def can_stand_beside(older: KeptFacts, newer: KeptFacts) -> bool:
    """Whether what an older cell shares with a newer one's row and column is still the same."""
    if older.mitigation.label == newer.mitigation.label and (
        _bare(older.mitigation) != _bare(newer.mitigation)
        or (older.scope, older.fit_work, older.digests.edit)
        != (newer.scope, newer.fit_work, newer.digests.edit)
    ):
        return False
    return older.attack.label != newer.attack.label or (
        _bare(older.attack) == _bare(newer.attack)
        and (older.searches, older.knows) == (newer.searches, newer.knows)
    )


def _reasons(
    facts: KeptFacts, newest: KeptFacts, codes: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    if facts.environment.dorib != newest.environment.dorib:
        yield f"made by dorib {facts.environment.dorib}"
    elif facts.digests.model != newest.digests.model:
        yield OTHER_CODE
    for kind, method in _methods(facts):
        if method.fingerprint != codes[kind, method.label]:
            yield changed_since(kind, method.label)


def _methods(facts: KeptFacts) -> tuple[tuple[str, MethodFacts], ...]:
    return ("mitigation", facts.mitigation), ("attack", facts.attack)


def _bare(method: MethodFacts) -> MethodFacts:
    return method.model_copy(update={"fingerprint": ""})


def _labels(cell: ListedCell) -> Labels:
    return cell.mitigation, cell.attack
