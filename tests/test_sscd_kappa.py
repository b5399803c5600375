"""`dorib sscd-agreement`: kappa by cell and over attacked mitigations, from a run's records."""

from __future__ import annotations

from pathlib import Path

import pytest

from dorib.cli.app import BAD_INPUT, main
from dorib.ranking.facts import RunFacts
from dorib.ranking.leaderboard import write_leaderboard
from dorib.ranking.rank import rank
from dorib.ranking.records import Record, write_records
from dorib_sscd_agreement.cells import Agreement, Cell, agreements, pooled, table
from fixtures.scored import CELLS, RECORDS, RECORDS_TWICE, RUN, RUN_TWICE, error

REFERENCES = {"none", "retrain"}
FOUND = agreements(RECORDS_TWICE, "replicates_second")
ROWS = {row[0]: row[1:] for row in table(FOUND, REFERENCES)}


def test_kappa_within_a_cell() -> None:
    """Of 32 images the first calls 9 copies and the second 8 of these."""
    found = FOUND[Cell("hide", "dori", "memorized", attacked=True)]
    by_chance = (9 * 8 + 23 * 24) / 32**2
    assert found.share == 31 / 32
    assert found.kappa == pytest.approx((31 / 32 - by_chance) / (1 - by_chance))
    assert ROWS["hide x dori"] == ("32", "0.28", "0.25", "0.97", "0.92")
    assert ROWS["hide x dori, controls"] == ("16", "0.06", "0.19", "0.88", "0.45")


def test_reference_lines_are_pooled_apart_since_they_agree_easily() -> None:
    assert ROWS["none x dori"][0] == ROWS["retrain x dori"][0] == "32"
    assert ROWS["all attacked mitigations"] == ROWS["hide x dori"]
    assert ROWS["all mitigations, no search"] == ROWS["hide x none"]
    assert ROWS["all reference lines"][0] == "96"
    *_, last = table(FOUND, REFERENCES)
    assert last[0] == "all attacked mitigations, controls"


def test_several_attacked_cells_are_pooled_image_by_image() -> None:
    rows = {row[0]: row[1:] for row in table(FOUND, {"none"})}
    assert rows["all attacked mitigations"][0] == "64"
    parts = [FOUND[Cell(m, "dori", "memorized", True)] for m in ("retrain", "hide")]
    together = pooled(parts)
    assert sum(together.first) == 10 and sum(together.second) == 9
    assert rows["all attacked mitigations"][-1] == f"{together.kappa:.2f}"


def test_kappa_is_left_out_where_both_call_all_the_same() -> None:
    assert ROWS["retrain x none"] == ("16", "0.00", "0.00", "1.00", "-")
    assert Agreement((True, True), (True, True)).kappa is None


def test_an_image_that_lacks_a_verdict_is_left_out() -> None:
    place = next(
        n
        for n, r in enumerate(RECORDS_TWICE)
        if (r.mitigation, r.attack, r.metric) == ("hide", "dori", "replicates_second")
    )
    records = [*RECORDS_TWICE]
    records[place] = error(records[place])
    found = agreements(records, "replicates_second")
    assert len(found[Cell("hide", "dori", "memorized", True)].first) == 31


def saved(folder: Path, run: RunFacts, records: list[Record]) -> Path:
    folder.mkdir()
    write_leaderboard(folder, rank(run, CELLS, records))
    write_records(folder / "records.jsonl", records)
    return folder


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["sscd-agreement", *arguments])
    return int(caught.value.code or 0)


def test_the_command_shows_both_kinds_of_second_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        r.model_copy(update={"metric": "replicates_other", "judge": "sscd-agreement:backend=onnx"})
        for r in RECORDS_TWICE
        if r.metric == "replicates_second"
    ]
    folder = saved(tmp_path / "out", RUN_TWICE, [*RECORDS_TWICE, *others])
    assert ended(str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "second: replicates_other of sscd-agreement:backend=onnx" in lines
    attacked = [line.split() for line in lines if line.startswith("hide x dori ")]
    assert attacked == [["hide", "x", "dori", "32", "0.28", "0.25", "0.97", "0.92"]] * 2


@pytest.mark.parametrize(
    ("records", "said"),
    [(RECORDS, "no image was judged by a second descriptor; run with --metric"), (None, "missing")],
)
def test_a_run_of_one_judge_is_told_what_to_do(
    records: list[Record] | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = saved(tmp_path / "out", RUN, records or RECORDS)
    if records is None:
        (folder / "records.jsonl").unlink()
    assert ended(str(folder)) == BAD_INPUT
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and str(folder) in message
