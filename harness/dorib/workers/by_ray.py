"""Workers by Ray: on this machine, or on a cluster that is running."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dorib.config import RunConfig
from dorib.errors import DoribError
from dorib.host.processors import processors
from dorib.report.board.computing import add_computed
from dorib.report.run_result import RunResult
from dorib.reporting import Reporter, Silent
from dorib.store.store import Store
from dorib.workers.losses import MOST, Losses
from dorib.workers.tasks import WAIT_SECONDS, Schedule
from dorib.workers.worker import Outcome, Plan, Told, Worker

HEAD_TRIES = 5
"""Tries, a second apart, to reach a cluster's head before it is given up."""


class InWorkerError(Exception):
    """A plugin's failure in a worker; its text is the traceback."""


@dataclass(frozen=True)
class _Share:
    """What each worker has to itself."""

    workers: int
    processors: int
    gpus: int


def run_by_ray(
    config: RunConfig, plugins: Sequence[Path] = (), reporter: Reporter | None = None
) -> RunResult:
    """Score every mitigation of `config` against every attack, by workers that share one store.

    Args:
        config: the run's options.
        plugins: files with plugins beside those that are installed.
        reporter: hears of the progress, a unit of which is a task.

    Raises:
        DoribError: Ray is not installed, or not to be reached, or has too few GPUs; workers are
            lost again and again; or as `runner.run`.
    """
    ray = _ray()
    kind, _, index = config.device.partition(":")
    if index:
        raise DoribError(
            f"--device {config.device}: names one device, and workers have one each; give "
            f"--device {kind}"
        )
    with _connected(ray, config) as share:
        return _Pool(ray, config, plugins, reporter or Silent(), share).run()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DoribError(
            "--workers and --ray need Ray, which is not installed: pip install 'dorib[cluster]'"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, config: RunConfig) -> Iterator[_Share]:
    # It warns of its own precaution, a token without which nobody can send it work.
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if config.ray is None:
            # Ray tells its makers how it is used, unless it is told not to.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # By default its workers yield to every other process: beside a plain run they starve.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(
                address="local",
                num_cpus=max(processors(), config.workers or 1),
                include_dashboard=False,
                object_store_memory=100 * 2**20,
                **quiet,
            )
        else:
            ray.init(address=config.ray, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"--ray {config.ray}" if config.ray else "Ray"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DoribError(
            f"{where}: cannot be reached ({reason}); `ray start --head` starts a cluster on this "
            "machine, one that asks for a token takes RAY_AUTH_MODE=token, and --workers without "
            "--ray needs none"
        ) from error
    try:
        yield _share(ray.cluster_resources(), config)
    finally:
        ray.shutdown()


def _share(resources: dict[str, float], config: RunConfig) -> _Share:
    processors, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    if config.device not in ("auto", "cuda") or not gpus:
        workers = config.workers or processors
        return _Share(workers, max(1, processors // workers), 0)
    workers = config.workers or gpus
    if workers > gpus:
        raise DoribError(
            f"--workers {workers}: there are {gpus} GPUs; give at most {gpus}, or --device cpu"
        )
    return _Share(workers, max(1, processors // workers), 1)


class _Pool:
    """The workers of one run, as actors, and what they are doing."""

    def __init__(
        self,
        ray: Any,
        config: RunConfig,
        plugins: Sequence[Path],
        reporter: Reporter,
        share: _Share,
    ) -> None:
        self._ray = ray
        self._reporter = reporter
        self._said: set[str] = set()
        self._losses = Losses(Store(config.out / "store").batches)
        self._anything = False
        self._computed: dict[str, dict[str, Any]] = {}
        # Ray gives a worker as many threads as it has processors, unless OMP_NUM_THREADS is set.
        actor = ray.remote(Worker).options(
            num_cpus=share.processors, num_gpus=share.gpus, max_restarts=-1
        )
        folder = Path.cwd()
        self._actors = [actor.remote(config, plugins, folder) for _ in range(share.workers)]

    def run(self) -> RunResult:
        """All tasks, and what a run leaves behind."""
        plan: Plan = self._certainly(lambda: self._actors[0].plan.remote())
        self._tell(plan.told)
        self._do_all(plan)
        result: RunResult
        result, outcome = self._certainly(lambda: self._actors[0].finish.remote(self._computed))
        self._hand_on(outcome)
        return replace(result, reused=result.reused and not self._anything)

    def _do_all(self, plan: Plan) -> None:
        schedule = Schedule(plan.tasks)
        idle = dict(enumerate(self._actors))
        working: dict[Any, Any] = {}
        subject = f"{len(self._actors)} workers, {schedule.open} tasks"
        with self._reporter.verb("run", subject, schedule.open) as advance:
            while schedule.open:
                for number, actor in list(idle.items()):
                    task = None if self._losses.rest(number) else schedule.next(number)
                    if task is not None:
                        working[actor.work.remote(task, plan.model)] = number, task
                        del idle[number]
                ready = self._returned(working, idle)
                if not ready:
                    schedule.offer_again()
                for call in ready:
                    number, task = working.pop(call)
                    idle[number] = self._actors[number]
                    before = schedule.open
                    outcome = self._outcome(call, number)
                    if outcome is None:
                        schedule.lost(task)
                    else:
                        self._hand_on(outcome)
                        schedule.returned(number, task, finished=outcome.finished)
                    advance(before - schedule.open)
        # Those that were at a task which another has finished: they, too, tell what they computed.
        for call, (number, _) in working.items():
            outcome = self._outcome(call, number)
            if outcome is not None:
                self._hand_on(outcome)

    def _returned(self, working: Collection[Any], idle: Collection[int]) -> list[Any]:
        """Calls that have ended; none once a worker's rest is over, or after a while."""
        rests = [rest for number in idle if (rest := self._losses.rest(number))]
        patience = min([WAIT_SECONDS, *rests])
        if not working:
            time.sleep(patience)
            return []
        ready: list[Any] = self._ray.wait(list(working), timeout=patience)[0]
        return ready

    def _outcome(self, call: Any, worker: int) -> Any:
        """What a call of a worker gave; None where the worker was lost, and is started again."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(call)
        except errors.RayTaskError as error:
            # What the worker raised, without Ray's traceback around it.
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, DoribError) else error) from None
        except errors.RayActorError as error:
            self._count_loss(error, worker)
            return None

    def _certainly(self, ask: Any) -> Any:
        """What a call of the first worker gives, made again where that is lost over it."""
        while (answer := self._outcome(ask(), 0)) is None:
            time.sleep(self._losses.rest(0))
        return answer

    def _count_loss(self, error: BaseException, worker: int) -> None:
        losses = self._losses.add(worker)
        if losses == 1:
            self._reporter.note("a worker was lost; it is started again, and costs one batch")
        # Ray itself ends this process, and says nothing of the store, a minute after its head.
        if not self._head_answers():
            raise DoribError(
                "Ray's head does not answer; is the cluster still running? Once it is started "
                "again the same command goes on with what is stored"
            )
        if losses >= MOST:
            reason = " ".join(str(error).split())
            raise DoribError(
                f"a worker was lost {MOST} times and nothing was stored between; give them more "
                f"memory, or fewer of them ({reason})"
            )

    def _head_answers(self) -> bool:
        host, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
        for _ in range(HEAD_TRIES):
            try:
                with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
                    return True
            except OSError:
                time.sleep(1)
        return False

    def _hand_on(self, outcome: Outcome) -> None:
        self._anything |= outcome.anything
        add_computed(self._computed, outcome.computed)
        self._tell(outcome.told)

    def _tell(self, told: Sequence[Told]) -> None:
        """Tell what a worker was told, once, whoever says it again."""
        for one in told:
            if one.text in self._said:
                continue
            self._said.add(one.text)
            if one.trace is None:
                self._reporter.note(one.text)
            else:
                self._reporter.failure(one.text, InWorkerError(one.trace))
