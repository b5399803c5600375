"""What every mitigation that trains can be told of the training itself."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from dorib.contracts.params import Params

BatchSize: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        description="items of a gradient step that are computed together, each an image at a "
        "timestep of its own; where embeddings are searched for, images searched for together",
    ),
]
CheckpointEvery: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        description="gradient steps between two checkpoints that a killed fit goes on from; where "
        "embeddings are searched for, searches",
    ),
]


class TrainingParams(Params):
    """Base of the parameters of a mitigation that trains the U-Net by a `Training`.

    A subclass gives `batch_size` and `checkpoint_every` a default of its own by writing
    `batch_size: BatchSize = 1`.
    """

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
    batch_size: BatchSize = 4
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
    checkpoint_every: CheckpointEvery = 100


class GeneralPairsParams(TrainingParams):
    """The same of one that trains on general pairs as well, by `general_prompts`."""

    general: Literal["auto", "real", "drawn"] = Field(
        "auto",
        description="what the general pairs are: the suite's own images with their captions, or "
        "pictures that the untouched model draws for general captions; auto: real where the suite "
        "has any",
    )
    general_images: int = Field(
        128, ge=1, description="general pairs, chosen by lot from those there are"
    )
