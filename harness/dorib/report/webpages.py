"""Web pages from templates; whatever is put into one is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dorib.errors import DoribError

if TYPE_CHECKING:
    from jinja2 import Environment


def require_jinja(command: str) -> None:
    """See that `command` can write its pages, before any work.

    Raises:
        DoribError: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise DoribError(
            f'{command}: jinja2 is missing, which writes the pages; pip install "dorib[figures]"'
        ) from error


def template_environment(package: str) -> Environment:
    """The templates in a package's folder `templates`, and `style.css` for all of them."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dorib.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
