"""What a run was asked for, told from an entry that it left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.printable import shortened
from dorib.ranking.entries import Entry
from dorib.suites.manifest import Profile
from dorib.suites.suite import Suite, load_suite


def suite_of(entry: Entry, given: str | None, registry: Registry) -> Suite:
    """The suite of an entry: the one that is `given`, else the registered one of its name.

    The name is somebody else's word: a folder, which could hold a judge of his own, it never is.

    Raises:
        DoribError: there is none, or its `suite.yaml` is wrong.
    """
    if given is None and ("suite", entry.suite.name) not in registry.registrations:
        raise DoribError(
            f"suite {shortened(entry.suite.name)}: is not installed; give its folder by --suite"
        )
    return load_suite(entry.suite.name if given is None else given, registry)


def options_of(entry: Entry, suite: Suite) -> dict[str, Any]:
    """The options of a run, by name, that scores the same samples in the same way.

    Methods, device and folders are left out. Under an attack that searches nothing an entry does
    not tell the budgets of a run with options of its own; they do not matter to it.

    Raises:
        DoribError: the suite is another one, or has no profile of these samples.
    """
    if suite.digest() != entry.suite.digest:
        raise DoribError(
            f"suite {suite.name}: is not the one of the entry, {entry.suite.name} "
            f"{entry.suite.version}; give that by --suite"
        )
    settings = entry.settings
    options: dict[str, Any] = {
        "suite": suite.reference,
        "split": entry.split,
        "root_seed": settings.root_seed if settings else 0,
        "dtype": entry.environment.dtype,
        "metric": list(entry.stack),
        "probe": list(entry.probes),
    }
    if settings and settings.batch_size:
        options["batch_size"] = settings.batch_size
    if entry.profile != "custom":
        return options | {"full": entry.profile == "full"}
    budgets = [point.budget for point in entry.curve]
    for full, limit in _guesses(entry):
        profile = suite.manifest.full if full else suite.manifest.quick
        if _counts(suite, entry.split, profile, limit) == _stated(entry):
            options |= {"full": full, "seeds": entry.k}
            options |= {"limit": limit} if limit else {}
            return options | ({"budgets": budgets} if entry.searches and budgets else {})
    raise DoribError(
        f"suite {suite.name}: none of its profiles has the samples that the entry counts; "
        "write the run file by hand"
    )


def _guesses(entry: Entry) -> Iterator[tuple[bool, int | None]]:
    """Full profile or not, and a limit; an earlier dorib did not say which limit there was."""
    samples = entry.samples
    limits = [entry.settings.limit] if entry.settings else [None, samples.memorized]
    for limit in limits:
        for full in (False, True):
            yield full, limit


def _stated(entry: Entry) -> tuple[int, int]:
    of = entry.samples
    return of.memorized + of.controls + of.unscorable, of.utility_prompts


def _counts(suite: Suite, split: str, profile: Profile, limit: int | None) -> tuple[int, int]:
    roles: list[str] = [sample.role for sample in suite.split(split)]
    samples = 0
    for role, of_profile in (("memorized", profile.memorized), ("control", profile.controls)):
        asked = (roles.count(role), of_profile, limit)
        samples += min(count for count in asked if count is not None)
    return samples, len(suite.utility_prompts[: profile.utility])
