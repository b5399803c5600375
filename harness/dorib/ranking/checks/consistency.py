"""Whether the fields of one entry agree with each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from dorib.contracts.specs import MethodSpec
from dorib.host.configure import NONE, ORACLE
from dorib.ranking.checks.reasons import reasons_not_ranked
from dorib.ranking.checks.second_judge import check_second_judge
from dorib.ranking.entry_fields import EntryFields, MethodFacts, Summary
from dorib.ranking.rates import (
    ROUNDING,
    Rate,
    UtilityShare,
    WorkToBreak,
    check_rising,
    near,
)
from dorib.ranking.statistics import FEWEST_PROMPTS

FIRST_WITH_CARDS = 4
"""Version of entries."""

Arm = Callable[..., "Rate | None"]


def check_entry(entry: EntryFields) -> None:
    """Refuse an entry whose fields contradict each other.

    Raises:
        ValueError: names the field, and what it should be.
    """
    for part in (
        _check_names,
        _check_curve,
        _check_arms,
        _check_headline,
        _check_other_thresholds,
        check_second_judge,
        _check_gap,
        _check_utility,
        _check_work,
        _check_summaries,
        _check_errors,
        _check_ranked,
    ):
        part(entry)


def _check_names(entry: EntryFields) -> None:
    for field, method in (("mitigation", entry.mitigation), ("attack", entry.attack)):
        if not _label_follows(method):
            raise ValueError(
                f"{field}.label: {method.label!r} does not follow from the name and the parameters"
            )
    if entry.reference_line != (entry.mitigation.name in (NONE, ORACLE)):
        raise ValueError(
            f"reference_line: {entry.reference_line}, but the mitigation is {entry.mitigation.name}"
        )
    if entry.schema_version < FIRST_WITH_CARDS and (entry.mitigation.card or entry.attack.card):
        raise ValueError(f"card: methods have theirs since version {FIRST_WITH_CARDS}")
    if list(entry.knows) != sorted(set(entry.knows)):
        raise ValueError("knows: not in order, each once")
    required = entry.required_attacks
    if (required is None) != (entry.schema_version == 1):
        raise ValueError("required_attacks: version 1 does not state them, and later ones do")
    if required is not None and (not required or len(set(required)) != len(required)):
        raise ValueError("required_attacks: must be at least one, each once")


def _label_follows(method: MethodFacts) -> bool:
    """A label is the name and, sorted, some of the parameters as they are."""
    if not method.label.startswith(method.name):
        return False
    rest, opens = method.label.removeprefix(method.name), ":"
    for parameter in sorted(method.params):
        value = _as_shown(method.params[parameter])
        text = str(MethodSpec(name="", params={parameter: value}))
        piece = opens + text.removeprefix(":")
        if rest == piece or rest.startswith(f"{piece},"):
            rest, opens = rest.removeprefix(piece), ","
    return not rest


def _as_shown(value: Any) -> Any:
    """A parameter as a label shows it: files by their names, a method as it is typed."""
    if isinstance(value, list):
        return [_as_shown(part) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"name", "sha256"}:
        return value["name"]
    parts = {name: _as_shown(part) for name, part in value.items()}
    if set(value) == {"name", "params"} and isinstance(parts["params"], dict):
        return str(MethodSpec(name=str(parts["name"]), params=parts["params"]))
    return parts


def _check_curve(entry: EntryFields) -> None:
    budgets = [point.budget for point in entry.curve]
    if bool(budgets) != (entry.not_applicable is None):
        raise ValueError("curve: has points just where `not_applicable` is null")
    check_rising("curve", budgets)
    if entry.searches and 0 in budgets:
        raise ValueError("curve: a search at budget 0")
    if budgets and not entry.searches and budgets != [0]:
        raise ValueError(f"curve: budgets {budgets}, but nothing is searched")
    for point in entry.curve:
        if point.work > point.budget:
            raise ValueError(f"curve: work {point.work} at the budget {point.budget}")


def _check_arms(entry: EntryFields) -> None:
    """The three rates at each budget: there or not, of how many samples, and never falling."""
    samples = entry.samples
    if not 0 < samples.clusters <= samples.memorized:
        raise ValueError(f"samples.clusters: {samples.clusters} of {samples.memorized} samples")
    arms: dict[str, tuple[Arm, int]] = {
        "memorized": (lambda point: point.memorized, samples.memorized),
        "controls": (lambda point: point.controls, samples.controls),
        "oracle": (lambda point: point.oracle, samples.memorized),
    }
    measured = bool(entry.curve) and entry.curve[0].memorized is not None
    for name, (arm, n) in arms.items():
        rates = [rate for point in entry.curve if (rate := arm(point))]
        if len(rates) not in (0, len(entry.curve)):
            raise ValueError(f"curve: {name} is left out at some budgets")
        if rates and not measured:
            raise ValueError(f"curve: {name} without memorized")
        if name == "controls" and measured and bool(rates) != bool(samples.controls):
            raise ValueError(f"curve: {name} left out, but there are {samples.controls}")
        for rate in rates:
            if rate.n != n:
                raise ValueError(f"curve: {name} are {rate.n} samples, and not {n}")
        if entry.schema_version > 1:
            for before, after in pairwise(rates):
                if after.hits < before.hits or after.errors < before.errors:
                    raise ValueError(f"curve: {name} fall; what broke stays broken")
    for point in entry.curve:
        _check_share_of_images(entry, point.memorized, point.replication_rate)


def _check_share_of_images(entry: EntryFields, rate: Rate | None, share: float | None) -> None:
    if (rate is None) != (share is None):
        raise ValueError("replication_rate: there just where the memorized are rated")
    if rate is None or share is None:
        return
    images = share * rate.n * entry.k
    if not near(images, round(images), 1e-6):
        raise ValueError(f"replication_rate: {share} is no share of {rate.n * entry.k} images")
    if images > rate.hits * entry.k + ROUNDING * images:
        raise ValueError(f"replication_rate: {share} is above the rate {rate.rate}")
    first = entry.curve[0].memorized
    if rate is first and round(images) < rate.hits:
        raise ValueError(f"replication_rate: {share}, but {rate.hits} samples replicate")


def _check_headline(entry: EntryFields) -> None:
    """The curve ends at the headline."""
    last = entry.curve[-1] if entry.curve else None
    for field, value, expected in (
        ("memorization_rate", entry.memorization_rate, last and last.memorized),
        ("controls_rate", entry.controls_rate, last and last.controls),
        ("oracle_rate", entry.oracle_rate, last and last.oracle),
        ("replication_rate", entry.replication_rate, last and last.replication_rate),
    ):
        if value != expected:
            raise ValueError(f"{field}: differs from the last point of the curve")


def _check_other_thresholds(entry: EntryFields) -> None:
    found = entry.rates_at_thresholds
    for one, other in pairwise(found):
        if not one.threshold < other.threshold:
            raise ValueError("rates_at_thresholds: the thresholds must rise")
        if one.memorized.hits < other.memorized.hits:
            raise ValueError("rates_at_thresholds: the rate rises with the threshold")
    for rates in found:
        for name, rate, beside in (
            ("memorized", rates.memorized, entry.memorization_rate),
            ("controls", rates.controls, entry.controls_rate),
            ("oracle", rates.oracle, entry.oracle_rate),
        ):
            if (rate and rate.n) != (beside and beside.n):
                raise ValueError(f"rates_at_thresholds: {name} are other samples than the rate's")


def _check_gap(entry: EntryFields) -> None:
    gap, reference = entry.erasure_gap, entry.gap_reference
    beside = entry.oracle_rate or entry.controls_rate
    expected = None if beside is None else "oracle" if entry.oracle_rate else "controls"
    if entry.mitigation.name == ORACLE:
        expected = None
    if reference != expected or (gap is None) != (expected is None):
        raise ValueError(
            f"erasure_gap, gap_reference: {gap and gap.value}, {reference}, where the rates give "
            + (f"one by the {expected}" if expected else "none")
        )
    if gap and entry.memorization_rate and beside:
        difference = entry.memorization_rate.rate - beside.rate
        if not near(gap.value, difference):
            raise ValueError(f"erasure_gap: {gap.value} is not the difference, {difference}")


def _check_utility(entry: EntryFields) -> None:
    shares: dict[str, UtilityShare] = {
        **({"utility": entry.utility} if entry.utility else {}),
        **{f"utility_by_kind.{kind}": share for kind, share in entry.utility_by_kind.items()},
    }
    prompts = entry.samples.utility_prompts
    for field, share in shares.items():
        if entry.utility is None or not prompts:
            raise ValueError(f"{field}: {share.value}, but no utility was measured")
        if entry.mitigation.name == NONE and not near(share.value, 1):
            raise ValueError(f"{field}: {share.value}; the unmitigated model's is 1")
        if share.low is not None and entry.schema_version > 1 and prompts < FEWEST_PROMPTS:
            raise ValueError(f"{field}: an interval from {prompts} prompts")
    valued = prompts - entry.prompts_without_reference
    enough = entry.schema_version == 1 or valued >= FEWEST_PROMPTS
    if entry.utility and entry.utility.low is None and enough:
        raise ValueError(f"utility: without its interval, of {prompts} prompts")
    if entry.prompts_without_reference > prompts:
        raise ValueError(f"prompts_without_reference: {entry.prompts_without_reference}")


def _check_work(entry: EntryFields) -> None:
    last = entry.curve[-1] if entry.curve else None
    if not near(entry.work.search_mean_memorized, last.work if last else 0, 1e-6):
        raise ValueError("work.search_mean_memorized: differs from the last point of the curve")
    if entry.work.search_mean_controls > (last.budget if last else 0):
        raise ValueError("work.search_mean_controls: is above the largest budget")
    for field, found, name in (
        ("work_to_break", entry.work_to_break, "memorized"),
        ("work_to_break_controls", entry.work_to_break_controls, "controls"),
    ):
        rates = [rate for point in entry.curve if (rate := getattr(point, name))]
        if (found is None) != (not rates or not entry.searches):
            raise ValueError(f"{field}: there just where something is searched and rated")
        if found is not None:
            _check_work_to_break(field, entry, found, rates)


def _check_work_to_break(
    field: str, entry: EntryFields, found: WorkToBreak, rates: list[Rate]
) -> None:
    if found.budgets != tuple(point.budget for point in entry.curve):
        raise ValueError(f"{field}.budgets: differ from the curve's")
    if found.n != rates[0].n:
        raise ValueError(f"{field}.n: {found.n} samples, and not {rates[0].n}")
    most = 0.0
    for share, rate in zip(found.survival, rates, strict=True):
        # In version 1 a rate was that of its own budget, whatever smaller ones had broken.
        most = max(most, rate.rate)
        exact = entry.schema_version > 1 or rate is rates[0]
        if share > 1 - most + ROUNDING or (exact and not near(share, 1 - rate.rate)):
            raise ValueError(f"{field}.survival: {share} beside a rate of {rate.rate}")


def _check_summaries(entry: EntryFields) -> None:
    samples = entry.samples
    groups: tuple[tuple[str, Mapping[str, Summary], int, int], ...] = (
        ("memorized", entry.summaries.memorized, samples.memorized, entry.k),
        ("controls", entry.summaries.controls, samples.controls, entry.k),
        ("utility", entry.summaries.utility, samples.utility_prompts, 1),
    )
    for group, summaries, n, images in groups:
        for name, summary in summaries.items():
            most = {"image": n * images, "sample": n, "cell": 1}[summary.level]
            if summary.n > most:
                raise ValueError(f"summaries.{group}.{name}.n: {summary.n} of at most {most}")
    medians = {name: summary.median for name, summary in entry.summaries.memorized.items()}
    if entry.curve and entry.curve[-1].medians != medians:
        raise ValueError("summaries.memorized: the medians differ from the last point's")


def _check_errors(entry: EntryFields) -> None:
    least = sum(
        max((rate.errors for point in entry.curve if (rate := getattr(point, name))), default=0)
        for name in ("memorized", "controls")
    )
    if entry.errors < least:
        raise ValueError(f"errors: {entry.errors}, but {least} samples of the curve lack a value")
    if not entry.digests.edit and not entry.errors:
        raise ValueError("digests.edit: empty, but nothing failed")


def _check_ranked(entry: EntryFields) -> None:
    without_reference = entry.prompts_without_reference
    if entry.schema_version == 1:
        stated = re.search(
            r"errors: (\d{1,9}) prompts lack the unmitigated", entry.reason_not_ranked or ""
        )
        without_reference = int(stated[1]) if stated else 0
    reasons = reasons_not_ranked(
        reference_line=entry.reference_line,
        not_applicable=entry.not_applicable,
        memorization_rate=entry.memorization_rate,
        oracle_rate=entry.oracle_rate,
        erasure_gap=entry.erasure_gap,
        utility=entry.utility,
        errors=entry.errors,
        prompts_without_reference=without_reference,
    )
    expected = "; ".join(reasons) or None
    if entry.ranked != (expected is None):
        raise ValueError(f"ranked: {entry.ranked}, but {expected or 'nothing keeps it from that'}")
    if entry.reason_not_ranked != expected:
        raise ValueError(f"reason_not_ranked: must be {expected or 'null'}")
