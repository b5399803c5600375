"""A run that is killed in the middle of the method's work, and the one that goes on from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from dorib.contracts.specs import MethodSpec
from dorib.host.registry import discover
from dorib.testing.conformance.made import Bench, Listener, Values
from dorib.testing.conformance.stand_ins import with_stand_ins

if TYPE_CHECKING:
    from dorib.testing.conformance.workplace import Workplace

RESULTS = "killed"
KILLED_AT = 2
"""The n-th time that work is reported."""


class KilledRun:
    """A run in a process of its own, which is killed in the middle of the method's work."""

    def __init__(self, place: Workplace) -> None:
        """Starts it; nobody need wait for it until its results are asked for."""
        self._place = place
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, _asked(place)],
            # The same bytes are asked for, which another number of threads need not give.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OMP_NUM_THREADS": str(torch.get_num_threads()),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def resumed(self) -> tuple[Values, bool]:
        """What the method makes after it was killed, and whether the killed run got as far."""
        killed = self._process.wait() == -signal.SIGKILL
        return self._place.bench(RESULTS).make(), killed

    def end(self) -> None:
        """End it, where nobody waits for it any more."""
        self._process.kill()
        self._process.wait()


def _asked(place: Workplace) -> str:
    return json.dumps(
        {
            "kind": place.kind,
            "spec": str(place.spec),
            "suite": place.suite("plain"),
            "out": str(place.results(RESULTS)),
            "limit": 1 if place.suite_given else None,
            "plugins": [str(path) for path in place.plugins],
        }
    )


class _Killing(Listener):
    """Kills the process at the n-th report of work."""

    def __init__(self) -> None:
        super().__init__()
        self.reports = 0

    @override
    def advance(self, units: int) -> None:
        self.reports += 1
        if self.reports == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run what the first argument says, until it is killed."""
    asked = json.loads(sys.argv[1])
    registry = with_stand_ins(discover(files=[Path(path) for path in asked["plugins"]]))
    Bench(
        registry,
        asked["kind"],
        MethodSpec.parse(asked["spec"]),
        asked["suite"],
        Path(asked["out"]),
        _Killing(),
        limit=asked["limit"],
    ).make()


if __name__ == "__main__":
    main()
