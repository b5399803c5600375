"""Forged entries and leaderboards: each is refused in one line, and none is shown.

A forger here is thorough: where one entry is changed, the leaderboard is written anew from the
changed entries, so that only what the entries themselves contradict gives them away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dorib.cli.app import BAD_INPUT, main
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.ranking.entry_fields import SuiteFacts
from dorib.ranking.leaderboard import write_leaderboard
from dorib.ranking.rank import rank
from dorib.report.site.boards import read_board
from dorib.suites.suite import Suite, load_suite
from fixtures.forgeries import (
    BOARD_FORGERIES,
    ENTRY_FORGERIES,
    HIDE,
    PUBLISHED_FORGERIES,
    Forge,
    mirror_on_board,
    put,
)
from fixtures.forgeries_of_a_second_judge import SECOND_JUDGE_FORGERIES
from fixtures.scored import CELLS, RECORDS, RECORDS_TWICE, RUN, RUN_TWICE
from fixtures.suites import add_second_descriptor, drop_second_descriptor

PUBLISHED = Path(__file__).parents[1] / "leaderboards" / "tiny-4.1"
CASES = sorted((Path(__file__).parents[2] / "shared" / "cases").glob("forge-*"))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of a made-up run, whose suite is installed nowhere."""
    folder = tmp_path_factory.mktemp("honest")
    write_leaderboard(folder, rank(RUN, CELLS, RECORDS))
    return folder


@pytest.fixture(scope="module")
def judged_twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of a suite with a second judge."""
    folder = tmp_path_factory.mktemp("twice")
    write_leaderboard(folder, rank(RUN_TWICE, CELLS, RECORDS_TWICE))
    return folder


def forged(source: Path, copy: Path) -> Path:
    shutil.copytree(source / "entries", copy / "entries")
    shutil.copy(source / "leaderboard.json", copy)
    return copy


def change(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def assert_refused(folder: Path, registry: Registry, said: str) -> None:
    with pytest.raises(DoribError) as caught:
        read_board(folder, registry)
    message = str(caught.value)
    assert said in message, message
    assert message.startswith(str(folder)) and "\n" not in message and len(message) < 1000


def test_there_are_at_least_seventy() -> None:
    assert len(ENTRY_FORGERIES) + len(BOARD_FORGERIES) + len(PUBLISHED_FORGERIES) >= 70


def test_the_honest_ones_are_shown(honest: Path, registry: Registry) -> None:
    assert read_board(honest, registry).entries[0].schema_version == 4
    assert read_board(PUBLISHED, registry).entries[0].schema_version == 1


@pytest.mark.parametrize("name", ENTRY_FORGERIES)
def test_a_forged_entry_is_refused(
    name: str, honest: Path, registry: Registry, tmp_path: Path
) -> None:
    assert_forgery_is_refused(honest, ENTRY_FORGERIES[name], registry, tmp_path)


@pytest.mark.parametrize("name", SECOND_JUDGE_FORGERIES)
def test_a_second_judge_that_is_forged_is_refused(
    name: str, judged_twice: Path, registry: Registry, tmp_path: Path
) -> None:
    assert read_board(judged_twice, registry).entries[0].second_judge is not None
    assert_forgery_is_refused(judged_twice, SECOND_JUDGE_FORGERIES[name], registry, tmp_path)


def test_a_second_judge_that_no_stack_names_is_refused(
    honest: Path, judged_twice: Path, registry: Registry, tmp_path: Path
) -> None:
    entry = json.loads((judged_twice / "entries" / HIDE).read_text())
    forge = put("second_judge", entry["second_judge"])
    said = "second_judge: there just where the stack names it"
    assert_forgery_is_refused(honest, (HIDE, forge, said), registry, tmp_path)


def assert_forgery_is_refused(
    source: Path, forgery: tuple[str, Forge, str], registry: Registry, tmp_path: Path
) -> None:
    file, forge, said = forgery
    folder = forged(source, tmp_path / "forged")
    path = folder / "entries" / file
    before = path.read_text()
    change(path, forge)
    assert json.loads(path.read_text()) != json.loads(before), "nothing was forged"
    mirror_on_board(folder, file)
    assert_refused(folder, registry, said)


@pytest.mark.parametrize("name", BOARD_FORGERIES)
def test_a_forged_leaderboard_is_refused(
    name: str, honest: Path, registry: Registry, tmp_path: Path
) -> None:
    forge, said = BOARD_FORGERIES[name]
    folder = forged(honest, tmp_path / "forged")
    forge(folder)
    assert_refused(folder, registry, said)


@pytest.mark.parametrize("name", PUBLISHED_FORGERIES)
def test_a_leaderboard_forged_beside_its_suite_is_refused(
    name: str, registry: Registry, tmp_path: Path
) -> None:
    """The published one names an installed suite, which knows what was to be run."""
    forge, said = PUBLISHED_FORGERIES[name]
    folder = forged(PUBLISHED, tmp_path / "forged")
    forge(folder)
    assert_refused(folder, registry, said)


def test_a_run_of_some_samples_cannot_claim_a_suite_s_profile(
    registry: Registry, tmp_path: Path
) -> None:
    suite = load_suite("tiny", registry)
    profile = suite.manifest.full
    facts = SuiteFacts(name="tiny", version=suite.manifest.version, digest=suite.digest())
    required = suite.manifest.required_attacks
    claimed = replace(
        RUN_TWICE, suite=facts, required_attacks=required, k=profile.seeds, budgets=profile.budgets
    )
    for name, said in (("custom", None), ("full", "samples are 12, but 32 in the profile full")):
        folder = tmp_path / name
        run = replace(claimed, profile=name)
        write_leaderboard(
            folder, rank(run, [replace(cell, work={}) for cell in CELLS], RECORDS_TWICE)
        )
        if said:
            assert_refused(folder, registry, said)
        else:
            assert read_board(folder, registry).leaderboard.suite == facts


def test_a_second_judge_struck_from_everything_is_missed_beside_its_suite(
    registry: Registry, tmp_path: Path
) -> None:
    """No entry tells of it, and no stack: but the suite has one. And the other way round."""
    alone, twice = tmp_path / "alone", tmp_path / "twice"
    for copy in (alone, twice):
        shutil.copytree(load_suite("tiny", registry).root, copy)
    add_second_descriptor(twice)
    drop_second_descriptor(alone)
    for place, run, records, said in (
        (twice, RUN, RECORDS, "second_judge is left out"),
        (alone, RUN_TWICE, RECORDS_TWICE, "second_judge is stated, which is none"),
        (twice, RUN_TWICE, RECORDS_TWICE, None),
    ):
        suite = Suite.load(place)
        facts = SuiteFacts(name="tiny", version=suite.manifest.version, digest=suite.digest())
        required = suite.manifest.required_attacks
        claimed = replace(run, suite=facts, required_attacks=required, profile="custom")
        folder = tmp_path / f"{place.name}-{said is None}"
        write_leaderboard(folder, rank(claimed, CELLS, records))
        installed = replace(registry.get("suite", "tiny"), target=str(place))
        known = Registry({("suite", "tiny"): installed})
        if said:
            assert_refused(folder, known, said)
        else:
            assert read_board(folder, known).leaderboard.suite == facts


def test_nothing_is_written_beside_a_forged_one(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = forged(honest, tmp_path / "forged")
    file, forge, _ = ENTRY_FORGERIES["more hits than samples"]
    change(folder / "entries" / file, forge)
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["site", str(folder)])
    assert ended.value.code == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(not CASES, reason="no recorded forgeries beside the checkout")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_forgery_is_refused(case: Path, registry: Registry, tmp_path: Path) -> None:
    assert_refused(forged(case, tmp_path / "forged"), registry, "run again")
