"""`dorib new` and `dorib check`: the way of an author."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from dorib.cli.options import PLUGIN, place_option
from dorib.cli.plugins import MethodKind

if TYPE_CHECKING:
    from rich.console import Console

    from dorib.contracts.registration import MethodKind as Kind
    from dorib.contracts.specs import MethodSpec
    from dorib.host.registry import Registry
    from dorib.testing.conformance.checks import Report

BROKEN = 1
"""Exit code where a method breaks a rule."""


def new(
    kind: Annotated[str, typer.Argument(help="mitigation, attack, rule, metric, probe or suite.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, hyphens.")],
    to: Annotated[
        Path | None, place_option(help="Folder of the package (default: dorib-NAME).")
    ] = None,
) -> None:
    """Write a package that runs and passes its own tests, to be made yours."""
    from dorib.cli import terminal
    from dorib.host.registry import discover
    from dorib.testing.scaffold import write_package

    folder = write_package(kind, name, to or Path(f"dorib-{name}"), discover())
    console = terminal.results_console()
    terminal.say(console, f"{folder} is written. Next:", f"    pip install -e {folder}")
    terminal.say(console, f"    pytest {folder}", f"    dorib check {name}")


def check(
    method: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:PARAMETER=VALUE,...]", help="The method or suite to look at."
        ),
    ],
    kind: Annotated[
        MethodKind | None, typer.Option(help="Only this kind, where a name has several.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A suite in the place of the plain random one, with one sample of it."),
    ] = None,
    plugin: Annotated[list[Path] | None, PLUGIN] = None,
) -> None:
    """See whether a method keeps the rules that its numbers rest on; slow searches take minutes."""
    from dorib.cli import terminal
    from dorib.cli.options import quiet_libraries
    from dorib.contracts.specs import MethodSpec
    from dorib.host.registry import discover

    quiet_libraries()
    from dorib.testing.conformance.checks import check as look
    from dorib.testing.conformance.workplace import Workplace

    spec = MethodSpec.parse(method)
    files = tuple(plugin or ())
    registry = discover(files=files)
    console = terminal.results_console()
    if kind is None and ("suite", spec.name) in registry.registrations:
        _check_suite(console, registry, spec.name)
        return
    kinds: list[Kind] = [kind.value] if kind else _kinds_of(registry, spec)
    broken = False
    for one in kinds:
        with tempfile.TemporaryDirectory(prefix="dorib-check-") as folder:
            place = Workplace(registry, one, spec, Path(folder), suite, files)
            with nullcontext() if suite else _one_thread():
                report = look(place)
        terminal.say(console, *_lines(f"{one} {method}", report))
        broken = broken or bool(report.findings)
    if broken:
        raise typer.Exit(BROKEN)


@contextmanager
def _one_thread() -> Iterator[None]:
    """For the random suite: its layers are so small that threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_suite(console: Console, registry: Registry, name: str) -> None:
    from dorib.cli import terminal
    from dorib.testing.conformance.suites import flaws_of_suite

    with tempfile.TemporaryDirectory(prefix="dorib-check-") as folder:
        flaws = list(flaws_of_suite(name, registry, Path(folder)))
    terminal.say(console, *(f"BROKEN   suite {name} {flaw}" for flaw in flaws))
    kept = "lacks something" if flaws else "keeps all rules that were looked at"
    terminal.say(console, f"suite {name} {kept}")
    if flaws:
        raise typer.Exit(BROKEN)


def _kinds_of(registry: Registry, spec: MethodSpec) -> list[Kind]:
    """Those of the name whose parameters are all given, or have defaults."""
    from dorib.contracts.registration import MethodKind as Kind
    from dorib.errors import DoribError
    from dorib.validation import did_you_mean

    every: tuple[Kind, ...] = get_args(Kind)
    named = [kind for kind in every if (kind, spec.name) in registry.registrations]
    if not named:
        names = [name for kind, name in registry.registrations if kind in every]
        meant = did_you_mean(spec.name, names)
        raise DoribError(
            f"no method {spec.name!r}{meant}; `dorib plugins` lists what there is"
            f"{registry.unused()}"
        )

    def complete(kind: Kind) -> bool:
        fields = registry.get(kind, spec.name).params.model_fields
        return all(not f.is_required() or name in spec.params for name, f in fields.items())

    return [kind for kind in named if complete(kind)] or named


def _lines(title: str, report: Report) -> list[str]:
    lines = [f"ok       {name}" for name in report.passed]
    for finding in report.findings:
        lines += [
            f"BROKEN   {finding.check.name}: {title} {finding.said}",
            f"         rule: {finding.check.rule}",
            f"         mend: {finding.check.mend}",
        ]
    lines += [f"skipped  {name}" for name in report.skipped]
    lines += [f"         {refusal}" for refusal in report.refusals]
    if report.work:
        rate = report.work / report.seconds
        lines.append(f"{report.work} U-Net items in {report.seconds:.1f} s: {rate:.0f} items/s")
    kept = "keeps all rules that were looked at" if not report.findings else "breaks a rule"
    return [*lines, f"{title} {kept}"]
