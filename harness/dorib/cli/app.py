"""The command line: its commands, plugins' among them, and how each of them ends.

This room prints; everything below it raises or returns. What takes long to import (torch, rich) is
imported by the command that needs it, so that `dorib --help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from dorib.cli import audit as cli_audit
from dorib.cli import export as cli_export
from dorib.cli import fetch as cli_fetch
from dorib.cli import plugins as cli_plugins
from dorib.cli import run as cli_run
from dorib.cli import site as cli_site
from dorib.cli import suites as cli_suites
from dorib.cli.authors import kit as cli_authoring
from dorib.cli.commands import WithPlugins
from dorib.cli.published import reproduce as cli_reproduce
from dorib.cli.published import submit as cli_submit
from dorib.cli.published import verify as cli_verify
from dorib.cli.stored import compare as cli_compare
from dorib.cli.stored import report as cli_report
from dorib.cli.stored import store as cli_store
from dorib.errors import DoribError
from dorib.printable import LONGEST_LINE, one_line

BAD_INPUT = 2
STOPPED = 130
"""128 + SIGINT, as shells have it."""

COLLECT_AFTER = 10_000
"""New objects between two looks for unreachable ones. The libraries that a command imports bring
hundreds of thousands that stay: with Python's 700, looking through them takes a seventh of the time
of a run that finds everything stored."""

# Its home module differs between versions of typer.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="dorib",
    cls=WithPlugins,
    help="Has a mitigation erased a memorized image from a text-to-image diffusion model, or only "
    "hidden it?",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(cli_run.run)
app.command("audit")(cli_audit.audit)
app.command("report")(cli_report.report)
app.command("reproduce")(cli_reproduce.reproduce)
app.command("verify")(cli_verify.verify)
app.command("submit")(cli_submit.submit)
app.command("site")(cli_site.site)
app.command("compare")(cli_compare.compare)
app.command("export")(cli_export.export)
app.command("fetch")(cli_fetch.fetch)
app.command("plugins")(cli_plugins.plugins)
app.command("params")(cli_plugins.params)
app.command("new")(cli_authoring.new)
app.command("check")(cli_authoring.check)
app.add_typer(cli_store.app, name="store")
app.add_typer(cli_suites.app, name="suites")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 bad input, 130 stopped by Ctrl-C.

    `arguments` replace those of the process.
    """
    gc.set_threshold(COLLECT_AFTER)
    try:
        code = app(args=arguments, prog_name="dorib", standalone_mode=False)
        # Here, since what the interpreter cannot write at its end it tells in words of its own.
        if sys.stdout:
            sys.stdout.flush()
    except DoribError as error:
        _fail(str(error))
    except BrokenPipeError:
        from dorib.cli.terminal import end_unread

        end_unread(sys.stdout)
    except OSError as error:
        _fail(_of_a_file(error))
    except UsageError as error:
        message = getattr(error, "format_message", error.__str__)().rstrip(". ")
        if "unexpected extra argument" in message and "=" in message:
            message += "; parameters follow their method after a colon: wanda:sparsity=0.02"
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "dorib"
        _fail(f"{message}; `{command} --help` lists what there is")
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    # Some versions of typer raise on Ctrl-C, others return its code.
    if code == STOPPED:
        print("stopped; run the same command again to go on", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> NoReturn:
    # Where standard error cannot be written there is nobody to tell; the exit code still says it.
    with suppress(OSError):
        print("dorib: error:", one_line(message, LONGEST_LINE), file=sys.stderr, flush=True)
    sys.exit(BAD_INPUT)


def _of_a_file(error: OSError) -> str:
    """What the machine refused; nothing is wrong with a path before it is used."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"the output cannot be written, or a file read ({reason}); mend it and run again"
    path = one_line(os.fsdecode(error.filename), 200)
    return f"{path}: cannot be read or written ({reason}); mend it, or name another"


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print("dorib", version("dorib"))
        raise typer.Exit


@app.callback()
def dorib(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command; without one, show what there is."""
    if context.invoked_subcommand is None:
        print(context.get_help())
