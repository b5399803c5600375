"""What every mitigation that trains can be told of the training itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib.contracts.params import Params


class TrainingParams(Params):
    """Base of the parameters of a mitigation that trains the U-Net by a `Training`."""

    trainable: Literal["all", "attention", "cross-attention", "lora"] = Field(
        "all",
        description="what is trained: all U-Net weights, the projections of cross- and "
        "self-attention (attention), those of cross-attention alone, or low-rank additions to the "
        "weights of both (lora)",
    )
    rank: int = Field(4, ge=1, description="of the low-rank additions, with trainable=lora")
    learning_rate: float = Field(1e-5, gt=0, description="step size of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    max_gradient_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down")
    gradient_accumulation: int = Field(
        1, ge=1, description="batches of fresh noise whose gradients make one step"
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto",
        description="number format of the U-Net's computations, weights being trained in float32; "
        "auto: the model's own",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass, to save memory"
    )
