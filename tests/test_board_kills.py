"""Runs that are killed at operations on files: the board that they leave has all finished cells."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dorib.report.opened import open_results
from fixtures.forks import Forks
from fixtures.small_runs import job, report, small_suite

TELLING = """
from dorib.report.board.publishing import Publisher

publish = Publisher.publish

def telling(self, cell, *others):
    publish(self, cell, *others)
    print("FINISHED", *cell.labels, flush=True)

Publisher.publish = telling
"""
PLANNED = {
    (m, a) for m in ("none", "wanda:sparsity=0.1", "prompt-filter") for a in ("none", "dori")
}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("logs")) as parent:
        yield parent


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_point_a_run_leaves_a_board_with_all_finished_cells(
    forks: Forks,
    tiny_suite_folder: Path,
    tmp_path: Path,
    kills: int,
) -> None:
    suite = small_suite(tiny_suite_folder, tmp_path / "suite")
    [whole] = forks.together([job(suite, tmp_path / "whole", before=TELLING)])
    operations, rng = report(whole).operations, random.Random(kills)
    # One in each stretch of the run, so that early and late points are among them.
    for number in range(kills):
        stretch = operations // kills
        at = number * stretch + rng.randint(1, stretch)
        out = tmp_path / f"out-{number}"
        [ended] = forks.together([job(suite, out, at, before=TELLING)])
        assert ended.status == -signal.SIGKILL, ended.printed
        lines = [line.split() for line in ended.printed.splitlines()]
        finished = [(words[1], words[2]) for words in lines if words[0] == "FINISHED"]
        if not (out / "leaderboard.json").exists():
            assert not finished
            continue
        opened = open_results(out)
        there = [(entry.mitigation.label, entry.attack.label) for entry in opened.entries]
        # The next one may be whole as well, if the kill came right behind it.
        assert set(finished) <= set(there)
        assert len(there) <= len(finished) + 1
        missing = {(cell.mitigation, cell.attack) for cell in opened.leaderboard.unfinished}
        assert missing == PLANNED - set(there)
        assert {r.attack for r in opened.records()} >= {attack for _, attack in finished}
        for row in opened.leaderboard.rows:
            lacking = {a for m, a in missing if m == row.mitigation.label}
            assert row.rank is None or not lacking & set(opened.leaderboard.required_attacks)
