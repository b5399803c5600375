"""Every number that `dorib locality` finds, as one JSON document."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dorib import StrictModel
from dorib_locality.geometry import Measure
from dorib_locality.pairs import Separation

Selection = Literal["successful", "all"]
Unit = Literal["neurons", "weights"]


class Group(StrictModel):
    """The values of one kind of pairs, and their summary (None where there is no pair)."""

    label: str
    n: int
    mean: float | None
    standard_deviation: float | None
    """Unbiased; None for fewer than two values."""
    median: float | None
    low: float | None
    """Smallest value."""
    high: float | None
    """Largest value."""
    values: tuple[float, ...]

    @classmethod
    def of(cls, label: str, values: NDArray[np.float64]) -> Group:
        """Summarise `values`; those that are not numbers are left out."""
        values = values[np.isfinite(values)]
        there = len(values) > 0
        return cls(
            label=label,
            n=len(values),
            mean=float(values.mean()) if there else None,
            standard_deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            median=float(np.median(values)) if there else None,
            low=float(values.min()) if there else None,
            high=float(values.max()) if there else None,
            values=tuple(values.tolist()),
        )


class SeparationTest(StrictModel):
    """Whether pairs of one image are closer than pairs of different images."""

    within: float
    """Mean distance of pairs of one image."""
    between: float
    """Mean distance of pairs of different images."""
    superiority: float
    """Chance that a pair of different images is further apart than one of the same image."""
    p_value: float
    """One-sided, by dealing the images' names to the triggers anew."""

    @classmethod
    def of(cls, found: Separation | None) -> SeparationTest | None:
        """The same numbers."""
        return None if found is None else cls.model_validate(found._asdict())


class Point(StrictModel):
    """One embedding on the two principal axes."""

    kind: Literal["trigger", "starting point", "prompt", "random prompt"]
    sample: str | None
    start: int | None
    x: float
    y: float


class Spread(StrictModel):
    """Distances under one measure."""

    measure: Measure
    triggers_of_one_image: Group
    triggers_of_different_images: Group
    starting_points_of_one_image: Group
    random_prompts: Group
    from_start_to_trigger: Group
    """How far the search went."""
    from_prompt_to_trigger: Group
    """How far a trigger lies from its image's own prompt."""
    share_of_random_prompts: float | None
    """Mean distance of triggers of one image, divided by that of random prompts."""
    test: SeparationTest | None
    """On the distances of the triggers."""
    test_of_displacements: SeparationTest | None
    """On the distances of what each search added: the trigger minus its starting point. Starts that
    lie far apart cannot hide a common direction here."""


class EmbeddingSpace(StrictModel):
    """Claim 1: triggers of one image are spread as widely as random prompts."""

    tokens: int
    width: int
    spreads: tuple[Spread, ...]
    points: tuple[Point, ...]
    explained: tuple[float, float]
    """Share of the variance of all points along each axis."""


class LayerDiscrepancy(StrictModel):
    """Mean discrepancy of pairs in one layer at one timestep."""

    kind: Literal["value", "feed_forward"]
    layer: str
    timestep: int | None
    """None for value layers: they see neither the noise nor the timestep."""
    measure: Measure
    triggers_of_one_image: float | None
    triggers_of_different_images: float | None
    random_prompts: float | None
    one_trigger_other_noise: float | None
    """None for value layers, where it is 0."""
    superiority: float | None
    """Chance that a pair of different images differs more than one of the same image."""


class ActivationTest(StrictModel):
    """The test on the mean discrepancy over all layers of a kind, by timestep and measure."""

    kind: Literal["value", "feed_forward"]
    timestep: int | None
    measure: Measure
    test: SeparationTest | None


class Activations(StrictModel):
    """Claim 2: triggers of one image reach it through different activations."""

    reduction: str
    noises: int
    timesteps: tuple[int, ...]
    layers: tuple[LayerDiscrepancy, ...]
    tests: tuple[ActivationTest, ...]


class RandomOverlap(StrictModel):
    """What random picks of the same size give for the pairs of one group."""

    expected: float | None
    """Mean expected overlap; None where it has no closed form or there is no pair."""
    mean: float
    """Of the simulation: the group's mean overlap, averaged over the draws."""
    low: float
    """2.5th percentile of the group's mean over the draws."""
    high: float
    """97.5th percentile."""
    draws: int


class MeanOverlap(StrictModel):
    """Mean intersection over union of pairs."""

    triggers_of_one_image: float | None
    triggers_of_different_images: float | None
    prompts_of_different_images: float | None


class LayerOverlap(MeanOverlap):
    """Mean intersection over union in one layer; pairs with an empty pick are left out."""

    layer: str
    places: int
    mean_size: float
    empty: int
    """Triggers that nothing was picked for in this layer."""
    random: float | None
    """Expected for pairs of one image."""
    counting_empty: MeanOverlap
    """All pairs: two empty picks agree (1), an empty one and another do not (0)."""


class MethodPicks(StrictModel):
    """The picks of one mitigation."""

    mitigation: str
    unit: Unit
    places: int
    """Neurons or weights that it chooses from."""
    sizes: Group
    """Number of picks for each trigger."""
    empty: int
    """Triggers that nothing was picked for; pairs with one are left out, but for
    `counting_empty`."""
    one_trigger_other_noise: Group
    """Same trigger, fitted again with other randomness: what agreement the method is capable of."""
    triggers_of_one_image: Group
    trigger_and_prompt: Group
    """A trigger and its image's own prompt."""
    triggers_of_different_images: Group
    prompts_of_different_images: Group
    random: RandomOverlap | None
    """For the pairs of one image; None where there is none."""
    counting_empty: MeanOverlap
    """All pairs: two empty picks agree (1), an empty one and another do not (0)."""
    layers: tuple[LayerOverlap, ...]
    test: SeparationTest | None
    """On 1 - intersection over union."""


class MethodPair(StrictModel):
    """The picks of two mitigations for the same triggers."""

    first: str
    second: str
    blocks: tuple[str, ...]
    """Transformer blocks that both choose from."""
    one_trigger: Group
    """Overlap of the two spreads over blocks, for the same trigger."""
    triggers_of_different_images: Group
    random: RandomOverlap | None
    """For the pairs of one trigger."""
    first_shares: tuple[float, ...] | None
    """Mean share of the first's picks in each block."""
    second_shares: tuple[float, ...] | None
    same_places: Group | None
    """Intersection over union place by place, for the same trigger; None where the two choose from
    different layers or in different units."""
    rank_correlation: float | None
    """Spearman's, of how many places each picks, over the triggers; None where a size is
    constant."""


class Weights(StrictModel):
    """Claim 3: picks for one image agree little between triggers and between methods."""

    methods: tuple[MethodPicks, ...]
    pairs: tuple[MethodPair, ...]


class Analysis(StrictModel):
    """All three questions for one selection of triggers."""

    selection: Selection
    triggers: int
    images: int
    embedding_space: EmbeddingSpace
    activations: Activations
    weights: Weights | None
    """None where no mitigation was named."""


class TriggerFacts(StrictModel):
    """One trigger."""

    sample: str
    start: int
    replicates: bool
    loss: float | None
    work: int
    digest: str
    """sha256 over the stored trigger's files."""


class Findings(StrictModel):
    """Everything that one `dorib locality` found."""

    suite: str
    suite_version: str
    split: str
    attack: str
    attack_params: dict[str, object]
    mitigations: tuple[str, ...]
    budget: int
    starts: int
    evaluation_images: int
    """For each trigger; it counts as successful where at least one replicates."""
    root_seed: int
    dtype: str
    device: str
    dorib_version: str
    libraries: dict[str, str]
    triggers: tuple[TriggerFacts, ...]
    failures: dict[str, str]
    successful: Analysis | None
    """None where fewer than two images have two successful triggers each."""
    all: Analysis
    seconds: float
    """Wall time, whatever was found stored."""

    @property
    def shown(self) -> Analysis:
        """What figures and page show: the successful triggers, as far as there are enough."""
        return self.successful or self.all
