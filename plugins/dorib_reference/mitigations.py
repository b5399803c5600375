"""Reference mitigations: nothing done, and everything that can be done."""

from __future__ import annotations

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    ReplaceWeights,
    Scale,
    Seeds,
    TargetModel,
    load_unet_weights,
)
from dorib_reference import ReferenceParams


class Unmitigated(Mitigation[ReferenceParams]):
    """The model as it is: what memorization any mitigation starts from."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing is done, and nothing changed."""
        return PlannedFit(rules=())

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """An edit that changes nothing."""
        return Edit(None)


class Retrained(Mitigation[ReferenceParams]):
    """The oracle: the U-Net trained without the memorized samples, everything else equal."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Its weights are read."""
        return PlannedFit()

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Every parameter of the U-Net, replaced by the oracle's.

        Raises:
            DoribError: the suite has no oracle, or its weights cannot be read.
        """
        if view.oracle is None:
            raise DoribError(
                "mitigation retrain: this suite has no oracle; leave retrain out, or name a "
                "retrained U-Net folder as `oracle` in its suite.yaml"
            )
        return Edit(ReplaceWeights(load_unet_weights(view.oracle)))
