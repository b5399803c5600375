"""What entries of a board were made by, told against the code that is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.configure import configure
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.report.board.older import OTHER_CODE, changed_since


def told_by_code(entries: Iterable[Entry], model: str, registry: Registry) -> list[Entry]:
    """Entries of several makings, each with what has changed since it was made.

    Numbers of one board may stand beside each other where other code made them, once that is said.

    Args:
        entries: those of a board and of a submission to it.
        model: the digest of the target model by the code that is here.
        registry: the methods that are installed. Of others it is not known whether they changed.
    """
    return [
        entry.model_copy(update={"older": "; ".join(_reasons(entry, model, registry)) or None})
        for entry in entries
    ]


def _reasons(entry: Entry, model: str, registry: Registry) -> Iterator[str]:
    if entry.digests.model != model:
        # Methods are told by the code of dorib too, so this would be said of each.
        yield OTHER_CODE
        return
    if _has_changed("mitigation", entry.mitigation, registry):
        yield changed_since("mitigation", entry.mitigation.label)
    if _has_changed("attack", entry.attack, registry):
        yield changed_since("attack", entry.attack.label)


def _has_changed(kind: MethodKind, method: MethodFacts, registry: Registry) -> bool:
    spec = MethodSpec(name=method.name, params=method.params)
    try:
        return configure(registry, kind, spec).fingerprint != method.fingerprint
    except DoribError:
        # Not installed, or with other parameters than it had: nothing to hold the entry against.
        return False
