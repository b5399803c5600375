"""The checks, in the order in which they run: what is looked at, the rule, the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.testing.conformance import source
from dorib.testing.conformance.made import (
    Bench,
    Listener,
    MethodError,
    Values,
    difference,
    without_work,
)
from dorib.testing.conformance.stand_ins import MASKS
from dorib.testing.conformance.workplace import KILLED, Workplace

ALL: frozenset[MethodKind] = frozenset({"mitigation", "attack", "metric", "rule", "probe"})
SAMPLING: frozenset[MethodKind] = ALL - {"metric"}
"""Kinds that work on the model."""

RUNS = frozenset({"works"})
REPEATS = RUNS | {"repeats"}
"""What checks presuppose that run the method, and that compare runs."""

Found = Iterator[str]
"""What was found wrong, each in words that follow the method's name."""


@dataclass(frozen=True)
class Check:
    """One look at a method."""

    name: str
    rule: str
    """The rule, as `docs/plugins.md` has it."""
    mend: str
    look: Callable[[Workplace], Found]
    kinds: frozenset[MethodKind] = ALL
    presupposes: frozenset[str] = frozenset()
    """Checks that must have found nothing for this one to tell anything: what differs from one run
    to the next differs in a batch of one, too."""


def _described(place: Workplace) -> Found:
    registration = place.registration
    if not registration.summary:
        yield "is registered without a summary"
    for name in source.undescribed(registration):
        yield f"does not describe its parameter {name}"


def _cheap(place: Workplace) -> Found:
    early = source.imported_early(place.registration)
    if early:
        yield f"imports {', '.join(early)} as soon as its package is imported"


def _public(place: Workplace) -> Found:
    yield from source.private_imports(place.registration)


def _works(place: Workplace) -> Found:
    """Everything that the host refuses or that the method raises, on the plainest suite."""
    try:
        place.base()
    except MethodError as error:
        yield f"fails: {error}"


def _repeats(place: Workplace) -> Found:
    base = place.base()
    again = place.bench("again").make()
    apart = difference(base, again, tolerance=0)
    if apart:
        yield f"gives something else when it is run again: {apart}"


def _unmoved(place: Workplace) -> Found:
    place.base()
    yield from (note for note in place.listener.notes if "global generator" in note)


def _counted(place: Workplace) -> Found:
    place.base()
    yield from (note for note in place.listener.notes if "around the target model" in note)


def _alone(place: Workplace) -> Found:
    # Whom the work was written to is told by sample indices, which the next check is about.
    bench = place.bench("alone", batch_size=1)
    yield from _apart(place.base(), bench, "a batch of one", work=False)


def _per_sample(place: Workplace) -> Found:
    masks = MethodSpec(name=MASKS)
    try:
        together = place.bench("masked", under=masks).make()
        yield from _apart(
            together, place.bench("masked alone", under=masks, batch_size=1), "a batch of one"
        )
    except MethodError as error:
        yield f"fails under a per-sample edit: {error}"


def _unguided(place: Workplace) -> Found:
    yield from _runs(place, "without guidance", suite="unguided")


def _epsilon(place: Workplace) -> Found:
    yield from _runs(place, "where the model predicts noise", suite="epsilon")


def _bfloat16(place: Workplace) -> Found:
    yield from _runs(place, "in bfloat16", dtype="bfloat16")


def _sdxl(place: Workplace) -> Found:
    yield from _runs(place, "on SDXL", suite="sdxl")


def _resumes(place: Workplace) -> Found:
    base = place.base()
    killed = place.start_killed_run().was_killed()
    resumed = place.bench(KILLED).make()
    if not killed:
        return
    apart = difference(base, resumed, tolerance=0)
    if apart:
        yield f"gives something else after a run that was killed: {apart}"


def _runs(place: Workplace, where: str, **settings: str) -> Found:
    suite = settings.pop("suite", "plain")
    try:
        # Whether it works shows on one sample and a control.
        place.bench(where, suite=suite, limit=1, **settings).make()
    except MethodError as error:
        yield f"fails {where}: {error}"
    except DoribError as error:
        # Said before any work, in one line: that is a clear refusal.
        place.refusals.append(f"refused {where}: {error}")


def _apart(together: Values, bench: Bench, how: str, *, work: bool = True) -> Found:
    try:
        made = bench.make()
        if not work:
            together, made = without_work(together), without_work(made)
        apart = difference(together, made)
    except MethodError as error:
        yield f"fails in {how}: {error}"
        return
    if apart:
        yield f"gives something else in {how}: {apart}"


CHECKS = (
    Check(
        "described",
        "Every parameter has a description, and every registration a summary.",
        "write Field(..., description=...) and register(..., summary=...)",
        _described,
    ),
    Check(
        "cheap",
        "It is cheap to import: no torch at the top of the package.",
        "import it in the module that holds the class, and register the class by its import path",
        _cheap,
    ),
    Check(
        "public",
        "It imports public names only: `from dorib import ...`. It imports no other plugin.",
        "take what you need from `dorib`, and name other methods in `builds_on`",
        _public,
    ),
    Check(
        "works",
        "What the host checks",
        "the host's message says what came, what is wanted and the mend; parameters that suit "
        "the plain suite's small model follow the name: NAME:PARAMETER=VALUE",
        _works,
    ),
    Check(
        "repeats",
        "Same plan, same machine: same bytes.",
        "draw from `seeds` alone, and put no time, path or address into what you hand over",
        _repeats,
        presupposes=RUNS,
    ),
    Check(
        "global randomness",
        "Randomness comes from the `seeds` that a method is handed",
        "use seeds.generator(...) and pass the generator on",
        _unmoved,
        presupposes=RUNS,
    ),
    Check(
        "counted",
        "Work is counted by the target model",
        "call model.predict, model.denoising_loss or model.sample in place of the U-Net",
        _counted,
        SAMPLING,
        presupposes=RUNS,
    ),
    Check(
        "batch",
        "no result depends on its batch",
        "treat each item by itself: its own generator, sums and statistics over its own axes",
        _alone,
        presupposes=REPEATS,
    ),
    Check(
        "per-sample edits",
        "hand each item's `target.index` to its calls",
        "give target.index, not the position in a batch of your own, as the sample index",
        _per_sample,
        frozenset({"attack", "probe"}),
        presupposes=REPEATS | {"batch"},
    ),
    Check(
        "guidance",
        "Nothing is hard-coded that a suite decides",
        "read model.sampling.guidance_scale; at 1 there is no unconditional half",
        _unguided,
        SAMPLING,
        presupposes=RUNS,
    ),
    Check(
        "prediction type",
        "Nothing is hard-coded that a suite decides",
        "use model.training_target, or ask model.prediction_type",
        _epsilon,
        SAMPLING,
        presupposes=RUNS,
    ),
    Check(
        "dtype",
        "Nothing is hard-coded that a suite decides",
        "work in model.dtype where the model is asked, in float32 where you add up",
        _bfloat16,
        SAMPLING,
        presupposes=RUNS,
    ),
    Check(
        "sdxl",
        "is refused on SDXL before the run",
        "treat all names of the embeddings alike, or declare `conditioning`",
        _sdxl,
        SAMPLING,
        # That pipeline predicts noise.
        presupposes=RUNS | {"prediction type"},
    ),
    Check(
        "resumes",
        "a fit that was killed finds there what it left",
        "keep nothing outside of view.scratch, and nothing in it that depends on when you stopped",
        _resumes,
        SAMPLING,
        presupposes=REPEATS,
    ),
)


@dataclass(frozen=True)
class Finding:
    """A rule that a method breaks."""

    check: Check
    said: str


@dataclass(frozen=True)
class Report:
    """What the checks found of one method."""

    passed: tuple[str, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    """Those that presuppose others, which have found something."""
    refusals: tuple[str, ...]
    work: int
    seconds: float
    """Of the plainest run, from a loaded model to its results."""


def check(place: Workplace) -> Report:
    """Look at a method; what an earlier failure leaves nothing to be told of is skipped."""
    passed, skipped, findings = [], [], []
    try:
        for one in CHECKS:
            if place.kind not in one.kinds:
                continue
            found = found_by(one, place)
            if found is None:
                skipped.append(one.name)
            elif found:
                findings += [Finding(one, said) for said in found]
            else:
                passed.append(one.name)
            if one.name == "works" and not found and place.kind in SAMPLING:
                # What the last check waits for: a process beside this one.
                place.start_killed_run()
    finally:
        place.close()
    return Report(
        tuple(passed), tuple(findings), tuple(skipped), tuple(place.refusals), *place.speed
    )


def found_by(one: Check, place: Workplace) -> list[str] | None:
    """What one check finds; None where checks that it presupposes have found something."""
    if one.presupposes & place.failed:
        return None
    found = list(one.look(place))
    if found:
        place.failed.add(one.name)
    return found


__all__ = ["CHECKS", "Check", "Finding", "Listener", "Report", "check", "found_by"]
