"""What was found of each picture in one model: pure functions of a run's records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dorib.contracts.methods import REPLICATES
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.probes import SCORE, probe_quantity
from dorib.ranking.records import Record

Word: TypeAlias = Literal[
    "given away by its caption", "comes back under attack", "not found", "not judged"
]
WORDS: tuple[Word, ...] = (
    "given away by its caption",
    "comes back under attack",
    "not found",
    "not judged",
)


FEWEST_TO_HINT = 4
"""Controls: above all of fewer stands one picture in four and more by chance."""


@dataclass(frozen=True)
class Evidence:
    """An attack that brought a picture back, or its own caption."""

    attack: str
    """Label; `none` is the caption itself."""
    budget: int
    """The smallest at which one of the k images is a copy; of the caption 0."""
    controls: int | None
    """How many controls the same attack brings back within that budget; None without any."""


@dataclass(frozen=True)
class ProbeScore:
    """What a probe, which sees no image, makes of a picture's caption."""

    probe: str
    score: float
    controls_below: int
    """How many controls look less memorized."""


@dataclass(frozen=True)
class Finding:
    """What was found of one picture."""

    sample: str
    word: Word
    evidence: tuple[Evidence, ...]
    """The most telling first: of which fewest controls come back, then at the smallest budget."""
    problem: str | None
    """Why some of its images could not be judged."""
    probes: tuple[ProbeScore, ...]


@dataclass(frozen=True)
class Findings:
    """What was found in one model."""

    label: str
    """The mitigation's, `none` for a model as it stands."""
    budget: int
    """The largest of any search."""
    pictures: tuple[Finding, ...]
    controls: tuple[Finding, ...]

    def count(self, *words: Word, controls: bool = False) -> int:
        """How many pictures, or controls, have one of these words."""
        return sum(found.word in words for found in (self.controls if controls else self.pictures))

    def probes_above_controls(self, found: Finding) -> tuple[str, ...]:
        """Labels of those that take it for memorized before any control; of too few none says."""
        controls = len(self.controls)
        if controls < FEWEST_TO_HINT:
            return ()
        return tuple(probe.probe for probe in found.probes if probe.controls_below == controls)

    @property
    def probes(self) -> tuple[str, ...]:
        """Labels of those that have scored a picture."""
        return tuple(dict.fromkeys(p.probe for one in self.pictures for p in one.probes))


class _Seen:
    """A model's records by attack and sample."""

    def __init__(self, label: str, records: Iterable[Record]) -> None:
        self.values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.errors: dict[str | None, str] = {}
        self.scores: dict[str, dict[str, float]] = defaultdict(dict)
        self.roles: dict[str, dict[str, None]] = {"memorized": {}, "control": {}}
        for record in records:
            if record.mitigation != label or record.role not in self.roles:
                continue
            if record.sample is not None:
                self.roles[record.role].setdefault(record.sample)
            if record.error is not None:
                self.errors.setdefault(record.sample, record.error)
            elif record.value is None or record.sample is None:
                continue
            elif record.attack is None:
                self.scores[record.metric][record.sample] = record.value
            elif record.metric == REPLICATES:
                place = self.values[record.attack, record.sample]
                place[record.budget].append(record.value)

    def broken_at(self, attack: str, sample: str) -> int | None:
        """The smallest budget at which a copy comes; None where none does."""
        found = self.values.get((attack, sample), {})
        return min((budget for budget, values in found.items() if any(values)), default=None)

    def lacks(self, cells: Sequence[Entry], sample: str) -> bool:
        """Whether a value is missing that was asked for."""
        return any(
            len(self.values.get((cell.attack.label, sample), {}).get(point.budget, ())) < cell.k
            for cell in cells
            for point in cell.curve
        )


def findings(label: str, cells: Sequence[Entry], records: Iterable[Record]) -> Findings:
    """What a run's records say of each picture in one model.

    A picture is *given away by its caption* where one of the k images drawn of it is a copy, and
    else *comes back under attack* where one is that any attack leads to. It is *not found* where
    all were judged and none is, and else *not judged*.

    Args:
        label: the mitigation's label.
        cells: the entries of that mitigation.
        records: of the run; those of other mitigations are passed over.
    """
    seen = _Seen(label, records)
    # What cannot be run at all tells nothing of a picture.
    ran = [cell for cell in cells if cell.not_applicable is None]
    probes = {probe for cell in cells for probe in cell.probes} | {
        metric.removesuffix(f" {SCORE}") for metric in seen.scores if metric.endswith(f" {SCORE}")
    }

    def of(role: str) -> Iterator[Finding]:
        for sample in seen.roles[role]:
            evidence = tuple(sorted(_evidence(seen, ran, sample), key=_telling))
            problem = None
            if seen.lacks(ran, sample):
                problem = seen.errors.get(sample) or seen.errors.get(None) or "a value is missing"
            scores = tuple(_probe_scores(seen, sorted(probes), sample))
            yield Finding(sample, _word(evidence, problem), evidence, problem, scores)

    budget = max((point.budget for cell in ran for point in cell.curve), default=0)
    return Findings(label, budget, tuple(of("memorized")), tuple(of("control")))


def _evidence(seen: _Seen, cells: Sequence[Entry], sample: str) -> Iterator[Evidence]:
    controls = [other for other in seen.roles["control"] if other != sample]
    for cell in cells:
        attack = cell.attack.label
        budget = seen.broken_at(attack, sample)
        if budget is not None:
            at = (seen.broken_at(attack, control) for control in controls)
            hits = sum(found is not None and found <= budget for found in at)
            yield Evidence(attack, budget, hits if controls else None)


def _telling(evidence: Evidence) -> tuple[bool, int, int]:
    return evidence.attack != NONE, evidence.controls or 0, evidence.budget


def _word(evidence: Sequence[Evidence], problem: str | None) -> Word:
    if not evidence:
        return "not judged" if problem else "not found"
    own_caption = any(one.attack == NONE for one in evidence)
    return "given away by its caption" if own_caption else "comes back under attack"


def _probe_scores(seen: _Seen, probes: Iterable[str], sample: str) -> Iterator[ProbeScore]:
    for probe in probes:
        scores = seen.scores.get(probe_quantity(probe, SCORE), {})
        if sample in scores:
            others = [scores[c] for c in seen.roles["control"] if c in scores and c != sample]
            yield ProbeScore(probe, scores[sample], sum(o < scores[sample] for o in others))
