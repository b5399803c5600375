"""The command `dorib sscd-agreement`: do two descriptors call the same images copies?

A package of its own: what it shows of a run changes no result of the metrics.
"""

from __future__ import annotations

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Bring `dorib sscd-agreement`."""
    register(
        "sscd-agreement",
        "dorib_sscd_agreement.command:sscd_agreement",
        summary="Compare two descriptors' verdicts on a run's images: within each cell, over all "
        "attacked.",
    )
