"""Replays the triggers that another attack found on the unmitigated model."""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, MethodChoice, MethodSpec, Params, Register, hookimpl

dorib_contract = 2


class TransferParams(Params):
    """Whose triggers are replayed."""

    source: MethodChoice = Field(
        MethodSpec(name="dori"), description="the attack that searches the unmitigated model"
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `transfer`."""
    register(
        "transfer",
        "dorib_transfer.attack:Transfer",
        params=TransferParams,
        summary="replays the triggers that another attack found on the unmitigated model",
        card=MethodCard(
            title="Transferred triggers",
            sentence="Replays what another attack found on the unmitigated model.",
        ),
    )
