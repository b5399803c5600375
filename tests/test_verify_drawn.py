"""Rows verified by some of their samples, drawn by lot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.replay.comparing import Outcome
from dorib.replay.lot import Lot
from dorib.replay.verifying import Verified, verify
from dorib.report.witnesses.values import read_values, write_values
from dorib.report.witnesses.writing import write_witnesses
from dorib.reporting import Silent
from dorib.runner import run
from fixtures.suites import write_manifest

OPTIONS = {"mitigation": ["wanda:sparsity=0.2"], "attack": ["seeds"], "limit": 2, "seeds": 2}
ENTRY = "wanda-6e180b13.seeds"
LOT = Lot(1, seed=0)


@pytest.fixture(scope="module")
def published(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    options = OPTIONS | {"suite": str(tiny_suite_folder), "out": str(out), "budgets": [24]}
    run(make_config(options), discover())
    write_witnesses(out, pytest.fail)
    shutil.rmtree(out / "store")
    return out


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


def _verified(path: Path, suite: Path, kept: Path) -> Verified:
    return verify(path, discover(), Silent(), suite=str(suite), out=kept, lot=LOT)


def test_an_honest_leaderboard_is_the_same_in_what_is_drawn(
    published: Path, tiny_suite_folder: Path, kept: Path
) -> None:
    found = _verified(published, tiny_suite_folder, kept)
    assert [cell.reasons for cell in found.cells] == [()] * 6
    assert found.outcome == Outcome.SAME
    drawn = {tuple(cell.samples) for cell in found.cells}
    assert len(drawn) == 1
    assert len(drawn.pop()) == 2
    images = {path.stem.rsplit("-", 1)[0] for path in kept.rglob("*.png")}
    assert len({name for name in images if "memorized" in name}) == 1
    prompts = {tuple(cell.prompts) for cell in found.cells}
    assert len(prompts) == 1
    assert {name for name in images if "utility" in name} == {*prompts.pop()}
    utility = read_values(published / "witnesses" / "none.utility.safetensors").samples
    assert len(found.cells[0].prompts) == len(utility) / 2


@pytest.mark.parametrize(
    ("table", "metric", "places"),
    [
        (f"{ENTRY}.values", "sscd_original", ("memorized-0", "memorized-1")),
        (f"{ENTRY.split('.')[0]}.utility", "clip_alignment", ("utility-0000", "utility-0001")),
    ],
)
def test_a_figure_that_follows_from_no_values_is_found(
    table: str,
    metric: str,
    places: tuple[str, str],
    published: Path,
    tiny_suite_folder: Path,
    kept: Path,
    tmp_path: Path,
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    # Of all, whichever were drawn.
    for at in places:
        path = copy / "witnesses" / f"{table}.safetensors"
        values = read_values(path)
        row = next(row for row, (name, _) in enumerate(values.places) if name.endswith(at))
        values.by_metric[metric][row] += 0.25
        write_values(values, path)
        found = _verified(copy / "entries" / f"{ENTRY}.json", tiny_suite_folder, kept)
        assert found.outcome == Outcome.NOT_SO, at
        shutil.copy(published / "witnesses" / path.name, path)


@pytest.mark.parametrize(
    ("apart", "outcome"), [(0.0005, Outcome.WITHIN_TOLERANCE), (0.005, Outcome.NOT_SO)]
)
def test_other_batches_may_round_and_no_more(
    apart: float,
    outcome: Outcome,
    published: Path,
    tiny_suite_folder: Path,
    kept: Path,
    tmp_path: Path,
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    path = copy / "witnesses" / f"{ENTRY}.values.safetensors"
    values = read_values(path)
    values.by_metric["clip_alignment"] += apart
    write_values(values, path)
    found = _verified(copy / "entries" / f"{ENTRY}.json", tiny_suite_folder, kept)
    assert found.outcome == outcome, found.cells[0].reasons


def test_a_sample_without_values_is_found(
    published: Path, tiny_suite_folder: Path, kept: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    path = copy / "witnesses" / f"{ENTRY}.values.safetensors"
    values = read_values(path)
    drawn = _verified(copy / "entries" / f"{ENTRY}.json", tiny_suite_folder, kept).cells[0].samples
    rows = [row for row, (name, _) in enumerate(values.places) if name in drawn]
    write_values(
        type(values)(
            tuple(values.places[row] for row in rows),
            {metric: table[rows] for metric, table in values.by_metric.items()},
        ),
        path,
    )
    [cell] = _verified(copy / "entries" / f"{ENTRY}.json", tiny_suite_folder, kept).cells
    assert cell.outcome == Outcome.NOT_SO
    assert any("not at all" in reason for reason in cell.reasons)


def test_which_are_drawn_is_a_matter_of_the_seed() -> None:
    assert Lot.of(1, 7) == Lot(1, 7)
    assert len({Lot.of(1).seed for _ in range(3)}) > 1


def test_the_lot_is_told(
    published: Path, tiny_suite_folder: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = str(published / "entries" / f"{ENTRY}.json")
    more = ["--suite", str(tiny_suite_folder), "--out", str(kept), "--draw", "1", "--lot", "0"]
    with pytest.raises(SystemExit):
        main(["verify", entry, *more])
    assert capsys.readouterr().out.endswith("1 same (1 of each role, lot 0)\n")
    with pytest.raises(SystemExit):
        main(["verify", entry, *more, "--json"])
    assert json.loads(capsys.readouterr().out)["lot"] == {"size": 1, "seed": 0}


def test_attacks_that_no_row_is_ranked_by_may_be_left_out(suite_copy: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    write_manifest(suite_copy, content | {"required_attacks": ["none"]})
    out = tmp_path / "out"
    options = OPTIONS | {"suite": str(suite_copy), "out": str(out), "limit": 1, "budgets": [24]}
    run(make_config(options), discover())
    write_witnesses(out, pytest.fail)
    found = verify(out, discover(), Silent(), suite=str(suite_copy), required_only=True)
    assert {cell.attack for cell in found.cells} == {"none"}
    assert len(found.cells) == 3
    assert found.outcome == Outcome.SAME


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--lot", "3"], "give --draw"),
        (["--draw", "0"], "from 1 up"),
        (["--draw", "2", "--lot", "-1"], "from 0 up"),
        (["--draw", "2", "--by", "B. Reader"], "leave out --draw"),
    ],
)
def test_what_draws_nothing_is_refused_in_a_line(
    published: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["verify", str(published), *options])
    assert exit.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert problem in line
