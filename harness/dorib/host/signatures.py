"""Whether a plugin's methods can be called as the contract calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from dorib.contracts.methods import Method


def flaw_of_signatures(loaded: type[Method[Any]], base: type[Method[Any]]) -> str | None:
    """What is wrong with the first method of `loaded` that cannot be called as that of `base`.

    Returns:
        Words that follow the class's name; None where all can be.
    """
    for name, declared in vars(base).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        own = getattr(loaded, name)
        if own is declared:
            continue
        if not callable(own):
            return f"has a `{name}` that is no method: write `def {name}(...)`"
        wanted = list(inspect.signature(declared).parameters)
        bound = isinstance(inspect.getattr_static(loaded, name), staticmethod | classmethod)
        if not _takes(own, len(wanted) - bound):
            asked = ", ".join(wanted)
            return f"has a `{name}` that cannot be called with its arguments: take ({asked})"
    return None


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Of some that are written in C nobody can tell.
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
