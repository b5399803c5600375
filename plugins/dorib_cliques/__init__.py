"""Cliques: originals for a suite that has none, from what its model draws again and again.

What may live here: how `dorib cliques` draws several images of each memorized prompt, finds those
that are alike, and writes a suite whose originals they are. Sources of the way: Carlini et al.,
arXiv 2301.13188 (cliques of a prompt's own images), and MemBench, arXiv 2407.17095 (by SSCD).
"""

from __future__ import annotations

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Bring `dorib cliques`."""
    register(
        "cliques",
        "dorib_cliques.command:cliques",
        summary="Make originals for a suite without any, from what its model draws repeatedly.",
    )
