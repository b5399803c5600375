"""Whose pictures a suite's originals are, and whether their licences let them be published."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field

from dorib.contracts.cards import LONGEST, Line, Link
from dorib.errors import DoribError
from dorib.printable import one_line
from dorib.reading import read_jsonl
from dorib.suites.suite import Suite
from dorib.validation import StrictModel, checked

ATTRIBUTION_FILE = "attribution.jsonl"
"""Beside a suite's tables. No digest covers it: a name that is put right changes no number."""

_ANYONE = re.compile(r"CC0-1\.0|PDDL-1\.0|Unlicense|LicenseRef-PublicDomain")
"""Licences that ask for nothing."""
_NAMED = re.compile(
    r"CC-BY(-SA)?-\d\.\d|[AL]?GPL-\d\.\d-(only|or-later)|GFDL-\d\.\d-(only|or-later)"
    r"|MIT|Apache-2\.0|BSD-[23]-Clause|Artistic-2\.0|LAL-1\.[23]|ODC-By-1\.0|OFL-1\.1"
)
"""Licences that let a picture be passed on, reduced too and by whoever sells what it stands in, if
it is said whose it is."""


class Attribution(StrictModel):
    """Whose a sample's original is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    title: Line = ""
    """What its author calls it, or what it shows."""
    author: Line = ""
    licence: Line = ""
    """An SPDX identifier, or `LicenseRef-PublicDomain`."""
    source: Line = ""
    """Where the file was taken from."""
    page: Link = ""
    """Where it stands on the web: an address that begins with https."""

    @property
    def licence_text(self) -> str:
        """Where the licence can be read; empty where that is not known."""
        known = self.reason_withheld is None and not self.licence.startswith("LicenseRef-")
        return f"https://spdx.org/licenses/{self.licence}.html" if known else ""

    @property
    def reason_withheld(self) -> str | None:
        """Why the picture, and what a model draws of it, must not be published; None if it may."""
        if _ANYONE.fullmatch(self.licence):
            return None
        if not self.licence:
            return "no licence is stated"
        if not _NAMED.fullmatch(self.licence):
            return f"{self.licence} is no licence that is known to allow it"
        if not (self.author or self.source):
            return f"{self.licence} asks whose it is, which is not stated"
        return None


class _Line(Attribution):
    id: Annotated[str, Field(min_length=1)]


def attributions(suite: Suite) -> dict[str, Attribution]:
    """Whose the originals are, by sample: from `attribution.jsonl`, else from the sample table.

    Raises:
        DoribError: a line of the file is wrong, or of no sample, or a sample stands there twice.
    """
    found = {
        sample.id: Attribution(
            licence=one_line(sample.licence, LONGEST), source=one_line(sample.source, LONGEST)
        )
        for sample in suite.samples
    }
    path = suite.root / ATTRIBUTION_FILE
    if not path.exists():
        return found
    stated: dict[str, Attribution] = {}
    for number, row in read_jsonl(path):
        line = checked(_Line, row, f"{path}, row {number}")
        if line.id in stated or line.id not in found:
            raise DoribError(
                f"{path}, row {number}: id {one_line(line.id)} "
                f"{'stands twice' if line.id in stated else 'is no sample'}; take the row out"
            )
        stated[line.id] = Attribution.model_validate(line.model_dump(exclude={"id"}))
    return found | stated
