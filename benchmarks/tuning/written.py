"""What is made of the numbers: a Markdown page, and the preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from dorib import MethodSpec
from tuning.grids import Grids
from tuning.numbers import Choices, Point, Tuned

PRESET_HEAD = """\
# Every mitigation against the attacks that ranks take, on the embedded suite. Written by `python -m
# tuning`: settings were chosen on the split dev, without an attack. What is not tuned yet stands at
# its published setting, where it has one. Options on the command line win over this file.

"""
RUN = {"suite": "tiny", "full": True, "split": "test"}


def page(choices: Choices) -> str:
    """Markdown: a table for each mitigation, what was chosen in bold."""
    lines = [
        f"# Tuned settings on `{choices.suite}`",
        "",
        f"Suite {choices.suite} {choices.version}, split {choices.split}: {choices.samples} "
        f"memorized samples, {choices.images} images of each, no attack. Chosen is {choices.rule}.",
    ]
    for name, tuned in choices.methods.items():
        lines += ["", *_section(name, tuned)]
    return "\n".join(lines) + "\n"


def preset(grids: Grids, choices: Choices | None) -> str:
    """The run file: what was chosen for each mitigation, or else what stands in its place."""
    lines = ["mitigation:"]
    taken: dict[str, MethodSpec] = {}
    for name, grid in grids.grids.items():
        tuned = choices.methods.get(name) if choices else None
        point = _chosen(tuned) if tuned else None
        taken[name] = point.spec if point else grid.at(grid.until_tuned)
        said = _in_words(point) if point else grid.known
        lines += [f"  # {name}: {said}", f"  - {_mapping(taken[name])}"]
    for name, wrapper in grids.wrappers.items():
        lines.append(f"  # {name}: how robust {wrapper.over} is")
        lines.append(f"  - {_mapping(wrapper.around(taken[wrapper.over]))}")
    run = yaml.safe_dump(RUN, sort_keys=False)
    return PRESET_HEAD + run + "\n" + "\n".join(lines) + "\n\nattack: [required]\n"


def _section(name: str, tuned: Tuned) -> Iterator[str]:
    yield f"## `{name}`"
    yield ""
    yield f"Grid: {tuned.source}."
    yield ""
    yield "| setting | left | left by both judges | utility | of the worst kind | fit, items | s |"
    yield "|---|---|---|---|---|---|---|"
    for point in tuned.points:
        bold = "**" if point.method == tuned.chosen else ""
        kind = point.worst_kind
        cells = (
            f"{bold}`{point.method}`{bold}" + (f" ({point.errors} errors)" if point.errors else ""),
            _number(point.rate),
            _number(point.rate_by_both),
            _number(point.utility),
            f"{kind[1]:.2f} ({kind[0]})" if kind else "-",
            f"{point.fit_items:,}",
            "-" if point.fit_seconds is None else f"{point.fit_seconds:.0f}",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"{tuned.reason[0].upper()}{tuned.reason[1:]}."


def _chosen(tuned: Tuned) -> Point | None:
    return next((point for point in tuned.points if point.method == tuned.chosen), None)


def _in_words(point: Point) -> str:
    kind = point.worst_kind
    worst = f", of {kind[0]} {kind[1]:.2f}" if kind else ""
    return f"{_number(point.rate)} left on dev, utility {_number(point.utility)}{worst}"


def _mapping(spec: MethodSpec) -> str:
    params = {name: _plain(value) for name, value in spec.params.items()}
    text: str = yaml.safe_dump(
        {"name": spec.name, **params}, default_flow_style=True, sort_keys=False, width=1000
    )
    return text.strip()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, MethodSpec) else value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
