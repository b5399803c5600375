"""The mitigations: from general captions to where a descent stops."""

from __future__ import annotations

from torch import Tensor

from dorib import (
    DefenderView,
    Edit,
    Embeddings,
    Ledger,
    Mitigation,
    Params,
    PlannedFit,
    PlannedWork,
    SamplingRule,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_embedding_descent import (
    DescentRuleParams,
    EmbeddingDescentParams,
    NoiseAdjustmentParams,
    NoiseDescentParams,
    NoiseRuleParams,
)
from dorib_embedding_descent.first_step import lengths, share
from dorib_embedding_descent.rules import noise_losses
from dorib_embedding_descent.thresholds import threshold, threshold_work

WORK_PER_LOOK = 2
"""One item with the prompt, and one without."""


class EmbeddingDescent(Mitigation[EmbeddingDescentParams]):
    """Knows no memorized prompt, but what an ordinary one's share of the output is."""

    def planned(self, scale: Scale) -> PlannedFit:
        """A look at each caption; for an image, all steps at most, and one look more."""
        steps = self.params.steps
        most = PlannedWork(forward=3, gradient=3 * steps, exact=False)
        return PlannedFit(
            threshold_work(self.params, scale, WORK_PER_LOOK),
            rules=("embedding-descent",),
            rule_work=most if steps else PlannedWork(),
        )

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `embedding-descent`, with its threshold.

        Raises:
            DoribError: a percentile is asked for, and the suite has no general captions.
        """
        stop = threshold(
            self.params, model, view, seeds, lambda *item: lengths(share(model, *item))
        )
        rule = DescentRuleParams.model_validate(_shared(self.params, DescentRuleParams, stop))
        return Edit(SamplingRule("embedding-descent", rule.model_dump(mode="json")))


class NoiseDescent(Mitigation[NoiseDescentParams]):
    """Knows no memorized prompt, but what an ordinary one's loss is."""

    def planned(self, scale: Scale) -> PlannedFit:
        """A loss for each caption; for an image, all steps at most, and one loss more."""
        steps = self.params.steps
        # A sharpness is a share at a place that another share leads to, which has no gradient.
        before = WORK_PER_LOOK if self.params.loss == "sharpness" else 0
        a_loss = WORK_PER_LOOK + before
        most = PlannedWork(
            forward=steps * before + a_loss, gradient=3 * WORK_PER_LOOK * steps, exact=False
        )
        return PlannedFit(
            threshold_work(self.params, scale, a_loss),
            rules=("noise-descent",),
            rule_work=most if steps else PlannedWork(),
        )

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `noise-descent`, with its threshold.

        Raises:
            DoribError: a percentile is asked for, and the suite has no general captions.
        """
        rule = NoiseRuleParams.model_validate(_shared(self.params, NoiseRuleParams, 0.0))

        def losses(noise: Tensor, embeddings: Embeddings, samples: Tensor) -> Tensor:
            return noise_losses(model, noise, embeddings, samples, rule)

        stop = threshold(self.params, model, view, seeds, losses)
        whole = rule.model_copy(update={"threshold": stop})
        return Edit(SamplingRule("noise-descent", whole.model_dump(mode="json")))


class NoiseAdjustment(Mitigation[NoiseAdjustmentParams]):
    """Knows no memorized prompt: every image starts elsewhere."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing; for an image, two looks at each adjustment."""
        repeats = self.params.repeats if self.params.strength else 0
        work = PlannedWork(forward=2 * WORK_PER_LOOK * repeats)
        return PlannedFit(rules=("noise-adjustment",), rule_work=work)

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `noise-adjustment`; the model is not run."""
        return Edit(SamplingRule("noise-adjustment", self.params.model_dump(mode="json")))


def _shared(params: Params, rule: type[Params], threshold: float) -> dict[str, object]:
    """What a mitigation and its rule have both, and the threshold."""
    named = params.model_dump(mode="json")
    return {name: named[name] for name in rule.model_fields if name in named} | {
        "threshold": threshold
    }
