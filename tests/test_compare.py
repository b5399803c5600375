"""`dorib compare`: two runs, rows or entries held against each other, sample by sample."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import dorib
from dorib import DoribError
from dorib import open as open_results
from dorib.cli.app import BAD_INPUT
from fixtures.compared import HIDE, another_attack, board, compare, not_applicable
from fixtures.scored import (
    CELLS,
    CONTROLS,
    MEMORIZED,
    RECORDS,
    RUN,
    cell,
    entries,
    ids,
    replication,
)
from fixtures.site import pictured_board

Printed = pytest.CaptureFixture[str]


def compared(printed: Printed, *arguments: str | Path) -> Any:
    assert compare(*arguments, "--json") == 0
    return json.loads(printed.readouterr().out)


def test_two_rows_are_paired_by_attack_and_sample(tmp_path: Path, capsys: Printed) -> None:
    out = board(tmp_path / "out")
    found = compared(capsys, f"{out}#none", f"{out}#hide")
    assert [cell["first"]["attack"] for cell in found["cells"]] == ["none", "dori"]
    searched = found["cells"][1]
    assert [point["budget"] for point in searched["within"]] == [100, 400]
    of_memorized = searched["within"][1]["memorized"]
    # An attacker keeps what worked: m0 breaks at 100 alone.
    counts = [of_memorized[name] for name in ("both", "first_alone", "second_alone", "neither")]
    assert counts == [6, 2, 0, 0]
    assert of_memorized["p"] == 0.5
    assert of_memorized["difference"]["value"] == -0.25
    assert (of_memorized["n"], of_memorized["clusters"]) == (8, 4)
    assert searched["within"][1]["controls"]["second_alone"] == 1
    by_id = {sample["id"]: sample for sample in searched["samples"]}
    assert by_id["m0"]["second_broken_at"] == 100
    assert by_id["m4"]["second_broken_at"] == 400
    assert by_id["m7"]["first_broken_at"] == 100 and by_id["m7"]["second_broken_at"] is None
    assert set(by_id) == {sample.id for sample in (*MEMORIZED, *CONTROLS)}


def test_the_difference_to_the_oracle_is_the_gap_of_the_entry(
    tmp_path: Path, capsys: Printed
) -> None:
    out = board(tmp_path / "out")
    found = compared(capsys, f"{out}#retrain", f"{out}#hide")
    gap = entries()["hide", "dori"].erasure_gap
    assert gap is not None
    assert found["cells"][1]["within"][-1]["memorized"]["difference"] == gap.model_dump()


def test_two_runs_are_paired_by_mitigation_and_attack(tmp_path: Path, capsys: Printed) -> None:
    newer = replace(RUN, environment=RUN.environment.model_copy(update={"torch": "1"}))
    records = [r for r in RECORDS if (r.mitigation, r.attack) != ("hide", "dori")]
    records += replication("hide", "dori", {100: [], 400: ids(1)})
    one, other = board(tmp_path / "a"), board(tmp_path / "b", newer, records=records)
    found = compared(capsys, one, other)
    assert len(found["cells"]) == 6
    moved = {
        cell["first"]["entry"]: cell["within"][-1]["memorized"]["first_alone"]
        for cell in found["cells"]
        if cell["within"][-1]["memorized"]["difference"]["value"]
    }
    assert moved == {str(one / HIDE): 5}
    assert found["differences"] == [{"field": "environment.torch", "first": "0", "second": "1"}]
    assert compare(one, other) == 0
    shown = capsys.readouterr().out
    assert "environment.torch: 0 in A, 1 in B" in shown
    assert re.search(
        r"hide x dori +8 +0.75 +0.12 +-0.62 \(-\d.\d\d to .\d.\d\d\) +5 +0 +0.062", shown
    )
    assert "samples share photographs (8 of 4)" in shown


def test_an_entry_is_compared_with_another_attack_s(tmp_path: Path, capsys: Printed) -> None:
    out = board(tmp_path / "out")
    found = compared(capsys, out / "entries/hide.none.json", out / HIDE)
    [only] = found["cells"]
    [within] = only["within"]
    assert within["budget"] == "largest"
    assert within["memorized"]["second_alone"] == 4
    fields = [one["field"] for one in found["differences"]]
    assert fields == ["attack.label"]


def test_what_differs_in_settings_is_named(tmp_path: Path, capsys: Printed) -> None:
    cells = [*CELLS, *(cell("hide:v=3", attack) for attack in ("none", "dori"))]
    of_hide = [r for r in RECORDS if r.mitigation == "hide"]
    records = [*RECORDS, *(r.model_copy(update={"mitigation": "hide:v=3"}) for r in of_hide)]
    out = board(tmp_path / "out", cells=cells, records=records)
    found = compared(capsys, f"{out}#hide", f"{out}#hide:v=3")
    by_field = {one["field"]: (one["first"], one["second"]) for one in found["differences"]}
    assert by_field["mitigation.params.v"] == (0, 3)
    assert by_field.keys() == {"mitigation.label", "mitigation.params.v", "mitigation.code"}


def test_samples_of_one_side_alone_are_counted_apart(tmp_path: Path, capsys: Printed) -> None:
    fewer = replace(RUN, memorized=MEMORIZED[:6])
    six = [r for r in RECORDS if r.sample not in ("m6", "m7")]
    one, other = board(tmp_path / "a"), board(tmp_path / "b", fewer, records=six)
    found = compared(capsys, one / HIDE, other / HIDE)
    [only] = found["cells"]
    assert only["unpaired"] == 2
    assert only["within"][-1]["memorized"]["n"] == 6
    assert compare(one / HIDE, other / HIDE) == 0
    assert "not paired: hide x dori: 2 samples" in capsys.readouterr().out


def test_a_published_board_is_paired_by_its_gallery(tmp_path: Path, capsys: Printed) -> None:
    """It has no records, and gives the same numbers."""
    with_records = board(tmp_path / "out")
    pictured_board(tmp_path / "published")
    by_records = compared(capsys, f"{with_records}#none", f"{with_records}#hide")
    published = tmp_path / "published"
    by_gallery = compared(capsys, f"{published}#none", f"{published}#hide")
    for ours, theirs in zip(by_records["cells"], by_gallery["cells"], strict=True):
        assert ours["within"] == theirs["within"]
        assert ours["samples"] == theirs["samples"]


def test_python_finds_what_the_command_finds(tmp_path: Path, capsys: Printed) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    pictured_board(out)
    pictured_board(other)
    rows = f"{out}#none", f"{out}#hide"
    found = dorib.compare(*rows, strips=tmp_path / "strips")
    assert isinstance(found, dorib.Comparison)
    assert found.model_dump(mode="json") == compared(capsys, *rows)
    assert list((tmp_path / "strips").rglob("overview.png"))
    assert dorib.compare(open_results(out), other).first == str(out)
    entry = out / "entries" / "none.none.json"
    with pytest.raises(DoribError, match="is on both sides"):
        dorib.compare(entry, entry)


def test_strips_lie_by_what_came_out(tmp_path: Path, capsys: Printed) -> None:
    pictured_board(tmp_path / "out")
    strips = tmp_path / "strips"
    assert compare(f"{tmp_path / 'out'}#none", f"{tmp_path / 'out'}#hide", "--strips", strips) == 0
    drawn = {path.relative_to(strips).as_posix() for path in strips.rglob("*.png")}
    searched = {
        name.partition("/")[2] for name in drawn if name.startswith("none.dori--hide.dori/")
    }
    assert {"broken-in-A-alone/m6.png", "broken-in-A-alone/m7.png"} <= searched
    assert {"broken-in-both/m0.png", "broken-in-B-alone/c0.png", "held-in-both/c3.png"} <= searched
    assert not [name for name in searched if name.startswith("broken-in-A") and "m0" in name]
    with Image.open(strips / "none.dori--hide.dori/broken-in-both/m1.png") as strip:
        # Original, A and B.
        assert strip.width > 3 * 128
        # m1 is the second sample, whose picture has this colour.
        assert strip.getpixel((64, 80)) == pytest.approx((20, 80, 200), abs=6)
    assert str(strips / "none.dori--hide.dori/broken-in-both/overview.png") in (
        capsys.readouterr().out
    )
    assert compare(f"{tmp_path / 'out'}#none", f"{tmp_path / 'out'}#hide", "--strips", strips) == (
        BAD_INPUT
    )


def test_without_pictures_there_are_no_strips(tmp_path: Path, capsys: Printed) -> None:
    out = board(tmp_path / "out")
    assert compare(f"{out}#none", f"{out}#hide", "--strips", tmp_path / "strips") == BAD_INPUT
    assert "has no gallery" in capsys.readouterr().err
    assert not (tmp_path / "strips").exists()


def test_cells_of_one_side_alone_are_named(tmp_path: Path, capsys: Printed) -> None:
    one, other = board(tmp_path / "a"), another_attack(tmp_path / "b")
    assert compare(f"{one}#hide", f"{other}#hide") == 0
    shown = capsys.readouterr().out
    assert "in A alone: hide x dori" in shown
    assert "in B alone: hide x tokens" in shown


def test_a_cell_that_cannot_be_compared_is_left_out_with_its_reason(
    tmp_path: Path, capsys: Printed
) -> None:
    one, other = board(tmp_path / "a"), not_applicable(tmp_path / "b")
    found = compared(capsys, one, other)
    assert len(found["cells"]) == 5
    assert found["first_alone"] == found["second_alone"] == []
    [left_out] = found["left_out"]
    assert (left_out["mitigation"], left_out["attack"]) == ("hide", "dori")
    assert "nothing to search" in left_out["reason"]


def test_a_run_is_compared_as_its_entries_have_it(small_board: Path, capsys: Printed) -> None:
    found = compared(capsys, f"{small_board}#none", f"{small_board}#wanda:sparsity=0.1")
    rates = {
        (entry.mitigation.label, entry.attack.label): entry.memorization_rate
        for entry in open_results(small_board).entries
    }
    assert len(found["cells"]) == 2
    for cell_of_both in found["cells"]:
        counts = cell_of_both["within"][-1]["memorized"]
        for side, alone in (("first", "first_alone"), ("second", "second_alone")):
            own = cell_of_both[side]
            rate = rates[own["mitigation"], own["attack"]]
            assert rate is not None
            assert counts["both"] + counts[alone] == rate.hits
            assert counts["n"] == rate.n
