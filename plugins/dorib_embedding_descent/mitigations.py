"""The mitigations: from general captions to where a descent stops."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dorib import (
    DefenderView,
    DoribError,
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
    ThresholdParams,
)
from dorib_embedding_descent.first_step import lengths, share
from dorib_embedding_descent.rules import noise_losses

SHARED_WORK = -1
"""Sample index of the threshold's work, which no single sample caused."""

WORK_PER_LOOK = 2
"""One item with the prompt, and one without."""

Losses = Callable[[Tensor, Embeddings, Tensor], Tensor]
"""From noise, embeddings and sample indices to the loss of each item."""


class EmbeddingDescent(Mitigation[EmbeddingDescentParams]):
    """Knows no memorized prompt, but what an ordinary one's share of the output is."""

    def planned(self, scale: Scale) -> PlannedFit:
        """A look at each caption; for an image, all steps at most, and one look more."""
        steps = self.params.steps
        most = PlannedWork(forward=3, gradient=3 * steps, exact=False)
        return PlannedFit(
            _threshold_work(self.params, scale, WORK_PER_LOOK),
            rules=("embedding-descent",),
            rule_work=most if steps else PlannedWork(),
        )

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `embedding-descent`, with its threshold.

        Raises:
            DoribError: a percentile is asked for, and the suite has no general captions.
        """
        stop = _threshold(
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
            _threshold_work(self.params, scale, a_loss),
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

        stop = _threshold(self.params, model, view, seeds, losses)
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


def _threshold_work(params: ThresholdParams, scale: Scale, each: int) -> PlannedWork:
    if params.threshold is not None:
        return PlannedWork()
    captions = min(params.captions, scale.general_captions)
    # Those that are memorized as well are left out, which are not known here.
    exact = params.captions <= scale.general_captions - scale.memorized
    return PlannedWork(forward=captions * each, exact=exact)


def _threshold(
    params: ThresholdParams, model: TargetModel, view: DefenderView, seeds: Seeds, losses: Losses
) -> float:
    if params.threshold is not None:
        return params.threshold
    memorized = {target.caption for target in view.memorized}
    captions = [caption for caption in view.general_captions if caption not in memorized]
    if not captions:
        raise DoribError(
            "mitigation: a percentile needs general captions that are not memorized, and the suite "
            "has none; add some, or set threshold"
        )
    lot = torch.randperm(len(captions), generator=seeds.generator("captions"))
    drawn = [captions[place] for place in lot[: params.captions].tolist()]
    values = []
    for first in range(0, len(drawn), params.batch_size):
        batch = drawn[first : first + params.batch_size]
        noise = torch.stack(
            [
                torch.randn(model.latent_shape, generator=seeds.generator("noise", caption))
                for caption in batch
            ]
        ).to(model.device, model.dtype)
        samples = torch.full((len(batch),), SHARED_WORK, device=model.device)
        with torch.no_grad():
            values.append(losses(noise, model.encode_prompt(batch), samples).cpu())
    return torch.quantile(torch.cat(values).double(), params.percentile / 100).item()


def _shared(params: Params, rule: type[Params], threshold: float) -> dict[str, object]:
    """What a mitigation and its rule have both, and the threshold."""
    named = params.model_dump(mode="json")
    return {name: named[name] for name in rule.model_fields if name in named} | {
        "threshold": threshold
    }
