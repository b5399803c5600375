"""`dorib compare`: two results held against each other, sample by sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dorib.cli.options import place_option

if TYPE_CHECKING:
    from dorib.report.compare.comparison import CellSide, Comparison, PairedCell
    from dorib.report.compare.differences import Difference

TITLES = ("cell", "n", "A", "B", "B - A", "A alone", "B alone", "p")
SIDE = "The folder of a run or leaderboard, FOLDER#MITIGATION for a row of it, or an entry's file."


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=SIDE)],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="All of it as JSON: every budget and every sample.")
    ] = False,
    strips: Annotated[
        Path | None,
        place_option(help="Draw original, A and B side by side into this folder, a new one."),
    ] = None,
) -> None:
    """Hold two runs, rows or entries against each other, sample by sample."""
    from dorib.cli import tables, terminal
    from dorib.report.compare.comparison import compare as compared_sides

    compared = compared_sides(first, second)
    sheets = []
    if strips is not None:
        from dorib.report.compare.strips import draw_comparison

        sheets = draw_comparison(compared, strips)
    if as_json:
        terminal.show_json(compared.comparison.model_dump(mode="json"))
        return
    console = terminal.results_console()
    found = compared.comparison
    terminal.say(console, f"A  {found.first}", f"B  {found.second}", "")
    terminal.show_table(console, tables.line_table(TITLES, _rows(found)))
    terminal.say(console, "", *_footnotes(found), *_differing(found), *map(str, sheets))


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    for cell in found.cells:
        largest = cell.within[-1]
        for role, of_role in (("", largest.memorized), (", controls", largest.controls)):
            if of_role is None:
                continue
            gap = of_role.difference
            yield (
                _named(cell) + role,
                str(of_role.n),
                f"{(of_role.both + of_role.first_alone) / of_role.n:.2f}",
                f"{(of_role.both + of_role.second_alone) / of_role.n:.2f}",
                f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})",
                str(of_role.first_alone),
                str(of_role.second_alone),
                f"{of_role.p:.3g}",
            )


def _named(cell: PairedCell) -> str:
    first, second = (f"{side.mitigation} x {side.attack}" for side in (cell.first, cell.second))
    if first == second:
        return first
    if cell.first.attack == cell.second.attack:
        return cell.first.attack
    return f"{cell.first.attack} / {cell.second.attack}"


def _footnotes(found: Comparison) -> Iterator[str]:
    yield "A, B: share of the samples broken within the largest budget; alone: broken there only"
    yield "in brackets: 95 % interval of the paired difference, over source photographs"
    several = "; of each line by itself" if len(found.cells) > 1 else ""
    yield f"p: McNemar's exact test, which takes samples as independent{several}"
    for cell in found.cells:
        of_memorized = cell.within[-1].memorized
        if of_memorized.clusters < of_memorized.n:
            yield (
                f"samples share photographs ({of_memorized.n} of {of_memorized.clusters}): believe "
                "the interval rather than p"
            )
            break
    for cell in found.cells:
        if cell.unpaired:
            yield f"not paired: {_named(cell)}: {cell.unpaired} samples that one side alone has"
        for letter, side in (("A", cell.first), ("B", cell.second)):
            if side.errors:
                yield f"errors: {_named(cell)}: {side.errors} in {letter}, which count as held"
    yield from _utility(found)
    for letter, alone in (("A", found.first_alone), ("B", found.second_alone)):
        if alone:
            yield f"in {letter} alone: {', '.join(alone)}"
    for out in found.left_out:
        yield f"left out: {out.mitigation} x {out.attack}: {out.reason}"


def _utility(found: Comparison) -> Iterator[str]:
    """Of each pair of mitigations once."""
    said = set()
    for cell in found.cells:
        shown = tuple(_share(side) for side in (cell.first, cell.second))
        labels = cell.first.mitigation, cell.second.mitigation
        if labels not in said and "-" not in shown:
            said.add(labels)
            yield f"utility: {' / '.join(dict.fromkeys(labels))}: {shown[0]} in A, {shown[1]} in B"


def _share(side: CellSide) -> str:
    return f"{side.utility.value:.2f}" if side.utility else "-"


def _differing(found: Comparison) -> Iterator[str]:
    yield ""
    own = [(_named(cell), difference) for cell in found.cells for difference in cell.differences]
    if not (found.differences or own):
        yield "Nothing else differs: same methods, code, versions, device and stack."
        return
    yield "differs"
    for difference in found.differences:
        yield f"  {_sides(difference)}"
    for name, difference in own:
        yield f"  {name}: {_sides(difference)}"


def _sides(difference: Difference) -> str:
    first, second = (
        value if isinstance(value, str) else json.dumps(value)
        for value in (difference.first, difference.second)
    )
    if len(first) == len(second) == 64 and difference.field.endswith((".code", ".model", "sha256")):
        first, second = first[:12], second[:12]
    return f"{difference.field}: {first} in A, {second} in B"
