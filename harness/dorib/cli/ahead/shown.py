"""A run's plan, for people: a table of its rows, and what it takes in all."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dorib.cli import terminal
from dorib.cli.ahead.durations import duration
from dorib.cli.tables import cell_label, figures_columns, heading_label
from dorib.plan.plan import CellPlan, Items, Plan, RowPlan
from dorib.ranking.checks.reasons import REFERENCE_LINE
from dorib.report.overview import counted

LONG = 3600
"""Seconds from which on a run says on a terminal what it will take before it starts."""
HEADINGS = "mitigation / attack", "  U-Net items", "  pictures", "  stored", "  time"


def show_plan(plan: Plan, console: Console) -> None:
    """Print the plan."""
    terminal.say(console, _extent(plan), "")
    terminal.show_table(console, plan_table(plan))
    terminal.say(console, "", *summary(plan))


def plan_table(plan: Plan) -> Table:
    """For each mitigation a heading with its fit, and below it a row for each attack.

    Labels are folded where they are long, numbers never.
    """
    rows = list(_rows(plan))
    table = figures_columns(HEADINGS, rows)
    for label, *figures in rows:
        style = "" if label.startswith(" ") else "bold"
        table.add_row(Text(label, style=style), *figures)
    return table


def _rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    for row in plan.rows:
        yield heading_label(row.mitigation), "", "", "", f"  {_time(row.seconds)}"
        yield cell_label("fit"), f"  {_items(row.fit)}", "", "", ""
        for cell in row.cells:
            yield cell_label(cell.attack), *(f"  {figure}" for figure in _figures(cell))


def summary(plan: Plan) -> Iterator[str]:
    """What the whole run takes."""
    each = ", ".join(f"{verb} {_items(items)}" for verb, items in plan.work.items())
    yield f"U-Net items  {_items(plan.total)}: {each}"
    if plan.shared.items:
        whole = plan.shared.items + plan.total.items
        share = plan.shared.items / whole
        yield f"made once    {plan.shared.items:,} items, {share:.0%} less: cells have them alike"
    disk = "" if plan.disk_bytes is None else f", about {_bytes(plan.disk_bytes)} on disk at most"
    yield f"pictures     {plan.images:,} to draw, {plan.stored_images:,} stored{disk}"
    if plan.peak_memory_bytes is not None:
        yield f"memory       about {_bytes(plan.peak_memory_bytes)}; training takes more"
    if plan.seconds is not None:
        yield f"time         {_bound(plan, plan.seconds)} on {plan.device} in {plan.dtype}"
    if plan.shared_seconds is not None:
        yield f"             {_bound(plan, plan.shared_seconds)} by {plan.workers} workers"
    for items in (plan.total, plan.work["rule"]):
        for method in items.unknown:
            yield f"unknown: {method} cannot say what it costs"
    yield from _alike(plan)
    for row in plan.rows:
        yield from _reasons(row)


def _extent(plan: Plan) -> str:
    samples = plan.samples
    parts = [
        counted(samples.memorized, "memorized sample"),
        counted(samples.controls, "control"),
        counted(samples.seeds, "seed"),
        f"budgets {', '.join(map(str, samples.budgets))}",
        counted(samples.utility_prompts, "utility prompt"),
    ]
    return f"{plan.suite}, split {plan.split}, profile {plan.profile}: {'; '.join(parts)}."


def _figures(cell: CellPlan) -> tuple[str, ...]:
    return _items(cell.work), f"{cell.images:,}", f"{cell.stored:,}", _time(cell.seconds)


def _alike(plan: Plan) -> Iterator[str]:
    for row in plan.rows:
        for cell in row.cells:
            if cell.same_as:
                yield f"same images: {row.mitigation} x {cell.attack} as {cell.same_as}"


def _reasons(row: RowPlan) -> Iterator[str]:
    if row.not_ranked and row.not_ranked != (REFERENCE_LINE,):
        yield f"not ranked: {row.mitigation}: {'; '.join(row.not_ranked)}"


def _items(items: Items) -> str:
    if items.unknown and not items.items:
        return "unknown"
    bound = "" if items.exact else "at most "
    more = " and more" if items.unknown else ""
    return f"{bound}{items.items:,}{more}"


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def _bound(plan: Plan, seconds: float) -> str:
    about = f"about {duration(seconds)}"
    if plan.total.unknown or plan.work["rule"].unknown:
        return f"more than {about}"
    return about if plan.seconds_exact else f"{about} at most"


def _bytes(count: int) -> str:
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
