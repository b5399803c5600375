"""`dorib verify`: rows replayed from their witnesses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dorib.cli.options import PLUGIN, place_option, quiet_libraries
from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.replay.verifying import CellVerified, Verified
    from dorib.report.site.boards import Board

NOT_SO = 1
"""Exit code where something that is published is not so, or cannot be seen to be."""
TOLERANCE = typer.Option(
    help="By which numbers may differ (default: 0.02 where the entry was made on another machine "
    "or with other versions, else 0)."
)


def verify(
    published: Annotated[
        Path, typer.Argument(help="A leaderboard's folder, or one of the files in its entries/.")
    ],
    suite: Annotated[
        str | None, typer.Option(help="The suite, where it is none of the registered ones.")
    ] = None,
    large: Annotated[
        Path | None,
        typer.Option(
            help="A folder with witnesses that are too large to be published, beside those in "
            "large-witnesses of the leaderboard."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="For example cuda:0.")] = "auto",
    tolerance: Annotated[float | None, TOLERANCE] = None,
    out: Annotated[
        Path | None,
        place_option(help="Keep what is replayed here: stopped, it goes on (default: not kept)."),
    ] = None,
    draw: Annotated[
        int | None,
        typer.Option(
            help="Replay that many memorized samples and controls alone, drawn by lot, and that "
            "share of the utility prompts; other batches may round, by 0.001."
        ),
    ] = None,
    lot: Annotated[
        int | None, typer.Option(help="The lot's seed (default: a new one, which is told).")
    ] = None,
    required: Annotated[
        bool, typer.Option("--required", help="Leave out attacks that rows are not ranked by.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Share the work among so many processes here."),
    ] = 1,
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Name every sample and prompt, and not only those not so."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Mark the leaderboard's rows as verified or failed, in this name."),
    ] = None,
    plugin: Annotated[list[Path] | None, PLUGIN] = None,
) -> None:
    """Replay rows from their witnesses: same, within tolerance, not here or not so, by sample."""
    quiet_libraries()
    from dorib.cli import progress, terminal
    from dorib.host.registry import discover
    from dorib.replay import verifying
    from dorib.replay.lot import Lot
    from dorib.report.site.boards import read_board

    check_tolerance(tolerance)
    if lot is not None and draw is None:
        raise DoribError("--lot: draws nothing by itself; give --draw as well")
    if draw is not None and by is not None:
        raise DoribError("--by: a mark says that all of a row was replayed; leave out --draw")
    registry = discover(files=plugin or ())
    # Before the long part: whether there are rows to mark.
    board = None if by is None else read_board(_folder_to_mark(published, by), registry)
    with progress.reporter_for(terminal.progress_console()) as reporter:
        found = verifying.verify(
            published,
            registry,
            reporter,
            suite=suite,
            large=large,
            device=device,
            tolerance=tolerance,
            out=out,
            lot=None if draw is None else Lot.of(draw, lot),
            required_only=required,
            workers=workers,
            plugins=plugin or (),
        )
    if json:
        terminal.show_json(verifying.as_json(found))
    else:
        lines = [line for cell in found.cells for line in _lines(cell, every_sample=samples)]
        terminal.say(terminal.results_console(), *lines, "", _last(found))
    if board is not None and by is not None:
        _mark(board, found, by)
    if not found.outcome.holds:
        raise typer.Exit(NOT_SO)


def check_tolerance(tolerance: float | None) -> None:
    """Refuse what is none.

    Raises:
        DoribError: it is not from 0 to below 1.
    """
    if tolerance is not None and not 0 <= tolerance < 1:
        raise DoribError(f"--tolerance {tolerance}: give a number from 0 to below 1")


def _folder_to_mark(published: Path, by: str) -> Path:
    from dorib.report.site.marks import Mark
    from dorib.validation import checked

    if not by.strip():
        raise DoribError("--by: give the name of whoever verifies")
    checked(Mark, {"state": "unverified", "by": by}, "--by")
    if not published.is_dir():
        raise DoribError(f"--by: a mark is a row's; give the leaderboard's folder, not {published}")
    return published


def _mark(board: Board, found: Verified, by: str) -> None:
    from dorib.cli import terminal
    from dorib.replay.marking import marks_of
    from dorib.report.site.marks import MARKS_FILE, write_marks
    from dorib.store.files import named_write_errors

    # What cannot be seen here may have been seen by others, whose mark stays.
    marks = {
        label: mark
        for label, mark in marks_of(board, found, by).items()
        if mark.state != "unverified"
    }
    with named_write_errors(board.folder, "the leaderboard"):
        write_marks(board.folder, marks)
    said = f"{board.folder / MARKS_FILE}: {len(marks)} rows marked; `dorib site` shows them"
    terminal.say(terminal.progress_console(), said)


def _lines(cell: CellVerified, *, every_sample: bool) -> Iterator[str]:
    label = f"{cell.mitigation} x {cell.attack}"
    first = f": {cell.reasons[0]}" if cell.reasons else ""
    more = f" (and {len(cell.reasons) - 1} more)" if len(cell.reasons) > 1 else ""
    yield f"{cell.outcome.words}: {label}{first}{more}"
    for sample, finding in [*cell.samples.items(), *cell.prompts.items()]:
        if every_sample or finding.outcome.is_lie:
            yield f"  {finding.outcome.words}: {finding.what or sample}"


def _last(found: Verified) -> str:
    counts: dict[str, int] = {}
    for cell in found.cells:
        counts[cell.outcome.words] = counts.get(cell.outcome.words, 0) + 1
    by_lot = found.lot and f" ({found.lot.size} of each role, lot {found.lot.seed})"
    said = ", ".join(f"{n} {words}" for words, n in counts.items())
    return f"{found.folder}: {said}{by_lot or ''}"
