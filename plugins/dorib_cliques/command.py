"""`dorib cliques`: from options to a suite folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dorib import SharedOptions, method_option, place_option, with_options


class CliquesOptions(SharedOptions, total=False):
    """The options of `dorib cliques` that were given."""

    to: Annotated[
        Path | None, place_option(help="Folder of the suite that is written; it must be new.")
    ]
    images: Annotated[
        int | None, typer.Option(help="Images drawn of each memorized prompt (default: 50).")
    ]
    smallest: Annotated[
        int | None, typer.Option(help="Images that a clique needs at least (default: 3).")
    ]
    limit: Annotated[int | None, typer.Option(help="At most so many memorized samples.")]
    metric: Annotated[
        str | None,
        method_option(help="What tells whether an image replicates another (default: sscd)."),
    ]


@with_options(CliquesOptions)
def cliques(options: CliquesOptions) -> None:
    """Make originals for a suite without any, from what its model draws repeatedly.

    Of each memorized prompt several images are drawn on the unmitigated model. The largest set of
    them that all replicate each other is the prompt's clique, and its most typical member the
    original in the suite that is written. A prompt without clique stays without an original.
    Without --split, the samples of all splits.
    """
    from dorib import checked, progress_console, reporter_for, results_console, say
    from dorib_cliques.cliques_config import CliquesConfig
    from dorib_cliques.make import make

    config = checked(CliquesConfig, options, "command line", names="options")
    with reporter_for(progress_console()) as reporter:
        made = make(config, reporter=reporter)
    say(
        results_console(),
        "",
        f"{made.found} of {made.samples} memorized samples have a clique of at least "
        f"{config.smallest} in {config.images} images, of {made.clusters} distinct pictures",
        f"suite  {made.folder}",
    )
