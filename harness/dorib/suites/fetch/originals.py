"""Original images from the addresses in a sample table, several at a time."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from PIL import Image

from dorib.suites.fetch.download import Downloader, DownloadError
from dorib.suites.fetch.fetched import FetchManifest, MissingEntry, OriginalEntry
from dorib.suites.fetch.pictures import Picture, inspect_picture
from dorib.suites.fetch.sources import ORIGINALS, original_key, sha256_of, stored_original

Samples = Mapping[str, Sequence[str]]
"""By address: the ids of the samples it is an original of."""


def samples_by_url(samples: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """From (sample id, addresses) to the samples of each address; each address once."""
    found: dict[str, list[str]] = {}
    for sample, urls in samples:
        for url in urls:
            found.setdefault(url, []).append(sample)
    return found


def fetch_originals(
    wanted: Samples,
    folder: Path,
    known: FetchManifest | None,
    downloader: Downloader,
    workers: int,
    advance: Callable[[str | None], None],
) -> tuple[list[OriginalEntry], list[MissingEntry]]:
    """Fetch what is not there yet; what is there is checked against `known`, if it names it.

    `advance` is told of each address that is done, with the reason where there is no image.
    What could not be had in an earlier run is tried again. `workers` is the number of downloads
    at a time. The entries are in the order of `wanted`.

    Raises:
        OSError: the disk is full or not writable.
    """
    place = folder / ORIGINALS
    place.mkdir(parents=True, exist_ok=True)
    for left_over in place.glob(".part-*"):
        left_over.unlink()
    hashes = {entry.path: entry.sha256 for entry in known.originals} if known else {}
    done: dict[str, OriginalEntry | MissingEntry] = {}

    def one(url: str) -> OriginalEntry | MissingEntry:
        samples = tuple(wanted[url])
        path = stored_original(folder, url)
        picture = None if path is None else _still_whole(path, hashes.get(_name(path)))
        if picture is None:
            try:
                path, picture = _fetch(url, place, downloader)
            except DownloadError as error:
                return MissingEntry(url=url, samples=samples, reason=str(error))
        assert path is not None
        return OriginalEntry(
            url=url,
            path=_name(path),
            sha256=picture.sha256,
            width=picture.width,
            height=picture.height,
            samples=samples,
        )

    with warnings.catch_warnings():
        # Sizes are judged in `inspect_picture`, before a pixel is unpacked.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(workers) as pool:
            running = {pool.submit(one, url): url for url in wanted}
            try:
                for future in as_completed(running):
                    entry = future.result()
                    done[running[future]] = entry
                    advance(entry.reason if isinstance(entry, MissingEntry) else None)
            except BaseException:
                downloader.stop()
                pool.shutdown(cancel_futures=True)
                raise
    entries = [done[url] for url in wanted]
    return (
        [entry for entry in entries if isinstance(entry, OriginalEntry)],
        [entry for entry in entries if isinstance(entry, MissingEntry)],
    )


def _fetch(url: str, place: Path, downloader: Downloader) -> tuple[Path, Picture]:
    def attempt() -> tuple[bytes, Picture]:
        content = downloader.read(url)
        return content, inspect_picture(content)

    content, picture = downloader.retried(attempt)
    path = place / f"{original_key(url)}{picture.suffix}"
    write_whole(path, content)
    return path, picture


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, and give it its own when it is whole."""
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _still_whole(path: Path, sha256: str | None) -> Picture | None:
    """What is there, unless it is not what was fetched: then it is removed, to be fetched anew."""
    try:
        if sha256 in (None, sha256_of(path)):
            return inspect_picture(path.read_bytes())
    except DownloadError:
        # Damaged on the disk.
        pass
    path.unlink()
    return None


def _name(path: Path) -> str:
    return f"{ORIGINALS}/{path.name}"
