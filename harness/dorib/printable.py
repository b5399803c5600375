"""Text from outside as it may be shown: escapes are seen, not obeyed; its length is bounded."""

from __future__ import annotations

import re
import unicodedata
from reprlib import Repr
from typing import Any

UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories that move the cursor, turn the direction of writing, mean nothing or cannot be
encoded."""

JOINERS = "\u200c\u200d"
"""Of category Cf, and part of how Persian and emoji are written: harmless."""

LONGEST_LINE = 1000
"""Characters of a message: about half a screen of 24 lines of 80."""


LONGEST_QUOTE = 300
"""Characters that are quoted of another library's error: some write pages."""


def printable(text: str, keep: str = "") -> str:
    """`text` with control, bidirectional and unencodable characters written as escapes.

    `keep` holds characters that stay as they are, for example line feeds.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(letter)
        if unicodedata.category(letter) in UNSEEN and letter not in JOINERS + keep
        else letter
        for letter in text
    )


def one_line(text: object, longest: int = LONGEST_QUOTE) -> str:
    """A text or an error in one printable line; the middle of what is too long is left out."""
    line = printable(re.sub(r"[ \t\r\n]+", " ", str(text)).strip())
    if len(line) <= longest:
        return line
    # The remedy stands at the end of a message, so most of it is kept.
    end = longest // 3
    return f"{line[: longest - end - 5]} ... {line[len(line) - end :]}"


def shortened(value: Any, longest: int = 80) -> str:
    """What a message quotes of a value from outside: its `repr`, at most about `longest` long."""
    quoting = Repr()
    quoting.maxstring = quoting.maxother = quoting.maxlong = longest
    quoting.maxlevel = 3
    return one_line(quoting.repr(value), 2 * longest)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
