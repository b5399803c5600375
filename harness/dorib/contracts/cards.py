"""Cards: what a reader wants to know of a method before its numbers."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field

from dorib.printable import one_line
from dorib.validation import StrictModel

LONGEST = 400
"""Characters of one field."""


def _plain(text: str) -> str:
    if text != one_line(text, LONGEST) or text != text.strip():
        raise ValueError(f"must be one line of at most {LONGEST} printable characters")
    return text


Line: TypeAlias = Annotated[str, AfterValidator(_plain)]
# Whoever follows a link of a page runs what stands behind it: nothing but a web address passes.
Link: TypeAlias = Annotated[str, Field(pattern=r"^(https://[^\s\"'<>\\]+)?$", max_length=LONGEST)]


class MethodCard(StrictModel):
    """A method as a person recognises it. Brought by its plugin, and kept in entries.

    Raises:
        pydantic.ValidationError: a field is no single line, or a link no address of the web.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    title: Annotated[Line, Field(min_length=1)]
    """What people call it, 'Wanda' for instance."""
    sentence: Line = ""
    """What it does, in one sentence."""
    authors: Line = ""
    """Of the method: 'Chavhan et al.'"""
    year: Annotated[int, Field(ge=1900, le=2200)] | None = None
    """Of its publication."""
    paper: Link = ""
    """Where the paper is: an address that begins with https."""
    code: Link = ""
    """Where the authors' code is."""
    family: Line = ""
    """In a word or two, what kind of method it is: rows are filtered by it."""
    access: Line = ""
    """What whoever uses it must have, 'captions' for instance: rows are filtered by it."""


def card_for(
    card: MethodCard | None, variants: dict[str, MethodCard], params: dict[str, Any]
) -> MethodCard | None:
    """The card of a method with `params`: the first variant `name=value` that they have, or `card`.

    A value is compared as Python writes it: `True`, `0.3`, `lora`.
    """
    for variant, own in variants.items():
        name, _, value = variant.partition("=")
        if name in params and str(params[name]) == value:
            return own
    return card
