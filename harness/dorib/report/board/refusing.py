"""Whether a run may stand on the board that is in its folder, seen before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dorib.errors import DoribError
from dorib.ranking.facts import RunFacts
from dorib.ranking.leaderboard import LEADERBOARD_FILE, Leaderboard
from dorib.ranking.published import read_published
from dorib.reading import Malformed
from dorib.report.board.computing import read_run_file
from dorib.report.board.kept import KeptBoard, read_kept
from dorib.store.boards import BoardFolder

WAY_OUT = (
    "give another --out, or move its leaderboard.json away to begin a new one on the same store"
)
_SHARED: dict[str, Callable[[RunFacts], Any]] = {
    "suite": lambda run: f"{run.suite.name} {run.suite.version}",
    "content of the suite": lambda run: run.suite.digest[:12],
    "split": lambda run: run.split,
    "profile": lambda run: run.profile,
    "k": lambda run: run.k,
    "budgets": lambda run: ", ".join(map(str, run.budgets)),
    "metrics": lambda run: ", ".join(sorted(run.stack)),
    "memorized samples": lambda run: len(run.memorized),
    "controls": lambda run: len(run.controls),
    "utility prompts": lambda run: len(run.utility_prompts),
    "device": lambda run: run.environment.device,
    "dtype": lambda run: run.environment.dtype,
    "torch": lambda run: run.environment.torch,
    "diffusers": lambda run: run.environment.diffusers,
    "transformers": lambda run: run.environment.transformers,
}


def refuse_other_board(out: Path, store: Path, wanted: KeptBoard) -> None:
    """Refuse a run whose rows cannot be ranked together with those of the board in `out`.

    Raises:
        DoribError: names what differs, and the way out.
    """
    if not (out / LEADERBOARD_FILE).is_file():
        return
    name = read_run_file(out).get("board")
    try:
        there = read_kept(BoardFolder(store, name)) if isinstance(name, str) else None
    except DoribError:
        # Said where the board is taken; its name is made from what it is of.
        if name == wanted.name:
            return
        raise
    if there is not None:
        if there.name != wanted.name:
            raise DoribError(f"{out}: {_difference(there, wanted)}; {WAY_OUT}")
        return
    try:
        found = read_published(Leaderboard, out / LEADERBOARD_FILE)
    except (Malformed, ValidationError):
        # Nothing that could be kept.
        return
    run = wanted.facts
    alike = (run.suite, run.split, run.profile, run.k)
    in_store = BoardFolder(store, wanted.name).list.is_file()
    if in_store and alike == (found.suite, found.split, found.profile, found.k):
        return
    raise DoribError(
        f"{out}: its leaderboard comes without what it was made from, which lies in the store "
        f"since dorib keeps boards; {WAY_OUT}"
    )


def _difference(there: KeptBoard, wanted: KeptBoard) -> str:
    theirs, ours = there.facts, wanted.facts
    for name, value in _SHARED.items():
        if value(theirs) != value(ours):
            return f"its leaderboard has {name} {value(theirs)}, and this run {value(ours)}"
    for name in sorted(there.model.keys() | wanted.model.keys()):
        if there.model.get(name) != wanted.model.get(name):
            return f"its leaderboard is of another {name.replace('_', ' ')} than this run"
    names = (n for n in sorted(wanted.run) if there.run.get(n) != wanted.run[n])
    return f"its leaderboard has other {next(names, 'facts').replace('_', ' ')} than this run"
