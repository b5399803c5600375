"""What `dorib compare` refuses, in a line that gives the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dorib.cli.app import BAD_INPUT
from fixtures.compared import HIDE, another_attack, board, changed, compare, not_applicable
from fixtures.scored import CELLS, MEMORIZED, RECORDS, RUN, cell, sha256
from test_site import change

Printed = pytest.CaptureFixture[str]


def budgets(folder: Path) -> Path:
    cells = [
        replace(c, work={(s, 800 if b == 400 else b): w for (s, b), w in c.work.items()})
        for c in CELLS
    ]
    return board(
        folder, replace(RUN, budgets=(100, 800)), cells, changed('"budget":400', '"budget":800')
    )


def other_samples(folder: Path) -> Path:
    renamed = tuple(replace(sample, id=f"x{sample.id}") for sample in MEMORIZED)
    cells = [
        replace(c, work={(f"x{s}" if s[0] == "m" else s, b): w for (s, b), w in c.work.items()})
        for c in CELLS
    ]
    run = replace(RUN, memorized=renamed)
    return board(folder, run, cells, changed('"sample":"m', '"sample":"xm'))


def another_mitigation(folder: Path) -> Path:
    """`seek` in place of `hide`, under `dori` alone."""
    references = [c for c in CELLS if c.mitigation.label != "hide"]
    of_hide = [r for r in RECORDS if r.mitigation == "hide"]
    records = [r for r in RECORDS if r.mitigation != "hide"]
    for record in of_hide:
        if record.attack != "none":
            records.append(record.model_copy(update={"mitigation": "seek"}))
    return board(folder, cells=[*references, cell("seek", "dori")], records=records)


def without_samples(folder: Path) -> Path:
    (board(folder) / "records.jsonl").unlink()
    return folder


def other_records(folder: Path) -> Path:
    records = board(folder) / "records.jsonl"
    text = records.read_text().replace('"value":1.0', '"value":0.0', 1)
    records.write_text(text)
    return folder


def suite(**fields: str) -> Callable[[Path], Path]:
    return lambda folder: board(
        folder, replace(RUN, suite=RUN.suite.model_copy(update=fields)), CELLS
    )


def of_run(**fields: Any) -> Callable[[Path], Path]:
    return lambda folder: board(folder, replace(RUN, **fields))


INCOMPARABLE: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "suite": (suite(name="other"), "#hide", "suite: toy in A and other in B"),
    "version": (suite(version="2"), "#hide", "version of suite toy: 1 in A and 2 in B"),
    "files": (
        suite(digest=sha256("x")),
        "#hide",
        f"files of suite toy: {sha256('suite')[:12]} in A",
    ),
    "split": (of_run(split="dev"), "#hide", "split: test in A and dev in B"),
    "profile": (of_run(profile="full"), "#hide", "profile: quick in A and full in B"),
    "k": (of_run(k=3), "#hide", "k: 2 in A and 3 in B"),
    "judge": (
        of_run(stack={"sscd": {"threshold": 0.6}}),
        "#hide",
        "judge, sscd threshold: 0.5 in A and 0.6 in B",
    ),
    "budgets": (budgets, f"/{HIDE}", "budgets: 100, 400 in A and 100, 800 in B"),
    "attack": (another_attack, "#hide", "no attack is in both: dori in A and none, tokens in B"),
    "samples": (
        other_samples,
        f"/{HIDE}",
        "no sample is in both: m0, m1, m2 and 5 more in A and xm0",
    ),
    "schema": (
        lambda folder: board(folder, version=1),
        "#hide",
        "schema_version: entries of version 1 count what breaks at a budget alone",
    ),
    "not applicable": (not_applicable, f"/{HIDE}", "hide x dori is not applicable: nothing to"),
    "no samples": (without_samples, "#hide", "has neither records.jsonl nor a gallery"),
    "other records": (other_records, "#none", "7 of 8 memorized samples are broken by none under"),
    "row": (board, "#wanda", "no mitigation 'wanda' in that run; choose from: none, retrain, hide"),
    "not there": (
        lambda folder: folder,
        "",
        "is not there; give the folder that `dorib run --out`",
    ),
}


@pytest.mark.parametrize("kind", INCOMPARABLE)
def test_what_cannot_be_compared_is_refused_in_a_line(
    kind: str, tmp_path: Path, capsys: Printed
) -> None:
    make, part, reason = INCOMPARABLE[kind]
    one, other = board(tmp_path / "a"), make(tmp_path / "b")
    own = {"row": "#hide", "not there": "#hide", "attack": f"/{HIDE}"}.get(kind, part)
    assert compare(f"{one}{own}", f"{other}{part}") == BAD_INPUT
    error = capsys.readouterr().err
    assert re.search(reason.replace(".json", r"\.json"), error), error
    assert error.count("\n") == 1 and error.startswith("dorib: error:")


def test_rows_without_a_common_attack_are_refused(tmp_path: Path, capsys: Printed) -> None:
    """One side is attacked by a search that the other never saw."""
    one, other = board(tmp_path / "a"), another_mitigation(tmp_path / "b")
    assert compare(one / "entries" / "hide.none.json", f"{other}#seek") == BAD_INPUT
    assert "hide x none and seek x dori differ in both" in capsys.readouterr().err


def test_one_thing_on_both_sides_is_refused(tmp_path: Path, capsys: Printed) -> None:
    out = board(tmp_path / "out")
    assert compare(out, f"{out}#hide") == BAD_INPUT
    assert "is on both sides" in capsys.readouterr().err


def test_an_entry_that_is_not_its_board_s_is_refused(tmp_path: Path, capsys: Printed) -> None:
    out = board(tmp_path / "out")
    alone = tmp_path / "alone" / "hide.json"
    alone.parent.mkdir()
    alone.write_bytes((out / HIDE).read_bytes())
    assert compare(alone, out / HIDE) == BAD_INPUT
    assert "lies beside no leaderboard.json" in capsys.readouterr().err
    another = out / "entries" / "copy.json"
    another.write_bytes((out / HIDE).read_bytes())
    change(another, lambda entry: entry["environment"].update(torch="9"))
    assert compare(another, out / HIDE) == BAD_INPUT
    assert "is no entry of the leaderboard beside it" in capsys.readouterr().err
