"""Around every call of a plugin: its failures are its own, the model stays as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dorib.contracts.ledger import Ledger
from dorib.contracts.target_model import TargetModel
from dorib.host.admission import AdmissionError
from dorib.host.calls import PluginError, fenced_randomness, of_plugin
from dorib.host.configure import Configured
from dorib.host.settings import fenced_settings
from dorib.target.guard import changed, state_of
from dorib.verbs.context import RunContext


@contextmanager
def guarded(context: RunContext, method: Configured) -> Iterator[None]:
    """Call `method` inside; global random generators and torch's settings are put back afterwards.

    Raises:
        PluginError: the plugin raised, or left the model otherwise than it found it. The model
            is then loaded anew when it is next needed.
        torch.OutOfMemoryError: as it came.
        KeyboardInterrupt: the user's.
    """
    model = context.loaded_model
    before = state_of(model.pipeline) if model else {}
    difference = None
    try:
        with of_plugin(method), fenced_randomness() as used, fenced_settings() as set_anew:
            yield
    finally:
        difference = changed(before, state_of(model.pipeline)) if model else None
        if difference:
            context.forget_model()
    if used:
        context.reporter.note(
            f"{method.title} draws from the global generator of {', '.join(used)}, which no seed "
            "of this run fixes: its results cannot be repeated; use seeds.generator(...)"
        )
    if set_anew:
        context.reporter.note(
            f"{method.title} changes torch's {', '.join(set_anew)} for the whole process, which "
            "was put back; set it around its own work alone"
        )
    if difference:
        raise PluginError(
            f"{method.title}: left the model changed ({difference}); work on copies, and take "
            "hooks off again"
        )


@contextmanager
def counted(model: TargetModel, judged_by: Ledger) -> Iterator[Ledger]:
    """Count the work inside in `judged_by`; gives another ledger of it, to be handed over.

    A method could clear the very ledger that it is judged by.
    """
    handed = Ledger()
    with model.counting(judged_by), model.counting(handed):
        yield handed


def tell_stray(context: RunContext, method: Configured, ledger: Ledger) -> None:
    """Say so where `method` called the U-Net itself, and not the target model."""
    if ledger.stray:
        context.reporter.note(
            f"{method.title} calls the U-Net around the target model: {ledger.stray} U-Net items, "
            "counted for every sample"
        )


def refuse_strange_samples(ledger: Ledger, indices: Sequence[int]) -> None:
    """Refuse work that was counted for an index of none of the targets.

    Raises:
        AdmissionError: there is some.
    """
    asked = ledger.forward_items.keys() | ledger.backward_items.keys()
    strange = sorted(asked - set(indices))
    if strange:
        raise AdmissionError(
            f"called the model for the sample index {strange[0]}, which is that of none of its "
            "targets; use target.index"
        )
