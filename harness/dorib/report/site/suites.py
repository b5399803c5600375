"""A leaderboard held against the suite that it names, where that suite is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard
from dorib.suites.suite import Suite


def check_against_suite(
    path: Path, board: Leaderboard, entries: Sequence[Entry], registry: Registry
) -> None:
    """Refuse a leaderboard that is not of the suite whose digest it bears.

    A suite that is not installed here, or of a digest that its folder does not know, tells nothing.

    Raises:
        DoribError: names the field, and what the suite has.
    """
    suite = installed_suite(board, registry)
    problem = next(_problems(suite, board, entries[0], entries), None) if suite else None
    if problem:
        raise DoribError(f"{path}: {problem} of suite {board.suite.name}; restore it, or run again")


def installed_suite(board: Leaderboard, registry: Registry) -> Suite | None:
    """The registered suite that a leaderboard is of, or the earlier version of it, of which its
    folder keeps the tables alone (`earlier/DIGEST`); None where neither is here."""
    registered = {suite.name: suite for suite in registry.of_kind("suite")}
    if board.suite.name not in registered:
        return None
    try:
        suite = Suite.load(Path(registered[board.suite.name].target), board.suite.name)
        if suite.digest() == board.suite.digest:
            return suite
    except DoribError:
        # Its tables have not been fetched to this machine.
        return None
    # Names that are there are looked through: none from a leaderboard becomes a path.
    kept = {folder.name: folder for folder in suite.root.glob("earlier/*")}
    earlier = kept.get(board.suite.digest)
    return Suite.load(earlier, board.suite.name) if earlier else None


def _problems(
    suite: Suite, board: Leaderboard, first: Entry, entries: Sequence[Entry]
) -> Iterator[str]:
    manifest, samples = suite.manifest, first.samples
    if board.suite.version != manifest.version:
        yield f"suite.version {board.suite.version} is not {manifest.version}, that"
    if manifest.required_attacks and board.required_attacks != manifest.required_attacks:
        required = ", ".join(manifest.required_attacks)
        yield f"required_attacks are not {required}, those"
    try:
        in_split = suite.split(board.split)
    except DoribError:
        yield f"split {board.split!r} is none"
        return
    roles = [sample.role for sample in in_split]
    memorized, controls = roles.count("memorized"), roles.count("control")
    prompts = len(suite.utility_prompts)
    if samples.memorized > memorized or samples.controls > controls:
        yield (
            f"samples are {samples.memorized} memorized and {samples.controls} controls, more than "
            f"the {memorized} and {controls}"
        )
    if samples.utility_prompts > prompts:
        yield f"samples.utility_prompts are {samples.utility_prompts}, more than the {prompts}"
    judged_twice = suite.second_descriptor is not None
    for entry in entries:
        if entry.memorization_rate and (entry.second_judge is not None) != judged_twice:
            yield (
                "second_judge is left out, which is that"
                if judged_twice
                else "second_judge is stated, which is none"
            )
    if board.profile == "custom":
        return
    profile = manifest.quick if board.profile == "quick" else manifest.full
    chosen = _at_most(profile.memorized, memorized) + _at_most(profile.controls, controls)
    stated = samples.memorized + samples.controls + samples.unscorable
    if stated != chosen:
        yield f"samples are {stated}, but {chosen} in the profile {board.profile}"
    if board.k != profile.seeds:
        yield f"k is {board.k}, but {profile.seeds} in the profile {board.profile}"
    for entry in entries:
        budgets = tuple(point.budget for point in entry.curve)
        if entry.searches and budgets and budgets != profile.budgets:
            yield f"the budgets are {budgets}, but {profile.budgets} in the profile {board.profile}"


def _at_most(limit: int | None, number: int) -> int:
    return number if limit is None else min(limit, number)
