"""A run by several workers leaves what one process leaves, whichever of them are killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from dorib import runner
from dorib.cli.app import main
from dorib.config import RunConfig, make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.report.board.computing import add_computed
from dorib.testing.suites import save_random_suite
from dorib.workers.losses import LONGEST_REST, MOST, Losses
from dorib.workers.tasks import Schedule, Task
from dorib.workers.worker import Worker
from fixtures.small_runs import everything, left_over

OPTIONS: dict[str, Any] = {
    "mitigation": ["wanda:sparsity=0.1", "prompt-filter"],
    "attack": ["dori", "transfer"],
    "metric": ["clip"],
    "budgets": [24],
    "batch_size": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_suite(tmp_path_factory.mktemp("cluster") / "suite")


def config(suite: Path, out: Path, **options: Any) -> RunConfig:
    return make_config({"suite": str(suite), "out": str(out), **OPTIONS, **options})


@pytest.fixture(scope="module")
def alone_in(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process has left what it leaves."""
    out = tmp_path_factory.mktemp("alone")
    runner.run(config(suite, out), discover())
    return out


@pytest.fixture(scope="module")
def alone(alone_in: Path) -> dict[str, bytes]:
    """What one process leaves."""
    return everything(alone_in)


def told(out: Path) -> tuple[set[str], int]:
    """Fits and cells of which `run.json` tells, and all their U-Net items.

    What cells share is told with the one that had it made, which depends on who came first.
    """
    computed = json.loads((out / "run.json").read_text())["computed"]
    assert all(one["hours"] > 0 for one in computed.values())
    return {*computed}, sum(one.get("items", 0) for one in computed.values())


def command(suite: Path, out: Path, *more: str) -> list[str]:
    methods = [
        part
        for kind in ("mitigation", "attack")
        for m in OPTIONS[kind]
        for part in (f"--{kind}", m)
    ]
    words = ["--metric", "clip", "--budgets", "24", "--batch-size", "1", "--device", "cpu"]
    where = ["--suite", str(suite), "--out", str(out)]
    return [sys.executable, "-m", "dorib", "run", *methods, *words, *where, *more]


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_two_workers_in_turn_leave_what_one_process_leaves(
    suite: Path, alone: dict[str, bytes], alone_in: Path, tmp_path: Path
) -> None:
    asked = config(suite, tmp_path)
    workers = [Worker(asked, (), Path.cwd()) for _ in range(2)]
    plan = workers[0].plan()
    # None of row 0 first: each is then done by way of what others need of it.
    schedule = Schedule(reversed(plan.tasks))
    computed: dict[str, dict[str, Any]] = {}
    while schedule.open:
        for number, worker in enumerate(workers):
            task = schedule.next(number)
            if task is not None:
                outcome = worker.work(task, plan.model)
                add_computed(computed, outcome.computed)
                schedule.returned(number, task, finished=outcome.finished)
    result, outcome = workers[1].finish(computed)
    assert result.reused
    assert not outcome.anything
    assert left_over(tmp_path) == []
    assert everything(tmp_path) == alone
    assert told(tmp_path) == told(alone_in)


def test_a_worker_that_would_compute_something_else_is_refused(suite: Path, tmp_path: Path) -> None:
    worker = Worker(config(suite, tmp_path), (), Path.cwd())
    with pytest.raises(DoribError, match="other libraries"):
        worker.work(Task(0, None), "what another dorib says")


def test_a_worker_without_the_folder_says_so(suite: Path, tmp_path: Path) -> None:
    worker = Worker(config(suite, tmp_path), (), tmp_path / "elsewhere")
    with pytest.raises(DoribError, match="all machines share"):
        worker.plan()


def test_what_fails_in_a_worker_is_told(suite: Path, tmp_path: Path) -> None:
    worker = Worker(config(suite, tmp_path, mitigation=["nemo:seeds=1,layers=[none]"]), (), Path())
    with pytest.raises(DoribError):
        worker.plan()


def test_without_ray_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for option in (["--workers", "2"], ["--ray", "auto"]):
        with pytest.raises(SystemExit) as exit:
            main(["run", *option])
        assert exit.value.code == 2
        [line] = capfd.readouterr().err.splitlines()
        assert "pip install 'dorib[cluster]'" in line


def test_a_lost_worker_rests_twice_as_long_each_time_until_something_is_stored() -> None:
    now, stored = 0.0, 7
    losses = Losses(lambda: stored, lambda: now)
    assert losses.rest(0) == 0
    rests = []
    for number in range(1, MOST + 1):
        assert losses.add(0) == number
        rests.append(losses.rest(0))
    assert rests == [1, 2, 4, 8, 16, *[LONGEST_REST] * (MOST - 5)]
    # Each for itself: a whole cluster may be lost at once.
    assert [losses.add(worker) for worker in range(1, 500)] == [1] * 499
    now += 1
    assert (losses.rest(1), losses.rest(0)) == (0, LONGEST_REST - 1)
    stored += 1
    assert losses.add(0) == 1


@pytest.fixture(scope="module")
def ray() -> Any:
    return pytest.importorskip("ray", reason="the extra `cluster` is not installed")


def test_workers_leave_what_one_process_leaves(
    ray: Any, suite: Path, alone: dict[str, bytes], alone_in: Path, tmp_path: Path
) -> None:
    run = subprocess.run(
        command(suite, tmp_path, "--workers", "2"), env=one_thread(), text=True, capture_output=True
    )
    assert run.returncode == 0, run.stderr
    assert "2 workers" in run.stderr
    assert everything(tmp_path) == alone
    # Their items are no fewer: who waits for a batch counts it as well.
    names, items = told(tmp_path)
    assert names == told(alone_in)[0]
    assert items >= told(alone_in)[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--device", "cuda:0"], "names one device"),
        (["--suite", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    ray: Any, suite: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    run = subprocess.run(
        command(suite, tmp_path, "--workers", "1", *options),
        env=one_thread(),
        text=True,
        capture_output=True,
    )
    assert run.returncode == 2
    [line] = [line for line in run.stderr.splitlines() if line.startswith("dorib: error:")]
    assert problem in line
    assert "Traceback" not in run.stderr


def workers_of(driver: int) -> list[psutil.Process]:
    """The processes in which a run's workers are."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "ray::Worker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_workers(run: subprocess.Popen[str], kills: int, rng: random.Random) -> int:
    """Kill a worker at each of so many moments while the run goes on; gives how many it came to."""
    killed = 0
    while run.poll() is None and killed < kills:
        time.sleep(rng.uniform(0.5, 6))
        if workers := workers_of(run.pid) if run.poll() is None else []:
            rng.choice(workers).kill()
            killed += 1
    return killed


def finished(out: Path) -> dict[str, bytes]:
    """`everything` but what a killed worker was writing: it is swept up an hour later."""
    files = everything(out).items()
    return {name: content for name, content in files if "/.writing-" not in name}


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_workers_are_killed_at_any_moment(
    ray: Any, suite: Path, alone: dict[str, bytes], tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    killed = number = 0
    while killed < kills:
        out = tmp_path / f"out-{number}"
        number += 1
        with subprocess.Popen(
            command(suite, out, "--workers", "2"),
            env=one_thread(),
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as run:
            killed += kill_workers(run, kills - killed, rng)
            _, printed = run.communicate()
        assert run.returncode == 0, printed
        assert finished(out) == alone


@pytest.mark.slow
def test_the_driver_is_killed_and_the_run_goes_on(
    ray: Any, suite: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    asked = command(suite, tmp_path, "--workers", "2")
    with subprocess.Popen(asked, env=one_thread(), stderr=subprocess.DEVNULL) as run:
        while not list(tmp_path.glob("store/triggers/*/batch-*")):
            assert run.poll() is None
            time.sleep(0.1)
        run.kill()
    again = subprocess.run(asked, env=one_thread(), text=True, capture_output=True)
    assert again.returncode == 0, again.stderr
    assert finished(tmp_path) == alone


PORT = "26379"
ADDRESS = f"127.0.0.1:{PORT}"
OPEN = {"RAY_AUTH_MODE": "disabled"}
LOCKED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@contextmanager
def started_cluster(access: dict[str, str] = OPEN) -> Iterator[subprocess.Popen[bytes]]:
    """The process that holds a cluster of this machine alone."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    settings = ["--num-cpus=2", f"--port={PORT}", "--include-dashboard=false"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    environment = {**one_thread(), **quiet, **access}
    with subprocess.Popen([*start, *settings], env=environment, stdout=subprocess.PIPE) as head:
        yield head
        head.terminate()


def run_on_cluster(asked: list[str], access: dict[str, str] = OPEN) -> None:
    """Run as soon as the cluster is up."""
    environment = {**one_thread(), "RAY_ADDRESS": ADDRESS, **access}
    deadline = time.monotonic() + 180
    while True:
        run = subprocess.run(asked, env=environment, text=True, capture_output=True)
        if run.returncode == 0 or time.monotonic() > deadline:
            break
        assert "cannot be reached" in run.stderr
    assert run.returncode == 0, run.stderr
    assert "2 workers" in run.stderr


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_gets_it(
    ray: Any, suite: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    asked = command(suite, tmp_path, "--ray", ADDRESS)
    with started_cluster(LOCKED):
        run_on_cluster(asked, LOCKED)
        without = {**one_thread(), **OPEN}
        refused = subprocess.run(asked, env=without, text=True, capture_output=True)
    assert everything(tmp_path) == alone
    assert refused.returncode == 2
    assert "takes RAY_AUTH_MODE=token" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("address", ["auto", ADDRESS])
def test_a_running_cluster_does_the_work(
    ray: Any, suite: Path, alone: dict[str, bytes], tmp_path: Path, address: str
) -> None:
    with started_cluster():
        run_on_cluster(command(suite, tmp_path, "--ray", address))
    assert everything(tmp_path) == alone


@pytest.mark.slow
def test_the_head_is_killed_and_the_run_goes_on_with_another(
    ray: Any, suite: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    asked = command(suite, tmp_path / "out", "--ray", ADDRESS)
    with started_cluster() as head:
        run_on_cluster(command(suite, tmp_path / "warm", "--ray", ADDRESS))
        with subprocess.Popen(
            asked,
            env={**one_thread(), **OPEN},
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as run:
            while not list((tmp_path / "out").glob("store/triggers/*/batch-*")):
                assert run.poll() is None
                time.sleep(0.1)
            for process in [*psutil.Process(head.pid).children(recursive=True), head]:
                process.kill()
            _, printed = run.communicate()
    assert run.returncode == 2, printed
    [line] = [line for line in printed.splitlines() if line.startswith("dorib: error:")]
    assert "is the cluster still running?" in line
    assert "Traceback" not in printed
    with started_cluster():
        run_on_cluster(asked)
    assert finished(tmp_path / "out") == alone
