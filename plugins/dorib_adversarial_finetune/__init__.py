"""Adversarial fine-tuning (Kowalczuk et al. 2026): train away what a search still finds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dorib import (
    CheckpointEvery,
    GeneralPairsParams,
    MethodCard,
    MethodChoice,
    MethodSpec,
    Register,
    hookimpl,
)

dorib_contract = 2


class AdversarialFinetuneParams(GeneralPairsParams):
    """What is searched with, what is trained towards, and how long.

    The published variant is the default, as far as it is known of the paper's third version (arXiv
    2507.16880v3): searches of 50 steps against the current weights, surrogates that the pruned
    model draws for the original prompt, real general pairs, the two losses unweighted, five
    epochs. Of it, the outer learning rate, the sizes of batches, how many embeddings are found for
    an image and which start the inner search takes are in no source at hand.

    Ablations: `search=none` trains on each prompt's own embedding (plain fine-tuning),
    `search=dori:start=prompt` or `other` starts the search elsewhere, `prompt_share` and
    `found_share` place the lessons between the prompt and what was found,
    `target=empty_prompt` needs no surrogates, `utility_weight=0` has no utility loss,
    `general=drawn` takes the model's own pictures for it.
    """

    search: MethodChoice = Field(
        MethodSpec.parse("dori:start=random"),
        description="attack that finds the embeddings to train on; from noise, as which start the "
        "paper takes here is not known",
    )
    search_budget: int = Field(
        1200,
        ge=1,
        description="work of one search for one image, in U-Net items; 1200 are the paper's 50 "
        "steps of 8 pairs, forward and backward",
    )
    embeddings_per_image: int = Field(
        1,
        ge=1,
        description="embeddings searched for each image, from starts of their own, and trained on "
        "in the same gradient step; the paper takes several, how many is not known",
    )
    prompt_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the lessons that ask with the prompt's own embedding; 0 in the paper",
    )
    found_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the lessons that ask with the embedding found; 1 in the paper. What "
        "is left to 1 asks with one between the two, at a place drawn evenly",
    )
    target: Literal["surrogate", "empty_prompt"] = Field(
        "surrogate",
        description="what a found embedding is trained to give: a surrogate image, or, on the "
        "noisy original, what the model under training itself predicts without a prompt",
    )
    surrogate: MethodChoice = Field(
        MethodSpec(name="wanda"),
        description="mitigation under which surrogate images are drawn from the memorized prompt",
    )
    surrogates: int = Field(4, ge=1, description="surrogate images drawn for each memorized prompt")
    similarity_threshold: float | None = Field(
        None,
        gt=-1,
        le=1,
        description="a surrogate is kept below this correlation with the original; none: the 95th "
        "percentile between different originals",
    )
    utility_weight: float = Field(
        1.0,
        ge=0,
        description="weight of the denoising loss on general pairs, beside 1 for that on found "
        "embeddings; 1: unweighted, as in the paper; 0: no such loss",
    )
    epochs: int = Field(5, ge=1, description="passes over the memorized images; 5 in the paper")
    steps_per_search: int = Field(
        1, ge=1, description="gradient steps on what one search has found, each on fresh noise"
    )
    checkpoint_every: CheckpointEvery = 10

    @model_validator(mode="after")
    def _shares_of_a_whole(self) -> Self:
        # Decimal fractions that make up a whole may exceed it by rounding.
        if self.prompt_share + self.found_share > 1 + 1e-9:
            raise ValueError(
                f"prompt_share={self.prompt_share} and found_share={self.found_share} are more "
                "than all lessons; lower one of them"
            )
        return self


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `adversarial-finetune`."""
    register(
        "adversarial-finetune",
        "dorib_adversarial_finetune.mitigation:AdversarialFinetune",
        params=AdversarialFinetuneParams,
        summary="trains the U-Net against embeddings that a search finds",
        card=MethodCard(
            title="Adversarial fine-tuning",
            sentence="Trains the U-Net on the embeddings that an attack still finds, "
            "towards pictures that are no copies.",
            authors="Kowalczuk et al.",
            year=2025,
            paper="https://arxiv.org/abs/2507.16880",
            code="https://github.com/sprintml/finding_dori",
            family="fine-tuning",
            access="training images",
        ),
    )
