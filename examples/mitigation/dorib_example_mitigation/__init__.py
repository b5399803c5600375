"""Scales what cross-attention reads from the prompt."""

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ExampleMitigationParams(Params):
    """How much is left."""

    factor: float = Field(0.9, ge=0, le=1, description="what the values are multiplied by")


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `example-mitigation`."""
    register(
        "example-mitigation",
        "dorib_example_mitigation.mitigation:ExampleMitigation",
        params=ExampleMitigationParams,
        summary="scales the cross-attention values",
    )
