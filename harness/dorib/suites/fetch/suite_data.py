"""One fetch from end to end: everything that a suite needs, and a report of what is missing."""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from dorib.errors import DoribError
from dorib.suites.fetch import hub
from dorib.suites.fetch.controls import take_controls
from dorib.suites.fetch.download import Downloader, DownloadError
from dorib.suites.fetch.fetched import (
    FetchManifest,
    FileEntry,
    MissingEntry,
    OriginalEntry,
    read_manifest,
    write_manifest,
)
from dorib.suites.fetch.files import fetch_file
from dorib.suites.fetch.originals import fetch_originals, samples_by_url
from dorib.suites.fetch.sources import (
    CONTROLS,
    FetchFile,
    FetchSpec,
    cache_root,
    is_whole,
    sha256_of,
    weights_place,
)
from dorib.suites.suite import Suite

WORKERS = 8

Entry = TypeVar("Entry", OriginalEntry, MissingEntry)


class Advance(Protocol):
    """Told of each step of something; `note` is what a reader should know of it."""

    def __call__(self, amount: int = 1, note: str | None = None) -> None:
        """`amount` more is done."""


class Watcher(Protocol):
    """Told what a fetch is doing."""

    def step(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        """Something starts: `total` pieces, or None where that is not known."""


@dataclass
class Fetched:
    """What a fetch has left."""

    manifest: FetchManifest
    path: Path
    """Of the manifest."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Weights that could not be had, each with the reason."""


def sources_of(suite: Suite) -> FetchSpec:
    """What the suite says is to be fetched.

    Raises:
        DoribError: it says nothing.
    """
    if suite.manifest.fetch is None:
        raise DoribError(
            f"suite {suite.name}: nothing to fetch: everything lies in its folder; "
            "see the documentation of suites on the entry `fetch`"
        )
    return suite.manifest.fetch


def fetch_suite(
    suite: Suite,
    watcher: Watcher,
    *,
    downloader: Downloader | None = None,
    workers: int = WORKERS,
    controls: Path | None = None,
    pipeline: bool = False,
) -> Fetched:
    """Fetch what is missing: tables, originals, weights; take the controls in.

    Originals that cannot be had are listed in the manifest; their samples become unscorable.
    Weights that cannot be had are reported, and the rest goes on.

    Raises:
        DoribError: a table cannot be had or is wrong, another fetch is at work, or the disk is
            full or not writable.
    """
    spec = sources_of(suite)
    downloader = downloader or Downloader()
    try:
        spec.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_root() / ".fetch.lock", timeout=0):
            return _fetch(suite, spec, watcher, downloader, workers, controls, pipeline)
    except Timeout as error:
        raise DoribError(
            f"{cache_root()}: another dorib fetch is at work there; wait for it to end"
        ) from error
    except OSError as error:
        raise DoribError(
            f"{cache_root()}: cannot be written ({error.strerror or error}); free some space"
        ) from error


def _fetch(
    suite: Suite,
    spec: FetchSpec,
    watcher: Watcher,
    downloader: Downloader,
    workers: int,
    controls: Path | None,
    pipeline: bool,
) -> Fetched:
    known = read_manifest(spec.folder)
    for file in spec.files:
        try:
            _fetch_file(file, spec.place(file), watcher, downloader)
        except DownloadError as error:
            raise DoribError(
                f"{file.url} could not be fetched ({error}); run `dorib fetch {suite.reference}` "
                f"again, or put the file of sha256 {file.sha256} at {spec.place(file)}"
            ) from error
    if controls is not None:
        take_controls(controls, spec.folder)
    wanted = samples_by_url((s.id, s.urls) for s in suite.samples) if spec.originals else {}
    with watcher.step("originals", len(wanted)) as advance:
        originals, missing = fetch_originals(
            wanted, spec.folder, known, downloader, workers, lambda note: advance(1, note)
        )
    # Written before the weights, which are large: what is known of the originals is kept.
    manifest = FetchManifest(
        name=spec.name,
        files=(*_entries(spec), *_control_entries(spec)),
        originals=(*originals, *_of_others(known.originals if known else (), wanted)),
        missing=(*missing, *_of_others(known.missing if known else (), wanted)),
        hub=known.hub if known else (),
    )
    path = write_manifest(spec.folder, manifest)
    failed = []
    for file in spec.weights:
        try:
            _fetch_file(file, weights_place(file), watcher, downloader)
        except DownloadError as error:
            failed.append((file.url, str(error)))
    commits = {entry.partition("@")[0]: entry for entry in manifest.hub}
    names = [*spec.hub, *([suite.manifest.pipeline] if pipeline else [])]
    for name in names:
        with watcher.step(name, None):
            try:
                commits[name] = hub.fetch_hub(name)
            except DownloadError as error:
                failed.append((name, str(error)))
    manifest = manifest.model_copy(
        update={
            "files": (*manifest.files, *_weight_entries(spec)),
            "hub": tuple(commits[name] for name in sorted(commits)),
        }
    )
    write_manifest(spec.folder, manifest)
    return Fetched(manifest, path, failed)


def _fetch_file(file: FetchFile, place: Path, watcher: Watcher, downloader: Downloader) -> None:
    with watcher.step(place.name, None) as advance:
        fetch_file(file, place, downloader, advance)


def _of_others(entries: Iterable[Entry], wanted: Container[str]) -> list[Entry]:
    """What another suite that shares the data has fetched."""
    return [entry for entry in entries if entry.url not in wanted]


def _entries(spec: FetchSpec) -> list[FileEntry]:
    root = cache_root()
    return [
        FileEntry(path=str(spec.place(f).relative_to(root)), sha256=f.sha256, url=f.url)
        for f in spec.files
    ]


def _weight_entries(spec: FetchSpec) -> list[FileEntry]:
    return [
        FileEntry(path=f.path, sha256=f.sha256, url=f.url)
        for f in spec.weights
        if is_whole(weights_place(f), f.sha256)
    ]


def _control_entries(spec: FetchSpec) -> list[FileEntry]:
    folder = spec.folder / CONTROLS
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    root = cache_root()
    return [FileEntry(path=str(p.relative_to(root)), sha256=sha256_of(p)) for p in files]
