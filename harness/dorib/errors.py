"""The one error that a user's mistake raises."""

from __future__ import annotations


class DoribError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2; a library caller catches it.
    """
