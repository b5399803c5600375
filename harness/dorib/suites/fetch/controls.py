"""Controls that the user hands in: checked, and copied into the cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dorib.errors import DoribError
from dorib.printable import shortened
from dorib.suites.fetch.download import DownloadError
from dorib.suites.fetch.pictures import inspect_picture
from dorib.suites.fetch.sources import CONTROLS
from dorib.suites.prompt_tables import read_controls
from dorib.suites.prompt_tables.samples import METADATA

LARGEST = 20_000_000
"""Bytes of a picture."""


def take_controls(source: Path, folder: Path) -> int:
    """Copy the controls in `source` to the data in `folder`, in place of earlier ones.

    `source` holds a metadata.jsonl (file_name, caption) and the pictures it names. Gives their
    number.

    Raises:
        DoribError: a row is wrong, or its picture is missing, outside `source` or none.
        OSError: the disk is full or not writable.
    """
    rows = read_controls(source, ".")
    new = folder / f".part-{CONTROLS}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for row in rows:
        for image in row.fields["images"]:
            path = source / image
            # realpath, unlike pathlib, passes over links that run in a circle.
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source)):
                raise DoribError(
                    f"{row.where}: {shortened(image)} leads out of the folder; mend it"
                )
            try:
                content = _content(path)
                inspect_picture(content)
            except (OSError, DownloadError) as error:
                raise DoribError(
                    f"{row.where}: {path} is no usable picture ({error}); mend it"
                ) from error
            target = new / image
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    shutil.copyfile(source / METADATA, new / METADATA)
    shutil.rmtree(folder / CONTROLS, ignore_errors=True)
    new.rename(folder / CONTROLS)
    return len(rows)


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise DownloadError("no regular file")
    if path.stat().st_size > LARGEST:
        raise DownloadError(f"more than {LARGEST:,} bytes")
    return path.read_bytes()
