"""Methods that stand for those of an entry: what they found is data, and their code is not needed.

None of them can fit or search: whoever replays a row puts what is published in the store before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from typing_extensions import override

from dorib.contracts.cards import MethodCard
from dorib.contracts.methods import Attack, Mitigation
from dorib.contracts.params import Params, Scope
from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.contracts.triggers import Trigger
from dorib.errors import DoribError
from dorib.host.configure import Configured
from dorib.host.registry import Registration
from dorib.host.spelling import Spelling
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.store.fingerprint import digest


@dataclass(frozen=True)
class Stated(Configured):
    """A method as an entry names it."""

    facts: MethodFacts | None = None
    content: str = ""
    """Digest of what is published of it."""

    @property
    def _facts(self) -> MethodFacts:
        assert self.facts is not None
        return self.facts

    @property
    @override
    def label(self) -> str:
        return self._facts.label

    @property
    @override
    def params(self) -> dict[str, Any]:
        return self._facts.params

    @property
    @override
    def fingerprint(self) -> str:
        """Of what is published as well: another edit under the same name is another method."""
        return digest([self._facts.fingerprint, self.content])

    @property
    @override
    def card(self) -> MethodCard | None:
        return self._facts.card


class _Published(Mitigation[Params]):
    """A mitigation whose edit is published."""

    stated_scope: Scope = "global"

    @property
    @override
    def scope(self) -> Scope:
        return self.stated_scope

    @override
    def fit(self, *_: object) -> NoReturn:
        raise DoribError("its edit is not among the witnesses")


def stated_mitigation(entry: Entry) -> Configured:
    """What stands for the mitigation of an entry."""
    method = _Published(Params())
    method.stated_scope = entry.scope
    return _stated("mitigation", entry.mitigation, method, entry.digests.edit)


def stated_attack(entry: Entry) -> Configured:
    """What stands for the attack of an entry."""
    facts = entry

    class PublishedAttack(Attack[Params]):
        """An attack whose triggers are published."""

        knows = frozenset(facts.knows)  # type: ignore[arg-type]
        searches = facts.searches

        @override
        def search(self, *_: object) -> Iterator[Trigger]:
            raise DoribError("its trigger is not among the witnesses")

    return _stated("attack", entry.attack, PublishedAttack(Params()), entry.digests.triggers)


def _stated(
    kind: MethodKind,
    facts: MethodFacts,
    method: Mitigation[Any] | Attack[Any],
    content: str = "",
) -> Stated:
    registration = Registration(kind, facts.name, facts.plugin, __name__)
    spelling = Spelling.of(MethodSpec(name=facts.name), Params(), lambda _: None)
    return Stated(registration, method, spelling, facts=facts, content=content)
