"""Files pinned by their hash: fetched to their place whole and checked, or not at all.

What has come is kept beside the place as `.part-NAME`, and the next attempt, in this run or a
later one, asks for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dorib.suites.fetch.download import Answer, Downloader, DownloadError
from dorib.suites.fetch.sources import FetchFile, is_whole, sha256_of

LARGEST = 4 << 30
SECONDS = 3600.0


def fetch_file(
    file: FetchFile, place: Path, downloader: Downloader, advance: Callable[[int], None]
) -> bool:
    """Fetch `file` to `place` unless it is there; `advance` is told of bytes as they come.

    Gives whether it had to be fetched.

    Raises:
        DownloadError: it cannot be had, or what came is another file.
        OSError: the disk is full or not writable.
    """
    if is_whole(place, file.sha256):
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".part-{place.name}")
    downloader.retried(lambda: _attempt(file, part, downloader, advance))
    part.replace(place)
    return True


def _attempt(
    file: FetchFile, part: Path, downloader: Downloader, advance: Callable[[int], None]
) -> None:
    there = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={there}-"} if there else {}
    with downloader.open(file.url, SECONDS, headers) as answer:
        # Nothing is left to send where all of it is there; where nothing is, it makes no sense.
        if answer.status == 416 and not there:
            raise DownloadError("status 416")
        if answer.status != 416:
            _append(answer, part, there, advance)
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        # What came of an earlier version does not fit to the rest of a later one: from the start.
        raise DownloadError(
            f"a file of sha256 {found}, not {file.sha256}; nothing of it was kept",
            again=there > 0,
        )


def _append(answer: Answer, part: Path, there: int, advance: Callable[[int], None]) -> None:
    resumed = answer.status == 206
    if resumed and not answer.headers.get("content-range", "").startswith(f"bytes {there}-"):
        raise DownloadError("a part of the file that was not asked for")
    with part.open("ab" if resumed else "wb") as out:
        for block in answer.blocks:
            out.write(block)
            advance(len(block))
            if out.tell() > LARGEST:
                raise DownloadError(f"more than {LARGEST:,} bytes")
