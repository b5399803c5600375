"""The command `dorib meta`: which attack, by which metric and at which budget, can be trusted?

Of some models it is known whether they hold the memorized images. An attack that cannot tell these
apart tells nothing of a mitigation either. Only what runs have left is read; no model is run.
"""

from __future__ import annotations

from dorib import RegisterCommand, hookimpl

dorib_contract = 2


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Bring `dorib meta`."""
    register(
        "meta",
        "dorib_meta.command:meta",
        summary="Which attacks and probes tell models that hold the images from those that do not?",
    )
