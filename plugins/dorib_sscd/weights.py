"""Weights files: where they are, and fetched where that was asked for."""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from dorib import DoribError, WeightsFile

OFFICIAL_NAME = "sscd_disc_mixup.torchscript.pt"
OFFICIAL_URL = f"https://dl.fbaipublicfiles.com/sscd-copy-detection/{OFFICIAL_NAME}"
TIMEOUT = 60
"""Seconds without a byte after which a download is given up."""


def official_path() -> Path:
    """Where the official TorchScript file is kept."""
    return Path.home() / ".cache" / "dorib" / "sscd" / OFFICIAL_NAME


def file(path: Path, sha256: str | None) -> WeightsFile:
    """A descriptor's file; `sha256` None for any."""
    return WeightsFile(
        path,
        sha256,
        "metric sscd",
        if_missing="give path=FILE",
        if_another="delete it and fetch it anew, or state sha256=... if another file is meant and "
        "you trust it",
    )


def fetch_official(path: Path, sha256: str, url: str = OFFICIAL_URL) -> None:
    """Download the official TorchScript file to `path`, whole and checked, or not at all.

    Raises:
        DoribError: the download failed, or what came is not the file that `sha256` names.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as answer,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file,
        ):
            partial = Path(file.name)
            digest = hashlib.sha256()
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            raise DoribError(
                f"metric sscd: {url} gave a file of sha256 {digest.hexdigest()}, not {sha256}; "
                "nothing was kept: try again, or fetch the file by other means"
            )
        partial.replace(path)
    except (OSError, HTTPException) as error:
        raise DoribError(
            f"metric sscd: {url} could not be fetched to {path} ({error}); {advice(path)}"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def advice(path: Path) -> str:
    """How the official file is had by hand."""
    return f"run `curl --create-dirs -o {path} {OFFICIAL_URL}`"
