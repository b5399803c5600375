"""The suite that a board is of, for what its exports say of originals."""

from __future__ import annotations

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.report.opened import Results
from dorib.report.site.suites import installed_suite
from dorib.suites.suite import Suite, load_suite


def suite_of(results: Results, given: str | None, registry: Registry) -> Suite | None:
    """The one that is named, or the registered one; None where that is not here.

    Raises:
        DoribError: the one that is named is not the board's.
    """
    if given is None:
        return installed_suite(results.leaderboard, registry)
    suite = load_suite(given, registry)
    if suite.digest() != results.leaderboard.suite.digest:
        raise DoribError(f"suite {given}: is not the one of {results.folder}; give that by --suite")
    return suite
