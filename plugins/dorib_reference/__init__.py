"""The lines that every row is read against: no mitigation, no attack, and the retrained oracle."""

from __future__ import annotations

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class ReferenceParams(Params):
    """A reference has nothing to set."""


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `none` and `retrain`."""
    register(
        "none",
        "dorib_reference.mitigations:Unmitigated",
        params=ReferenceParams,
        summary="the model as it is",
        card=MethodCard(
            title="No mitigation",
            sentence="The model as it is.",
            family="reference",
        ),
    )
    register(
        "retrain",
        "dorib_reference.mitigations:Retrained",
        params=ReferenceParams,
        summary="the suite's oracle: a U-Net trained without the memorized samples",
        card=MethodCard(
            title="Retrained oracle",
            sentence="The model trained without the memorized images, everything else equal.",
            family="reference",
            access="training images",
        ),
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `none`."""
    register(
        "none",
        "dorib_reference.attacks:OwnPrompt",
        params=ReferenceParams,
        summary="the sample's own prompt, nothing searched",
        card=MethodCard(
            title="Own prompt",
            sentence="The sample's own caption; nothing is searched.",
        ),
    )
