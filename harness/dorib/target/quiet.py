"""What diffusers and transformers say: nothing while all is well, one line where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dorib.errors import DoribError


@contextmanager
def loading(what: str, advice: str = "restore its files, or give another model") -> Iterator[None]:
    """Around the libraries' own loading, whose errors become one line.

    Raises:
        DoribError: anything went wrong.
    """
    try:
        with quiet():
            yield
    except DoribError:
        raise
    except Exception as error:
        # The errors of these libraries, and of those that they load, share no narrower class.
        raise DoribError(
            f"{what}: cannot be loaded ({type(error).__name__}: {one_line(error)}); {advice}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from printing: only the command line prints.

    What matters of it (files that are missing or cannot be read) is raised as well.
    """
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)


def one_line(error: BaseException) -> str:
    """An error's text, short enough for one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
