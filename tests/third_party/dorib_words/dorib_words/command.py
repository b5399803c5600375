"""`dorib words`."""

from typing import Annotated

import typer

from dorib import SharedOptions, with_options


class WordsOptions(SharedOptions, total=False):
    """The options of `dorib words` that were given."""

    limit: Annotated[int | None, typer.Option(help="At most so many samples.")]


@with_options(WordsOptions)
def words(options: WordsOptions) -> None:
    """Count the words of the memorized samples' captions."""
    # Here, since it brings torch: so `dorib words --help` answers at once.
    from dorib import RunConfig, Session, checked

    session = Session.open(checked(RunConfig, options, "command line", names="options"))
    for subject in session.memorized:
        print(subject.id, len(subject.caption.split()))
