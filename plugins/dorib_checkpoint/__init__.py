"""A model that was mitigated elsewhere, scored as it is: weights, a LoRA or a PEFT adapter."""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, Params, PathParam, Register, hookimpl

dorib_contract = 2


class CheckpointParams(Params):
    """Where the mitigated model lies."""

    path: PathParam = Field(
        description="weights of the U-Net or of a text encoder, a diffusers folder, a whole "
        "pipeline in one file, a LoRA file, or a PEFT adapter's folder; safetensors alone"
    )
    partial: bool = Field(
        False, description="it holds only the tensors that were changed, not all of them"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `checkpoint`."""
    register(
        "checkpoint",
        "dorib_checkpoint.mitigation:Checkpoint",
        params=CheckpointParams,
        summary="a model that was mitigated elsewhere: weights, a LoRA or a PEFT adapter",
        card=MethodCard(
            title="A checkpoint",
            sentence="A model that was mitigated elsewhere, scored as it is.",
            family="from elsewhere",
        ),
    )
