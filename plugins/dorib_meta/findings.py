"""What `dorib meta` finds, as it is written to JSON."""

from __future__ import annotations

from typing import Literal

from dorib import StrictModel

Against = Literal["oracle", "controls"]


class Parted(StrictModel):
    """How well values part what models hold from what they do not."""

    auc: float
    """The chance that an image which is held has the more telling value, ties counting half."""
    low: float
    """Of the 95 % interval, over clusters: one photograph's values under several models are one."""
    high: float
    held: int
    """Values of (sample, model) pairs that are known to be held."""
    not_held: int


class AttackTrust(StrictModel):
    """One attack by one metric within one budget."""

    attack: str
    metric: str
    budget: int
    """Search work allowed per sample; 0 where nothing is searched."""
    duplication: int | None
    """How often the held samples were drawn in training; None: all of them."""
    oracle: Parted | None
    """From the same samples on models without them; None where no such model was attacked."""
    controls: Parted | None
    """From images that no model saw, on the models that hold the others."""
    degree: float | None
    """Of two held samples that were drawn unequally often in training, the chance that the one
    drawn more often has the more telling value, ties counting half; None where no two were, and in
    the rows of single levels."""
    missing: int
    """Held pairs without a value: errors of the run."""


class ProbeTrust(StrictModel):
    """One probe."""

    probe: str
    duplication: int | None
    oracle: Parted | None
    controls: Parted | None
    degree: float | None
    missing: int


class Fall(StrictModel):
    """How an attack's AUC goes over the budgets, by one metric."""

    attack: str
    metric: str
    against: Against
    best: float
    best_budget: int
    """The smallest at which the AUC is largest."""
    falls_beyond: int | None
    """The largest budget with that AUC, where a larger one has less; None: it does not fall."""
    apart: bool
    """It falls so far that the two intervals do not meet."""


class Source(StrictModel):
    """A run that was read."""

    split: str
    model: str
    """sha256 of the unmitigated model."""
    records: bool
    """False: it was published without records, and rates are all that is known."""


class Findings(StrictModel):
    """Everything."""

    schema_version: Literal[1] = 1
    suite: str
    version: str
    suite_digest: str
    k: int
    """Evaluation images per sample and trigger: of these the most telling counts."""
    sources: tuple[Source, ...]
    holding: tuple[str, ...]
    """Labels of the mitigations whose models hold the memorized images."""
    lacking: tuple[str, ...]
    """Of those whose models do not."""
    attacks: tuple[AttackTrust, ...]
    falls: tuple[Fall, ...]
    """Over all duplication levels."""
    probes: tuple[ProbeTrust, ...]
