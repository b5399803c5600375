"""Runs that are killed at operations on files, and runs at the same time on one folder."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.forks import Forks
from fixtures.small_runs import everything, job, left_over, make_older, report, small_suite


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("logs")) as parent:
        yield parent


@pytest.fixture(scope="module")
def suite(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_suite(tiny_suite_folder, tmp_path_factory.mktemp("kills") / "suite")


@pytest.fixture(scope="module")
def undisturbed(
    forks: Forks, suite: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], int]:
    """All files of a whole run, and how many operations on files it took."""
    out = tmp_path_factory.mktemp("undisturbed")
    [ended] = forks.together([job(suite, out)])
    return everything(out), report(ended).operations


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(0, 4), *(pytest.param(seed, 25, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))],
)
def test_killed_at_any_operation_a_run_ends_with_the_same_bytes(
    forks: Forks,
    suite: Path,
    undisturbed: tuple[dict[str, bytes], int],
    tmp_path: Path,
    seed: int,
    kills: int,
) -> None:
    expected, operations = undisturbed
    rng = random.Random(seed)
    killed, number = 0, 0
    while killed < kills:
        out = tmp_path / f"out-{number}"
        number += 1
        while True:
            # Of what is left of a run, a part: so that it is cut short many times over.
            at = rng.randint(1, operations // 4) if killed < kills else 0
            [ended] = forks.together([job(suite, out, at)])
            if ended.status == 0:
                break
            assert ended.status == -signal.SIGKILL, ended.printed
            assert "killed at" in ended.printed
            killed += 1
        make_older(out, 2 * 3600)
        [again] = forks.together([job(suite, out)])
        assert report(again).reused
        assert report(again).notes == []
        assert left_over(out) == []
        assert everything(out) == expected


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_at_the_same_time_on_one_folder_all_end_well(
    forks: Forks,
    suite: Path,
    undisturbed: tuple[dict[str, bytes], int],
    tmp_path: Path,
    runs: int,
) -> None:
    ended = forks.together([job(suite, tmp_path)] * runs)
    assert [report(one).notes for one in ended] == [[]] * runs
    assert left_over(tmp_path) == []
    assert everything(tmp_path) == undisturbed[0]


def test_what_another_run_is_writing_now_is_left_alone(
    forks: Forks, suite: Path, tmp_path: Path
) -> None:
    forks.together([job(suite, tmp_path)])
    shelf = next((tmp_path / "store" / "images").iterdir())
    (shelf / ".writing-0123456789abcdef").mkdir()
    (shelf / ".writing-0123456789abcdef" / "half.png").write_bytes(b"half")
    (tmp_path / ".writing-0123456789abcdef.json").write_text("{")
    [again] = forks.together([job(suite, tmp_path)])
    assert report(again).reused
    assert len(left_over(tmp_path)) == 2
