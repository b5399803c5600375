"""Whose the pictures of the embedded suite are, beside its tables and outside its digest.

`python -m dorib_suites.tiny.attribution` writes the shipped suite's file anew from the catalogue:
weights, tables and the suite's digest, which entries name, stay what they are.
"""

from __future__ import annotations

from pathlib import Path

from dorib.reading import read_jsonl
from dorib.suites.attribution import ATTRIBUTION_FILE
from dorib_suites.tiny.photographs import FIFTH, load_photographs
from dorib_suites.tiny.prompts import write_lines

SUITE = Path(__file__).resolve().parent / "suite"
DRAWN = {"title": "a layout of shapes", "author": "dorib", "licence": "MIT"}
"""Of the template samples."""


def write_attribution(folder: Path, catalogue: Path = FIFTH) -> None:
    """Write the file for the samples in a suite's folder; templates are the recipe's own."""
    photographs = {photograph.id: photograph for photograph in load_photographs(catalogue)}
    rows = []
    for _, sample in read_jsonl(folder / "samples.jsonl"):
        own = photographs.get(sample["id"])
        fields = DRAWN | {"source": sample["source"]}
        if own is not None:
            fields = {
                "title": own.title,
                "author": own.author,
                "licence": own.licence,
                "source": own.source,
                "page": own.page,
            }
        rows.append({"id": sample["id"]} | {name: text for name, text in fields.items() if text})
    write_lines(folder / ATTRIBUTION_FILE, rows)


if __name__ == "__main__":
    write_attribution(SUITE)
