"""Where one method is checked: suites made when they are first needed, results side by side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.host.registry import Registration, Registry
from dorib.testing.conformance.killed import KilledRun
from dorib.testing.conformance.made import Bench, Listener, Values
from dorib.testing.conformance.stand_ins import with_stand_ins
from dorib.testing.suites import save_random_suite

SUITES: dict[str, dict[str, Any]] = {
    "plain": {},
    "unguided": {"guidance_scale": 1.0},
    "epsilon": {"prediction": "epsilon"},
    "sdxl": {"pipeline": "sdxl", "prediction": "epsilon"},
}


KILLED = "killed"
"""The results of the run that is killed, and of the one that goes on from it."""


class Workplace:
    """One method, and a folder that everything it makes lies in."""

    def __init__(
        self,
        registry: Registry,
        kind: MethodKind,
        spec: MethodSpec,
        folder: Path,
        suite: str | None = None,
        plugins: tuple[Path, ...] = (),
    ) -> None:
        """`suite` takes the plain random one's place (a limit of one sample then holds)."""
        self.registry = with_stand_ins(registry)
        self.kind = kind
        self.spec = spec
        self.folder = folder
        self.suite_given = suite
        self.plugins = plugins
        self.listener = Listener()
        self.refusals: list[str] = []
        self.failed: set[str] = set()
        """Names of the checks that have found something."""
        self.speed = (0, 0.0)
        self._killed_run: KilledRun | None = None
        self._base: Values | None = None

    @property
    def registration(self) -> Registration:
        """The method's."""
        return self.registry.get(self.kind, self.spec.name)

    def base(self) -> Values:
        """What the method makes of the plainest suite, made once.

        Raises:
            MethodError: it fails.
            DoribError: it refuses the suite.
        """
        if self._base is None:
            bench = self.bench("plain", listener=self.listener)
            _ = bench.session.model
            before = time.perf_counter()
            self._base = bench.make()
            self.speed = (bench.work, time.perf_counter() - before)
        return self._base

    def bench(
        self, results: str, suite: str = "plain", limit: int | None = None, **settings: Any
    ) -> Bench:
        """The method on one of `SUITES`, its results in a folder of their own."""
        return Bench(
            self.registry,
            self.kind,
            self.spec,
            self.suite(suite),
            self.results(results),
            limit=1 if suite == "plain" and self.suite_given else limit,
            **settings,
        )

    def start_killed_run(self) -> KilledRun:
        """A run of the method that will be killed: it goes on beside whatever is looked at next."""
        if self._killed_run is None:
            self._killed_run = KilledRun(
                {
                    "kind": self.kind,
                    "spec": str(self.spec),
                    "suite": self.suite("plain"),
                    "out": str(self.results(KILLED)),
                    "limit": 1 if self.suite_given else None,
                    "plugins": [str(path) for path in self.plugins],
                    "settings": {},
                }
            )
        return self._killed_run

    def close(self) -> None:
        """End what still goes on."""
        if self._killed_run:
            self._killed_run.end()

    def results(self, name: str) -> Path:
        """The folder of some results."""
        return self.folder / "out" / name

    def suite(self, name: str) -> str:
        """The reference of a suite, made if need be."""
        if name == "plain" and self.suite_given:
            return self.suite_given
        folder = self.folder / "suites" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            # Two: what learns from a control other than the one it is asked for finds one.
            save_random_suite(folder, controls=2, **SUITES[name])
        return str(folder)
