"""A run that is killed in the middle of the method's work, and the one that goes on from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from typing_extensions import override

from dorib.contracts.specs import MethodSpec
from dorib.host.registry import discover
from dorib.testing.conformance.made import Bench, Listener
from dorib.testing.conformance.stand_ins import with_stand_ins

KILLED_AT = 2
"""The n-th time that work is reported."""


class KilledRun:
    """A run in a process of its own, which is killed in the middle of the method's work."""

    def __init__(self, asked: Mapping[str, object]) -> None:
        """Starts it; nobody need wait for it until its results are asked for.

        `asked` is what `Bench` is made with: kind, spec, suite, out, limit, plugins, settings.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asked)],
            # The same bytes are asked for, which another number of threads need not give.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OMP_NUM_THREADS": str(torch.get_num_threads()),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def was_killed(self) -> bool:
        """Whether it got as far: waits for its end."""
        return self._process.wait() == -signal.SIGKILL

    def end(self) -> None:
        """End it, where nobody waits for it any more."""
        self._process.kill()
        self._process.wait()


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
        **asked["settings"],
    ).make()


if __name__ == "__main__":
    main()
