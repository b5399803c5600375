"""How long each batch of a real run takes.

`python -m workers.recording --config run.yaml --out batches.json`: the run goes to an empty folder
of its own, so that nothing is found stored.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dorib import runner
from dorib.config import RunConfig, run_config
from dorib.host.registry import discover
from dorib.reporting import Advance
from dorib.store.claims import CLAIM
from workers.batches import Timed, write_batches


class Recorder:
    """A reporter that times batches: each is claimed in the store for as long as it takes."""

    def __init__(self) -> None:
        self.timed: list[Timed] = []
        self._at_work = ("", "")
        self._since: dict[str, float] = {}
        sys.addaudithook(self._hear)

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Remember what batches are of; a fit is a verb within its claim."""
        self._at_work = name, subject
        yield lambda units: None

    def note(self, text: str) -> None:
        """Notes cost no time."""

    def failure(self, text: str, error: BaseException) -> None:
        """Nothing of a run with failures would be worth recording."""
        raise error

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.remove"):
            return
        path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        if not os.path.basename(path).startswith(CLAIM):  # noqa: PTH119 - a path per open file
            return
        if event == "os.remove":
            self.timed.append(Timed(*self._at_work, time.monotonic() - self._since.pop(path)))
        elif arguments[2] & os.O_EXCL:
            self._since[path] = time.monotonic()


def record(config: RunConfig) -> list[Timed]:
    """The batches of a run, in the order in which one process makes them."""
    recorder = Recorder()
    runner.run(config, discover(), recorder)
    return recorder.timed


def main() -> None:
    """Record one run and write its batches."""
    parser = argparse.ArgumentParser(prog="python -m workers.recording", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a run file")
    parser.add_argument("--out", type=Path, required=True, help="where the batches are written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed = record(run_config({"out": folder}, asked.config))
    write_batches(asked.out, timed)


if __name__ == "__main__":
    main()
