"""A run that is killed in the middle of the method's work, and the one that goes on from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from dorib.contracts.specs import MethodSpec
from dorib.host.registry import discover
from dorib.testing.conformance.made import Bench, Listener, Values
from dorib.testing.conformance.stand_ins import with_stand_ins

if TYPE_CHECKING:
    from dorib.testing.conformance.workplace import Workplace

KILLED_AT = 2
"""The n-th time that work is reported."""


def killed_and_resumed(place: Workplace) -> tuple[Values, bool]:
    """What the method makes after it was killed, and whether the killed run got as far."""
    arguments = json.dumps(
        {
            "kind": place.kind,
            "spec": str(place.spec),
            "suite": place.suite("plain"),
            "out": str(place.folder / "out" / "killed"),
            "limit": 1 if place.suite_given else None,
            "plugins": [str(path) for path in place.plugins],
        }
    )
    done = subprocess.run(
        [sys.executable, "-m", __name__, arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
    )
    resumed = place.bench("killed").make()
    return resumed, done.returncode == -signal.SIGKILL


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
