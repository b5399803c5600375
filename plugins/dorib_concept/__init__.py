"""Concept erasure turned on memorized captions: what they ask for becomes something else.

UCE (Gandikota et al. 2024, arXiv 2308.14761): a closed form over the maps that cross-attention
reads captions with. ESD (Gandikota et al. 2023, arXiv 2303.07345) and concept ablation (Kumari et
al. 2023, arXiv 2303.13516): fine-tuning towards what a model gives for other captions.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dorib import BatchSize, MethodCard, Register, TrainingParams, hookimpl

dorib_contract = 2

_UCE = frozenset({"anchor", "tokens", "erase_scale", "preserve", "preserve_scale", "ridge"})
_TRAINED = frozenset(TrainingParams.model_fields) | {
    "pictures",
    "steps_per_caption",
    "drawn_together",
}
_USED = {
    "uce": _UCE,
    "esd": _TRAINED | {"strength"},
    "ablation": _TRAINED | {"anchor", "prior_weight"},
}
"""By method, the parameters that it is told anything by."""
_PUBLISHED: dict[str, dict[str, Any]] = {
    "uce": {},
    "esd": {
        "trainable": "cross-attention",
        "learning_rate": 5e-5,
        # Plain Adam, without a limit.
        "weight_decay": 0.0,
        "max_gradient_norm": 1e9,
        "steps_per_caption": 200,
        "batch_size": 1,
    },
    "ablation": {
        "anchor": "general",
        # 2e-6 an item: the authors' code scales it by the batch.
        "learning_rate": 8e-6,
        "steps_per_caption": 400,
        "batch_size": 4,
    },
}


class ConceptParams(TrainingParams):
    """How the memorized captions are erased; what is not given is as published for the method.

    What a method does not look at is refused. `esd` trains cross-attention (ESD-x), at 5e-5 without
    weight decay, 200 steps of one item for a caption; `trainable=all` is the authors' esd-all.
    `ablation` trains all weights, as for the authors' memorized images, at 8e-6, 400 steps of 4.
    """

    method: Literal["uce", "esd", "ablation"] = Field(
        "uce",
        description="uce: a closed form, without a U-Net pass; esd: trains away from what the "
        "caption adds; ablation: trains the caption to give what another gives. What is not given "
        "is as published for it: esd trainable=cross-attention, learning_rate=5e-5, no decay, 200 "
        "steps of 1; ablation anchor=general, learning_rate=8e-6, 400 steps of 4",
    )
    anchor: Literal["empty", "general"] = Field(
        "empty",
        description="what an erased caption is read as: no prompt, or a general one, by lot; "
        "published: empty for uce, another caption for ablation",
    )
    tokens: Literal["all", "last"] = Field(
        "all",
        description="uce: which of a caption's vectors are moved and kept: all that the U-Net "
        "reads, or (compat) that of its last word alone",
    )
    erase_scale: float = Field(
        1.0, gt=0, le=1e9, description="uce: weight of the erased captions; published: 1"
    )
    preserve: int = Field(
        100, ge=0, description="uce: general captions, chosen by lot, whose reading is to stay"
    )
    preserve_scale: float = Field(
        1.0, gt=0, le=1e9, description="uce: weight of the captions that stay; published: 1"
    )
    ridge: float = Field(
        0.5,
        gt=0,
        le=1e9,
        description="uce: weight of the distance from the model's own maps; published: 0.5",
    )
    strength: float = Field(
        2.0,
        ge=0,
        description="esd: how many times what the caption adds to the untouched model's output is "
        "taken off it; 1: the caption adds nothing any more; published: 2",
    )
    prior_weight: float = Field(
        1.0, ge=0, description="ablation: weight of the denoising loss on the anchors' own pictures"
    )
    pictures: int = Field(
        32,
        ge=1,
        description="pictures that the untouched model draws for each caption (esd) or its anchor "
        "(ablation), to be noised and trained on",
    )
    steps_per_caption: int = Field(
        200, ge=1, description="gradient steps for each memorized caption"
    )
    batch_size: BatchSize = 1
    drawn_together: int = Field(8, ge=1, description="pictures drawn at a time; a matter of memory")

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**_PUBLISHED.get(str(given.get("method", "uce")), {}), **given}

    @model_validator(mode="after")
    def _of_its_method(self) -> Self:
        for name, field in type(self).model_fields.items():
            idle = name != "method" and name not in _USED[self.method]
            if idle and getattr(self, name) != field.default:
                raise ValueError(f"method={self.method} does not look at {name}; leave it out")
        return self


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `concept`."""
    register(
        "concept",
        "dorib_concept.mitigation:Concept",
        params=ConceptParams,
        summary="erases memorized captions as concepts: UCE, ESD or concept ablation",
        card=MethodCard(
            title="UCE",
            sentence="Solves in closed form for cross-attention maps that read "
            "memorized captions as another one.",
            authors="Gandikota et al.",
            year=2024,
            paper="https://arxiv.org/abs/2308.14761",
            code="https://github.com/rohitgandikota/unified-concept-editing",
            family="closed form",
            access="captions",
        ),
        variants={
            "method=esd": MethodCard(
                title="ESD",
                sentence="Trains the model away from what a memorized caption adds to its output.",
                authors="Gandikota et al.",
                year=2023,
                paper="https://arxiv.org/abs/2303.07345",
                code="https://github.com/rohitgandikota/erasing",
                family="fine-tuning",
                access="captions",
            ),
            "method=ablation": MethodCard(
                title="Concept ablation",
                sentence="Trains a memorized caption to give what a general one gives.",
                authors="Kumari et al.",
                year=2023,
                paper="https://arxiv.org/abs/2303.13516",
                code="https://github.com/nupurkmr2/concept-ablation",
                family="fine-tuning",
                access="captions",
            ),
        },
    )
