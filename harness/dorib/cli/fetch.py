"""`dorib fetch`: bring what a suite needs from the network, and say what could not be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dorib.errors import DoribError

if TYPE_CHECKING:
    from rich.console import Console

    from dorib.suites.fetch.absent import Absent
    from dorib.suites.fetch.suite_data import Advance, Fetched
    from dorib.suites.suite import Suite


def fetch(
    suite: Annotated[str, typer.Argument(help="A registered suite's name, or a suite folder.")],
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Open no connection: fail, naming all that is missing."),
    ] = False,
    controls: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images the model never saw, with a metadata.jsonl of file_name and "
            "caption; they become the suite's controls."
        ),
    ] = None,
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="The target model's weights from the hub as well.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Downloads at a time.")] = 8,
) -> None:
    """Fetch a suite's prompts, originals and weights; repeated, it fetches what is missing."""
    from dorib.cli import terminal
    from dorib.host.registry import discover
    from dorib.suites.suite import load_suite

    found = load_suite(suite, discover())
    if offline:
        _check(found)
        return
    from dorib.suites.fetch.suite_data import fetch_suite

    fetched = fetch_suite(
        found,
        _Bars(terminal.progress_console()),
        workers=workers,
        controls=controls,
        pipeline=pipeline,
    )
    _show(fetched, found)


def _check(suite: Suite) -> None:
    from dorib.cli import terminal
    from dorib.cli.tables import plain_table
    from dorib.suites.fetch.absent import absent

    missing = list(absent(suite))
    console = terminal.results_console()
    if missing:
        terminal.show_table(console, plain_table(("missing", "what brings it"), map(_row, missing)))
        raise DoribError(
            f"suite {suite.reference}: {len(missing)} of its files are not on this machine; run "
            + " and ".join(f"`{command}`" for command in dict.fromkeys(a.command for a in missing))
        )
    terminal.say(console, "all there")


def _row(absent: Absent) -> tuple[str, str]:
    return absent.what, absent.command


def _show(fetched: Fetched, suite: Suite) -> None:
    from dorib.cli import terminal
    from dorib.cli.tables import plain_table
    from dorib.suites.fetch.sources import CONTROLS

    console = terminal.results_console()
    manifest = fetched.manifest
    ids = {sample.id for sample in suite.samples}
    missing = [entry for entry in manifest.missing if ids.intersection(entry.samples)]
    if missing:
        rows = [(", ".join(entry.samples), entry.reason, entry.url) for entry in missing]
        titles = ("sample", "why there is no image", "address")
        terminal.show_table(console, plain_table(titles, rows))
        terminal.say(console, "")
    scorable = sum(bool(suite.originals(sample)) for sample in suite.samples)
    terminal.say(console, f"{scorable} of {len(ids)} samples have an original")
    if missing:
        terminal.say(
            console,
            "The others are unscorable: shown as such, and in no rate. The same command tries "
            "their addresses again.",
        )
    if not any(sample.role == "control" for sample in suite.samples):
        terminal.say(
            console,
            f"No {CONTROLS}: nothing will tell what an attack draws from images the model never "
            f"saw. `dorib fetch {suite.reference} --controls FOLDER` takes them in.",
        )
    terminal.say(console, f"manifest  {fetched.path}")
    if fetched.failed:
        raise DoribError(
            "not fetched: "
            + ", ".join(f"{what} ({reason})" for what, reason in fetched.failed)
            + f"; run `dorib fetch {suite.reference}` again"
        )


class _Bars:
    """A bar for each step, drawn on terminals only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:
        """A bar while the step lasts; what is noted stands above it."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        from dorib.cli.terminal import say
        from dorib.printable import printable

        name = printable(name)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn(""))
        counted = (*columns[:2], MofNCompleteColumn(), TimeRemainingColumn()) if total else columns
        with Progress(
            *counted, console=self._console, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(name, total=total)
            without = 0

            def advance(amount: int = 1, note: str | None = None) -> None:
                nonlocal without
                without += note is not None
                shown = f"{name} ({without} without an image)" if without else name
                progress.update(task, advance=amount, description=shown)

            yield advance
        if not self._console.is_terminal:
            say(self._console, f"fetched {name}")
