"""What a suite needs and this machine lacks, found without opening a connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dorib.errors import DoribError
from dorib.suites.fetch import hub
from dorib.suites.fetch.fetched import read_manifest
from dorib.suites.fetch.sources import is_whole, stored_original, weights_place
from dorib.suites.suite import Suite


@dataclass(frozen=True)
class Absent:
    """Something that is not on this machine."""

    what: str
    """A path, or an id on the hub."""
    command: str
    """What brings it."""


def absent(suite: Suite) -> Iterator[Absent]:
    """What the suite needs and this machine lacks, without opening a connection.

    An original that a fetch has tried in vain is not among them: its sample is unscorable.
    """
    command = f"dorib fetch {suite.reference}"
    yield from _absent_data(suite, command)
    for reference in (suite.manifest.clip, suite.manifest.pipeline):
        if reference and not Path(suite.component(reference)).exists():
            bring = command if _fetches(suite, reference) else f"hf download {reference}"
            if reference == suite.manifest.pipeline and suite.manifest.fetch:
                bring = f"{command} --pipeline"
            if not hub.is_on_disk(reference):
                yield Absent(reference, bring)


def require_on_disk(suite: Suite) -> None:
    """See that everything a suite needs is on this machine.

    Raises:
        DoribError: something is not; names each and what brings it.
    """
    missing = list(absent(suite))
    if not missing:
        return
    by_command: dict[str, list[str]] = {}
    for one in missing:
        by_command.setdefault(one.command, []).append(one.what)
    raise DoribError(
        f"--offline: suite {suite.reference} lacks {len(missing)} files; "
        + "; ".join(f"run `{bring}` for {', '.join(w)}" for bring, w in by_command.items())
    )


def _fetches(suite: Suite, hub_id: str) -> bool:
    return suite.manifest.fetch is not None and hub_id in suite.manifest.fetch.hub


def _absent_data(suite: Suite, command: str) -> Iterator[Absent]:
    spec = suite.manifest.fetch
    if spec is None:
        return
    tables = [
        spec.place(file) for file in spec.files if not is_whole(spec.place(file), file.sha256)
    ]
    weights = [
        weights_place(file)
        for file in spec.weights
        if not is_whole(weights_place(file), file.sha256)
    ]
    yield from (Absent(str(path), command) for path in [*tables, *weights])
    if spec.originals and not tables:
        known = read_manifest(spec.folder)
        tried = {entry.url for entry in known.missing} if known else set()
        for sample in suite.samples:
            for url in sample.urls:
                if url not in tried and stored_original(spec.folder, url) is None:
                    yield Absent(f"original of {sample.id}: {url}", command)
    others = [name for name in spec.hub if name != suite.manifest.clip]
    yield from (Absent(name, command) for name in others if not hub.is_on_disk(name))
