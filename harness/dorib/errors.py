"""The one error that a user's mistake raises."""

from __future__ import annotations

from dorib.printable import LONGEST_LINE, one_line


class DoribError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2; a library caller catches it. It
    may quote whatever came from outside: the line is printable and shorter than a screen.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, LONGEST_LINE))
