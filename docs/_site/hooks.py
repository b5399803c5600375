"""What mkdocs is told beside its settings: pages made from the code, and links out of `docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from dorib.cli.authors.reference import api_page, cli_page, entry_page, methods_page

WORKER = "assets/iframe-worker-1.0.4.js"
"""What lets a page that was opened from a folder search: npm's iframe-worker 1.0.4, MIT, sha256
e8e412dbcfea9b7e31b5ffa288d7b6035915e714c542f4176a0cdbe262fc9609."""
ROOT = Path(__file__).parents[2]
ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
OUT_OF_DOCS = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)")
NOTEBOOK = re.compile(r"\[([^\]]+)\]\(([\w/]+\.ipynb)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and the README as the first page."""
    pages = {
        "reference/cli.md": cli_page(),
        "reference/methods.md": methods_page(),
        "reference/api.md": api_page(),
        "reference/entry.md": entry_page(),
        "index.md": (ROOT / "README.md").read_text().replace("](docs/", "]("),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name the files of the repository that lie outside of the documentation."""
    named = OUT_OF_DOCS.sub(r"\1 (`\2` in the repository)", markdown)
    return NOTEBOOK.sub(r"\1 (`docs/\2` in the repository)", named)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the worker from beside the pages, and from no other host."""
    depth = page.url.count("/")
    return output.replace(ELSEWHERE, "../" * depth + WORKER)
