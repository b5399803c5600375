"""An audit's answer in words: a line for each picture, and what the lines mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dorib.audit.findings import Evidence, Finding, Findings, Word
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.statistics import clopper_pearson

FEW_CONTROLS = 20
"""Of fewer, none coming back still leaves a share of one in six or more open."""


@dataclass(frozen=True)
class Answer:
    """What an audit has found, and beside what it is to be read."""

    model: str
    """As the user named it."""
    original: str | None
    found: Findings
    """In the audited model."""
    in_original: Findings | None
    judge: str
    """Who says what a copy is."""
    k: int
    """Images drawn of a picture under each attack and budget."""
    attacks: tuple[str, ...]
    controls_from: str | None
    """Where the controls come from; None without any."""
    failed: tuple[str, ...]
    """One reason for each method of which nothing came."""

    @property
    def lines(self) -> list[str]:
        """One for each picture, in the order of the captions."""
        return [f"{one.sample}: {self.finding(one)}" for one in self.found.pictures]

    def finding(self, found: Finding) -> str:
        """What was found of one picture, with the controls beside it."""
        text = _finding(self.found, found)
        before = self.of_original(found.sample)
        return f"{text}; in the original {before.word}" if before else text

    def of_original(self, sample: str) -> Finding | None:
        """The same in the original model."""
        every = self.in_original.pictures if self.in_original else ()
        return next((one for one in every if one.sample == sample), None)

    @property
    def totals(self) -> str:
        """How many pictures were found, and how."""
        pictures = len(self.found.pictures)
        words: dict[Word, str] = {
            "given away by its caption": "given away by their captions",
            "comes back under attack": "coming back under attack",
            "not found": "not found",
        }
        parts = [f"{self.found.count(word)} {many}" for word, many in words.items()]
        unjudged = self.found.count("not judged")
        parts += [f"{unjudged} not judged"] if unjudged else []
        return f"{pictures} pictures: {', '.join(parts)}"

    @property
    def meaning(self) -> list[str]:
        """What the answer does and does not say, and what is missing."""
        return [*_meaning(self), *_missing(self)]


def _finding(found: Findings, one: Finding) -> str:
    controls = len(found.controls)
    if one.word == "not judged":
        return f"not judged: {one.problem}"
    if one.word == "not found":
        beside = _controls(
            found.count("given away by its caption", "comes back under attack", controls=True),
            controls,
        )
        probes = ", ".join(found.probes_above_controls(one))
        hint = f", but {probes} put it above all of them" if probes else ""
        return f"not found within budget {found.budget} ({beside}{hint})"
    first = one.evidence[0]
    beside = _controls(first.controls, controls)
    if first.attack == NONE:
        return f"{one.word} ({beside})"
    return f"{one.word}, {how(first)} ({beside})"


def how(evidence: Evidence) -> str:
    """The attack, and the budget that it took."""
    within = f" within {evidence.budget}" if evidence.budget else ""
    return f"{evidence.attack}{within}"


def _controls(hits: int | None, controls: int) -> str:
    return f"controls {hits} of {controls}" if controls else "no controls"


def _meaning(answer: Answer) -> Iterator[str]:
    found = answer.found
    yield (
        "given away by its caption: whoever types the caption gets a copy, as "
        f"{answer.judge} judges, in {answer.k} images"
    )
    yield (
        "comes back under attack: its caption does not give it away, and a search that knows the "
        "picture or the weights draws a copy; it tells of the model as far as the same search "
        "does not draw controls, which the model never saw"
    )
    searches = ", ".join(attack for attack in answer.attacks if attack != NONE)
    drew = (
        f"neither its caption nor {searches} drew a copy within {found.budget} U-Net items"
        if searches
        else "its caption did not draw a copy, and nothing was searched"
    )
    yield (
        f"not found: {drew}; no proof that it is gone, or was never there: other attacks, captions "
        "or budgets may find it"
    )
    if any(found.probes_above_controls(one) for one in found.pictures if one.word == "not found"):
        controls = len(found.controls)
        yield (
            "above all of them: a probe, which sees no image, takes it for memorized before any "
            "control; a reason to search on, and no more: by chance each probe does so with one "
            f"picture in {controls + 1}"
        )
    yield (
        "a copy is one by the judge's descriptor; that a picture is not found says nothing of "
        "parts, styles, people or likenesses in it, or of whatever else the model holds"
    )


def _missing(answer: Answer) -> Iterator[str]:
    found = answer.found
    count = len(found.controls)
    if not count:
        yield (
            "missing: controls. Nothing tells what a search draws of pictures that the model "
            "never saw, so what comes back under attack proves nothing; give some by --controls"
        )
    else:
        hits = found.count("given away by its caption", "comes back under attack", controls=True)
        _, high = clopper_pearson(hits, count)
        more = "; give 20 or more by --controls" if count < FEW_CONTROLS else ""
        yield (
            f"controls: {count}, {answer.controls_from}; {hits} come back, so that up to "
            f"{high:.0%} of unseen pictures may (95 %){more}"
        )
        given = found.count("given away by its caption", controls=True)
        if given:
            yield (
                f"doubtful: {given} of the controls are given away by their captions; either the "
                "model has seen them, or the judge takes anything for a copy"
            )
    if answer.original is None:
        yield (
            "missing: an original. Whether a picture that is not found was ever in the model's "
            "reach, --original tells: the model before it was mitigated"
        )


def judge_in_words(entries: Sequence[Entry]) -> str:
    """Which metric says what a copy is, and from which likeness on."""
    for label, stack in entries[0].stack.items():
        threshold = stack.get("threshold")
        if isinstance(threshold, int | float):
            return f"{label} from a cosine of {threshold:g}"
    return "the run's metric"
