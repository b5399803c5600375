"""Whether what mitigations were told goes with the model, seen before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dorib.contracts.methods import Mitigation
from dorib.host.calls import before_work
from dorib.host.configure import Configured
from dorib.store.code import closure_digest
from dorib.verbs.context import RunContext
from dorib.verbs.guarding import guarded

PREPARED = "prepared"


def prepare_mitigations(context: RunContext, methods: Sequence[Configured]) -> None:
    """Ask each mitigation, and each that one builds on, whether it can work on the model.

    That all was well is kept in the store, so that a run with nothing to compute loads no model.

    Raises:
        DoribError: one cannot.
    """
    for method in (one for whole in methods for one in _with_parts(whole)):
        own = type(method.method)
        if not issubclass(own, Mitigation) or own.prepare is Mitigation.prepare:
            continue
        key = {
            "model": context.model_key,
            "code": closure_digest(__name__),
            "mitigation": method.fingerprint,
        }
        shelf = context.store.shelf("checks", key)
        if PREPARED in shelf:
            continue
        model = context.model
        with before_work(), guarded(context, method):
            method.mitigation.prepare(model)
        with shelf.batch([PREPARED]):
            pass


def _with_parts(method: Configured) -> Iterator[Configured]:
    yield method
    for part in method.parts.values():
        yield from _with_parts(part)
