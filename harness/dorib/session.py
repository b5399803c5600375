"""A session: what a run resolves before it starts, and its verbs one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from dorib.config import RunConfig
from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.host.configure import Configured, configure, configure_all
from dorib.host.registry import Registry, discover
from dorib.ranking.records import Record
from dorib.reporting import Reporter, Silent
from dorib.store.store import Store
from dorib.suites.fetch.absent import require_on_disk
from dorib.suites.suite import load_suite
from dorib.suites.view import suite_view
from dorib.verbs.attack import Attacked, attack
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.generate import generate_attacked
from dorib.verbs.judging import Cell
from dorib.verbs.measure import measure
from dorib.verbs.mitigate import Mitigated, mitigate


@dataclass(repr=False)
class Session(RunContext):
    """A suite's model under a run's settings, and the verbs that act on it.

    The runner works on one, and so does an analysis. What a verb makes lies in the store of the
    run's folder, under the key that a run with the same options gives it: what either has made,
    the other finds.
    """

    @classmethod
    def open(
        cls,
        config: RunConfig,
        registry: Registry | None = None,
        reporter: Reporter | None = None,
    ) -> Self:
        """Read the suite, and take the profile from it and from `config`; no model is loaded yet.

        Args:
            config: the options of a run.
            registry: where names are looked up (None: what is installed).
            reporter: hears of each verb that has work to do (None: nobody does).

        Raises:
            DoribError: the suite cannot be read, or lacks files while `config` forbids to fetch.
        """
        registry = registry or discover()
        suite = load_suite(config.suite, registry)
        if config.offline:
            require_on_disk(suite)
        store = Store(config.out / "store", (reporter or Silent()).note)
        return cls(
            suite, config, config.profile(suite.manifest), store, reporter or Silent(), registry
        )

    def __repr__(self) -> str:
        settings = self.settings
        return f"Session({self.suite.name}, {settings.split}, root seed {settings.root_seed})"

    def at_root_seed(self, root_seed: int, reporter: Reporter) -> Self:
        """The same with other randomness and a `reporter` of its own, on the same loaded model."""
        settings = self.settings.model_copy(update={"root_seed": root_seed})
        other = replace(self, settings=settings, reporter=reporter)
        # The same pipeline: loading it once is enough.
        other.model = self.model
        return other

    def configure(self, kind: MethodKind, spec: MethodSpec) -> Configured:
        """The method that `spec` names.

        Raises:
            DoribError: a name or a parameter is unknown or wrong.
        """
        return configure(self.registry, kind, spec)

    def configure_all(self, kind: MethodKind, specs: Sequence[MethodSpec]) -> list[Configured]:
        """The methods that `specs` name, each once; `all` stands for every one there is.

        Raises:
            DoribError: a name or a parameter is unknown or wrong.
        """
        return configure_all(self.registry, kind, specs)

    def prepare(self, metric: Configured) -> None:
        """Let a metric load what its judging takes: before it first judges.

        Raises:
            DoribError: something that it needs is not at hand.
        """
        originals = "originals" in metric.metric.needs
        metric.metric.prepare(suite_view(self.suite, originals=originals), self.device)

    def mitigate(self, method: Configured, subjects: Sequence[Subject]) -> Mitigated:
        """Fit a mitigation, or find it fitted; per sample it is fitted to each of `subjects`."""
        return mitigate(self, method, subjects)

    def attack(
        self, mitigated: Mitigated, method: Configured, subjects: Sequence[Subject]
    ) -> Attacked:
        """Search triggers for `subjects` at each budget of the profile, or find them stored."""
        return attack(self, mitigated, method, subjects)

    def judge(
        self,
        mitigated: Mitigated,
        attacked: Attacked,
        metric: Configured,
        subjects: Sequence[Subject],
    ) -> list[Record]:
        """Generate images from the triggers, measure them, or find both stored.

        Gives a record for each image, sample and budget, with the error in a value's place where
        something failed.
        """
        generated = generate_attacked(self, mitigated, attacked, subjects)
        cell = Cell(mitigated, attacked, generated, self.evaluation_seeds)
        return measure(self, metric, cell, subjects)
