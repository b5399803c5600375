"""Models from the Hugging Face hub, through its own library and into its own cache."""

from __future__ import annotations

from pathlib import Path

from dorib.printable import one_line
from dorib.suites.fetch.download import DownloadError

PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Configurations, tokenizers and safetensors: pickled weights are not read, so not fetched."""

LEFT_OUT = ("*.fp16.*", "*non_ema*", "v1-*", "v2-*", "open_clip*")
"""Second copies of the same weights."""


def fetch_hub(identifier: str) -> str:
    """Fetch a model, or find it there; the hub's library resumes what was cut off.

    Gives `owner/name@commit`.

    Raises:
        DownloadError: it cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = snapshot_download(
            identifier, allow_patterns=list(PATTERNS), ignore_patterns=list(LEFT_OUT)
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise DownloadError(one_line(error)) from error
    return f"{identifier}@{Path(folder).name}"


def is_on_disk(identifier: str) -> bool:
    """Whether the hub's cache holds the model's configuration and some of its safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(identifier, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return False
    configured = any((folder / name).exists() for name in ("config.json", "model_index.json"))
    return configured and any(folder.rglob("*.safetensors"))


def commit_of(identifier: str) -> str | None:
    """The commit that the hub's cache holds, else the newest; None where neither can be had."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(identifier, local_files_only=True)).name
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    try:
        return HfApi().model_info(identifier).sha
    except (HfHubHTTPError, OSError, ValueError):
        return None
