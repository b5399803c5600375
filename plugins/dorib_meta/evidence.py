"""What runs have measured of models that are known to hold the images, or not to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dorib import REPLICATES, DoribError, Entry, Record, Results, probe_quantity

HOLDING = ("none", "prompt-filter")
"""Mitigations that leave every weight as it is."""
LACKING = ("retrain",)
"""The oracle: trained without the memorized samples."""
SCORE = "score"


class Question(NamedTuple):
    """An attack by a metric, or a probe by its score."""

    kind: Literal["attack", "probe"]
    method: str
    metric: str


class Item(NamedTuple):
    """A sample under a mitigation."""

    mitigation: str
    role: str
    sample: str
    cluster: str


Values = dict[Item, float]
"""The larger, the more it looks as if the model held the sample's image."""


@dataclass(frozen=True)
class Evidence:
    """By question and budget, the most telling value of each item at that very budget."""

    values: dict[Question, dict[int, Values]] = field(default_factory=dict)

    def add(self, question: Question, budget: int, item: Item, value: float) -> None:
        """Count `value` where none of the item's is more telling."""
        there = self.values.setdefault(question, {}).setdefault(budget, {})
        there[item] = max(value, there.get(item, value))

    def within(self, question: Question) -> Iterator[tuple[int, Values]]:
        """By rising budget, the most telling value within it: an attacker keeps what worked."""
        kept: Values = {}
        for budget, values in sorted(self.values[question].items()):
            kept = {item: max(v, kept.get(item, v)) for item, v in values.items()} | {
                item: v for item, v in kept.items() if item not in values
            }
            yield budget, kept


@dataclass(frozen=True)
class Pools:
    """Labels of mitigations whose models are known to hold the images, or not to."""

    holding: tuple[str, ...]
    lacking: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Results], holds: Collection[str], lacks: Collection[str]) -> Pools:
        """Those of `runs` that are known by their names, and those that the user knows.

        Raises:
            DoribError: a label is in none of the runs, or in both pools; or none holds the images.
        """
        methods = {e.mitigation.label: e.mitigation.name for run in runs for e in run.entries}
        for label in (*holds, *lacks):
            if label not in methods:
                raise DoribError(
                    f"meta: no run has the mitigation {label}; there are {', '.join(methods)}"
                )
        pools = cls(
            tuple(x for x, name in methods.items() if name in HOLDING or x in holds),
            tuple(x for x, name in methods.items() if name in LACKING or x in lacks),
        )
        both = sorted({*pools.holding} & {*pools.lacking})
        if both:
            raise DoribError(f"meta: {', '.join(both)} cannot both hold the images and lack them")
        return pools


def gather(runs: Sequence[Results], pools: Pools) -> Evidence:
    """What `runs` have measured of the models in `pools`; of a run without records, its rates.

    Raises:
        DoribError: two runs give one image different values.
    """
    evidence = Evidence()
    seen: dict[tuple[object, ...], float] = {}
    for run in runs:
        if has_records(run):
            _read(run.records(), pools, evidence, seen)
        else:
            _read_rates(run.entries, pools, evidence)
    return evidence


def has_records(run: Results) -> bool:
    """Whether single values are there, and not rates alone."""
    return (run.folder / "records.jsonl").is_file()


def _read(
    records: Iterable[Record],
    pools: Pools,
    evidence: Evidence,
    seen: dict[tuple[object, ...], float],
) -> None:
    models = {*pools.holding, *pools.lacking}
    for record in records:
        if record.mitigation not in models or record.role == "utility" or record.value is None:
            continue
        if record.sample is None or record.cluster is None:
            continue
        question = _question(record)
        if question is None:
            continue
        item = Item(record.mitigation, record.role, record.sample, record.cluster)
        image = (question, record.budget, item, record.seed)
        if seen.setdefault(image, record.value) != record.value:
            raise DoribError(
                f"meta: {question.metric} of sample {item.sample}, seed {record.seed}, "
                f"{item.mitigation} x {question.method} at {record.budget} is both {seen[image]} "
                f"and {record.value}; name runs of one root seed"
            )
        # What is worse for a mitigation tells of an image.
        tells = -record.value if record.direction == "higher is better" else record.value
        evidence.add(question, record.budget, item, tells)


def _question(record: Record) -> Question | None:
    if record.attack is not None:
        # Of what has no better side, nothing says which of its values would tell.
        told = record.direction != "neither"
        return Question("attack", record.attack, record.metric) if told else None
    # Of a split without controls no entry names the probes: there is nothing to part there.
    label = record.judge
    if label is None or record.metric != probe_quantity(label, SCORE):
        return None
    return Question("probe", label, SCORE)


def _read_rates(entries: Iterable[Entry], pools: Pools, evidence: Evidence) -> None:
    """Samples that replicate within a budget, counted: which ones they are is not known."""
    for entry in entries:
        label = entry.mitigation.label
        if label not in (*pools.holding, *pools.lacking):
            continue
        question = Question("attack", entry.attack.label, REPLICATES)
        for point in entry.curve:
            for role, rate in (("memorized", point.memorized), ("control", point.controls)):
                for number in range(rate.n if rate else 0):
                    cluster = str(number % max(entry.samples.clusters, 1))
                    name = f"{role} {number}"
                    item = Item(label, role, name, cluster if role == "memorized" else name)
                    hit = rate is not None and number < rate.hits
                    evidence.add(question, point.budget, item, float(hit))
