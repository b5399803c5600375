"""A board that grows: rows of other runs stay, other boards are refused, all is made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dorib import runner
from dorib.cli.app import main
from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.facts import CellFacts
from dorib.report import results
from dorib.report.opened import open_results
from dorib.report.run_result import RunResult
from dorib.runner import run
from fixtures.small_runs import make_older
from fixtures.suites import save_suite

HIDE, WANDA = "prompt-filter", "wanda:sparsity=0.1"
SMALL = {"attack": ["none"], "metric": ["sscd"], "limit": 1, "seeds": 1, "budgets": [24]}
DAYS = 24 * 3600


def run_on(suite: Path, out: Path, *mitigations: str, **options: Any) -> RunResult:
    where = {"suite": str(suite), "out": str(out), "mitigation": list(mitigations)}
    return run(make_config({**SMALL, **where, **options}), discover())


def cells(out: Path) -> list[tuple[str, str]]:
    return [(e.mitigation.label, e.attack.label) for e in open_results(out).entries]


def for_readers(out: Path) -> dict[str, bytes]:
    """All that a run leaves beside its store.

    Left out are `run.json`, which tells of time, and the gallery, which a run alone makes.
    """
    files = (path for path in out.rglob("*") if path.is_file())
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
    return {
        name: content
        for name, content in found.items()
        if name != "run.json" and not name.startswith(("store/", "gallery/"))
    }


def stored(out: Path) -> set[str]:
    return {p.relative_to(out).as_posix() for p in (out / "store").rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gone by the time that reports are made anew: nothing of it may be asked for."""
    folder = save_suite(tmp_path_factory.mktemp("growing") / "suite")
    yield folder


@pytest.fixture(scope="module")
def grown(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on one folder: the second under another version of dorib."""
    out = tmp_path_factory.mktemp("grown") / "out"
    run_on(suite, out, HIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "version", lambda name: "99.0")
        run_on(suite, out, WANDA)
    return out


@pytest.fixture
def out(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "out"))


def test_rows_of_another_run_stay_and_are_named_as_older(grown: Path) -> None:
    opened = open_results(grown)
    assert cells(grown) == [(m, "none") for m in ("none", "retrain", HIDE, WANDA)]
    older = {e.mitigation.label: e.older for e in opened.entries}
    first = next(e for e in opened.entries if e.mitigation.label == HIDE)
    assert older == {
        "none": None,
        "retrain": None,
        WANDA: None,
        HIDE: f"made by dorib {first.environment.dorib}",
    }
    assert [row.mitigation.label for row in opened.leaderboard.rows] == [HIDE, WANDA]
    assert opened.leaderboard.unfinished == ()
    assert {r.mitigation for r in opened.records()} == {"none", "retrain", HIDE, WANDA}


def test_entries_name_the_machine_and_the_run_s_file_the_time(grown: Path) -> None:
    for entry in open_results(grown).entries:
        assert entry.environment.processor
        assert entry.environment.threads
    content = json.loads((grown / "run.json").read_text())
    assert set(content["computed"]) >= {f"{WANDA} x none", WANDA}
    fit = content["computed"][WANDA]
    assert fit["items"] > 0 and fit["hours"] > 0 and fit["items_per_second"] > 0
    assert "hours" not in (grown / "leaderboard.json").read_text()


def test_the_same_run_again_leaves_the_same_bytes_and_wins_over_its_older_rows(
    suite: Path, grown: Path, out: Path
) -> None:
    before, told = for_readers(out), (out / "run.json").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "version", lambda name: "99.0")
        again = run_on(suite, out, WANDA)
        assert again.reused
        assert for_readers(out) == before
        assert (out / "run.json").read_bytes() == told
        run_on(suite, out, HIDE)
    assert [entry.older for entry in open_results(out).entries] == [None] * 4
    assert cells(out) == cells(grown)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 2}, "has k 1, and this run 2"),
        ({"split": "dev"}, "has split test, and this run dev"),
        ({"seeds": None, "budgets": None, "limit": None}, "has profile custom, and this run quick"),
        ({"budgets": [12, 24]}, "has budgets 24, and this run 12, 24"),
        ({"metric": ["sscd", "clip"]}, "has metrics sscd, and this run clip, sscd"),
        ({"root_seed": 1}, "is of another root seed than this run"),
    ],
)
def test_a_run_that_cannot_stand_on_the_board_is_refused_before_work(
    suite: Path, out: Path, options: dict[str, Any], said: str
) -> None:
    before, in_store = for_readers(out), stored(out)
    given = {name: value for name, value in {**SMALL, **options}.items() if value is not None}
    config = make_config({"suite": str(suite), "out": str(out), "mitigation": [WANDA], **given})
    with pytest.raises(DoribError) as caught:
        run(config, discover())
    message = str(caught.value)
    assert said in message and "give another --out" in message and "\n" not in message
    assert (for_readers(out), stored(out)) == (before, in_store)


def test_another_version_of_the_suite_is_refused(suite: Path, out: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(suite, tmp_path / "suite"))
    manifest = other / "suite.yaml"
    manifest.write_text(manifest.read_text().replace("version: '1'", "version: '2'"))
    with pytest.raises(DoribError, match="has suite random 1, and this run random 2; give another"):
        run_on(other, out, WANDA)


def test_a_leaderboard_without_its_store_is_refused(suite: Path, out: Path) -> None:
    shutil.rmtree(out / "store")
    with pytest.raises(DoribError, match="comes without what it was made from"):
        run_on(suite, out, WANDA)


def test_a_board_is_begun_anew_where_its_leaderboard_was_moved_away(suite: Path, out: Path) -> None:
    (out / "leaderboard.json").unlink()
    run_on(suite, out, WANDA)
    assert (HIDE, "none") not in cells(out)


def test_a_method_that_refuses_late_costs_its_own_row_alone(suite: Path, tmp_path: Path) -> None:
    result = run_on(suite, tmp_path, "wanda:sparsity=0.000001", HIDE)
    assert [reason for reason in result.failed if "sparsity=1e-06 masks none" in reason]
    errors = {entry.mitigation.label: entry.errors for entry in result.entries}
    assert errors.pop("wanda:sparsity=1e-06") > 0
    assert errors == {"none": 0, "retrain": 0, HIDE: 0}


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_copied_store_alone_gives_the_same_bytes_without_suite_and_weights(
    suite: Path, grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(grown / "store", tmp_path / "copy" / "store")
    away = suite.rename(suite.with_name("away"))
    monkeypatch.setattr("dorib.suites.suite.Suite.load", None)
    monkeypatch.setattr("dorib.target.loading.load_pipeline", None)
    try:
        assert call("report", tmp_path / "copy") == 0
    finally:
        away.rename(suite)
    assert for_readers(tmp_path / "copy") == for_readers(grown)


def test_a_damaged_part_of_a_board_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = next((out / "store" / "boards").glob("*/cell.*.jsonl"))
    part.write_text(part.read_text().replace("0.", "1.", 1))
    assert call("report", out) == 2
    error = capsys.readouterr().err
    assert part.name in error and "damaged" in error and error.count("\n") == 1


def test_a_store_is_listed_and_measured(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("store", "ls", out, "--json") == 0
    shelves = json.loads(capsys.readouterr().out)
    kinds = {one["shelf"].partition("/")[0] for one in shelves}
    assert kinds == {"boards", "checks", "edits", "images", "records", "triggers"}
    assert all(one["needed"] and one["bytes"] >= 0 for one in shelves)
    edits = [one["cells"] for one in shelves if one["shelf"].startswith("edits/")]
    assert [{"mitigation": WANDA, "attack": "none"}] in edits
    assert call("store", "du", out, "--json") == 0
    sizes = json.loads(capsys.readouterr().out)
    on_disk = sum((out / name).stat().st_size for name in stored(out) if name.count("/") > 2)
    assert sizes["bytes"] == on_disk == sum(sizes["kinds"].values())
    assert call("store", "ls", out) == call("store", "du", out) == 0
    assert WANDA in capsys.readouterr().out
    for command in (["store", "ls"], ["report"]):
        assert call(*command, out, "--board", "no-such") == 2
        assert "no " in capsys.readouterr().err.partition("board")[0]


def test_what_is_damaged_is_named_and_stays(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("store", "verify", out) == 0
    image = next((out / "store" / "images").glob("*/batch-*/*.png"))
    image.write_bytes(b"x" * image.stat().st_size)
    key = next((out / "store" / "edits").glob("*/key.json"))
    key.write_text("{}")
    listed = next((out / "store" / "boards").glob("*/row.*.jsonl"))
    listed.write_text("x")
    original = next((out / "store" / "boards").glob("*/original.*.png"))
    original.write_bytes(original.read_bytes()[:100])
    before = stored(out)
    capsys.readouterr()
    assert call("store", "verify", out) == 1
    said = capsys.readouterr().out
    for path in (image.parent, key, listed, original):
        assert path.relative_to(out / "store").as_posix() in said
    assert stored(out) == before


def test_only_what_no_entry_was_made_from_is_pruned(
    suite: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "leaderboard.json").unlink()
    run_on(suite, out, HIDE)
    left = for_readers(out)
    before = stored(out)
    assert call("store", "prune", out, "--yes") == 0
    # Touched within the hour: a run may be at work on it.
    assert stored(out) == before
    make_older(out, 40 * DAYS)
    capsys.readouterr()
    assert call("store", "prune", out, "--older-than", "8w") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert call("store", "prune", out, "--older-than", "30d") == 0
    said = capsys.readouterr().out
    assert WANDA in said
    assert stored(out) == before
    assert call("store", "prune", out, "--yes") == 0
    assert stored(out) < before
    assert call("report", out) == call("store", "verify", out) == 0
    assert for_readers(out) == left
    assert run_on(suite, out, HIDE).reused


def test_an_age_that_is_none_is_one_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("store", "prune", out, "--older-than", "soon") == 2
    assert "give for example 12h, 30d or 8w" in capsys.readouterr().err
    assert call("store", "ls", out / "nowhere") == 2
    assert call("report", out / "nowhere") == 2


@pytest.mark.parametrize("attacks", [["none"], ["dori"]], ids=lambda attacks: attacks[0])
def test_rows_leave_with_the_reference_line_that_they_are_read_against(
    suite: Path, tmp_path: Path, attacks: list[str]
) -> None:
    """The unmitigated model is another one to the code of the second run."""
    out = tmp_path / "out"
    run_on(suite, out, HIDE, attack=["dori"])
    of_before = runner.cell_facts

    def other_facts(*arguments: Any) -> CellFacts:
        facts = of_before(*arguments)
        unmitigated = facts.mitigation.name == "none"
        return replace(facts, fit_work=facts.fit_work + 1) if unmitigated else facts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "cell_facts", other_facts)
        run_on(suite, out, WANDA, attack=attacks)
    there = cells(out)
    assert (HIDE, "dori") not in there
    assert {("none", "none"), (WANDA, "none"), (HIDE, "none")} <= set(there)
    assert all(("none", attack) in there for _, attack in there)
    run_on(suite, out, HIDE, attack=["dori"])
