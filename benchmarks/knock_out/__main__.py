"""`python -m knock_out --suite tiny --out FOLDER`: where in a model is memorization?

Layers are made to put out zeros: each by itself, all of a kind (value, self-attention,
feed-forward, convolution), and all of a kind in a window of the sampling steps. Measured each time
are the memorization rate from the samples' own prompts, and utility. The numbers go to
knock-out.json, which a run that was stopped goes on from, and to a figure beside it. No search is
run: a part without which images no longer come from their prompts may hold the images, or only what
asks for them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dorib import (
    DoribError,
    RunConfig,
    Session,
    checked,
    progress_console,
    reporter_for,
    require_figures,
    write_text,
)
from knock_out.layers import KINDS
from knock_out.measure import Measuring
from knock_out.rows import Part, Row, Table, parts_of

NUMBERS = "knock-out.json"


def knock_out(config: RunConfig, kinds: list[str], windows: int, utility: int | None) -> Table:
    """Measure every part, or find it measured, and draw the figure.

    Raises:
        DoribError: the suite cannot be read, has no memorized sample with an original, or the
            folder holds numbers of other settings.
    """
    require_figures("knock_out")
    with reporter_for(progress_console()) as reporter:
        session = Session.open(config, reporter=reporter)
        if utility is not None:
            session.profile = session.profile.model_copy(update={"utility": utility})
        if not session.memorized:
            raise DoribError(f"suite {session.suite.name}: no memorized sample has an original")
        chosen = [kind for kind in KINDS if kind in kinds]
        steps = len(session.model.sampling_timesteps())
        parts = list(parts_of(session.model.unet, chosen, steps, windows))
        file = config.out / NUMBERS
        table = _started(file, session)
        config.out.mkdir(parents=True, exist_ok=True)
        known = {row.part: row for row in table.rows}
        measuring = Measuring(session)
        rows: list[Row] = []
        with reporter.verb("knock out", session.suite.name, len(parts)) as advance:
            for part in parts:
                # The whole model is measured each time: it is the yardstick of all others.
                whole = part.kind is None
                rows.append(measuring.measure(part) if whole or part not in known else known[part])
                table = table.model_copy(update={"rows": tuple(rows)})
                write_text(file, table.model_dump_json(indent=2) + "\n")
                advance(1)
    from knock_out.figure import draw

    draw(table, config.out)
    return table


def _started(file: Path, session: Session) -> Table:
    settings: dict[str, str | int] = {
        "suite": session.suite.name,
        "suite_digest": session.suite.digest(),
        "split": session.settings.split,
        "memorized": len(session.memorized),
        "images": len(session.evaluation_seeds),
        "utility_prompts": len(session.utility_prompts),
        "root_seed": session.settings.root_seed,
        "dtype": session.dtype,
    }
    if not file.exists():
        return Table(settings=settings)
    try:
        found = Table.model_validate_json(file.read_text())
    except ValueError as error:
        raise DoribError(f"{file}: not readable; remove it, or name another --out") from error
    if found.settings != settings:
        raise DoribError(f"{file}: of other settings; name another --out")
    return found


def main(arguments: list[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m knock_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", default="tiny", help="a registered name or a suite folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--full", action="store_true", help="the suite's full profile")
    parser.add_argument("--limit", type=int, help="at most so many memorized samples")
    parser.add_argument("--seeds", type=int, help="images of each, in place of the profile's")
    parser.add_argument("--utility", type=int, help="utility prompts, in place of the profile's")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--windows", type=int, default=3, help="of the sampling steps (default: 3)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, required=True, help="folder of numbers and figure")
    asked = parser.parse_args(arguments)
    for name in ("windows", "utility"):
        if getattr(asked, name) is not None and getattr(asked, name) < 1:
            parser.error(f"--{name} takes 1 or more")
    names = ("suite", "split", "full", "limit", "seeds", "device", "dtype", "out")
    options = {name: getattr(asked, name) for name in names}
    try:
        config = checked(RunConfig, options, "command line", names="options")
        table = knock_out(config, asked.kinds, asked.windows, asked.utility)
    except DoribError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    for row in table.rows:
        print(_line(row))
    print(f"numbers and figure: {config.out}")


def _line(row: Row) -> str:
    part = row.part
    utility = "  -  " if row.utility is None else f"{row.utility:5.2f}"
    return f"{row.memorization_rate:5.2f} {utility}  {_what(part)}"


def _what(part: Part) -> str:
    if part.kind is None:
        return "the whole model"
    where = part.layer or f"all {part.kind} layers"
    return f"{where}, steps {part.first_step} to {part.last_step}"


if __name__ == "__main__":
    main()
