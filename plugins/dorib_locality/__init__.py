"""Locality: do the ways to trigger one memorized image share a place in the model?

What may live here: how `dorib locality` gathers triggers, activations and picks, the statistics on
them, and the findings, figures and page that it writes. Source of the three questions: Kowalczuk et
al., "Finding Dori", arXiv 2507.16880.
"""

from __future__ import annotations

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Bring `dorib locality`."""
    register(
        "locality",
        "dorib_locality.command:locality",
        summary="Ask whether the triggers of one image share a place: embeddings, activations, "
        "weights.",
    )
