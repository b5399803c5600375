"""A row submitted by someone else: the folder, its review, and the policy."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib import Results
from dorib import open as open_results
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.entries import read_entry
from dorib.ranking.leaderboard import write_leaderboard
from dorib.replay.reviewing import Placed, settled
from dorib.report.site.marks import Mark, State, read_marks, write_marks
from dorib.report.site.pictures import read_pictures
from dorib.runner import run
from fixtures.lies import entries, other_controls, under_attack

REVIEW = runpy.run_path(str(Path(__file__).parents[1] / "leaderboards" / "review.py"))
OPTIONS = {"attack": ["dori"], "limit": 1, "seeds": 1, "budgets": [24]}
HALVE = """
from dorib import hookimpl, Edit, Mitigation, Params, ScaleOutputs
import torch

dorib_contract = 2


class Halve(Mitigation[Params]):
    def fit(self, model, view, seeds, ledger):
        layers = model.cross_attention_value_layers().items()
        return Edit(ScaleOutputs({n: torch.full((l.out_features,), 0.5) for n, l in layers}))


@hookimpl
def register_mitigations(register):
    register("halve", f"{__name__}:Halve", summary="half of what cross-attention reads")
"""


@pytest.fixture(scope="module")
def board(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published board with two rows, without the method that is submitted."""
    out = tmp_path_factory.mktemp("board") / "random"
    options = {"suite": str(tiny_suite_folder), "mitigation": ["wanda:sparsity=0.2"]}
    run(make_config(OPTIONS | options | {"out": str(out)}), discover())
    return out


@pytest.fixture(scope="module")
def submission(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a third party's mitigation, in a file that only the author has."""
    place = tmp_path_factory.mktemp("author")
    (place / "halve.py").write_text(HALVE)
    options = {"suite": str(tiny_suite_folder), "mitigation": ["halve"], "out": str(place / "out")}
    run(make_config(OPTIONS | options), discover(files=[place / "halve.py"]))
    card = {"title": "Halve", "authors": "A. Author", "year": 2026, "sentence": "Half of it."}
    (place / "card.yaml").write_text(yaml.safe_dump(card))
    arguments = ["submit", str(place / "out"), "-m", "halve", "--to", str(place / "halve")]
    arguments += ["--suite", str(tiny_suite_folder), "--card", str(place / "card.yaml")]
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 0
    return place / "halve"


@pytest.fixture
def copy(submission: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(submission, tmp_path / "halve"))


def reviewed(submission: Path, board: Path, suite: Path, *more: str) -> int:
    arguments = [str(submission), "--board", str(board), "--suite", str(suite), *more]
    code = REVIEW["main"](arguments)
    assert isinstance(code, int)
    return code


def test_the_folder_holds_what_a_pull_request_needs(submission: Path) -> None:
    assert json.loads((submission / "card.json").read_text())["title"] == "Halve"
    assert "torch" in json.loads((submission / "environment.json").read_text())["libraries"]
    assert yaml.safe_load((submission / "run.yaml").read_text())["mitigation"] == [
        {"name": "halve"}
    ]
    witnesses = {path.name for path in (submission / "witnesses").iterdir()}
    assert "halve.edit.safetensors" in witnesses
    assert "halve.dori.triggers.safetensors" in witnesses
    text = (submission / "PULL_REQUEST.md").read_text()
    assert "# Halve on random" in text
    assert "| `dori` |" in text


def test_a_submission_is_verified_without_the_code_of_its_method(
    submission: Path,
    board: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    marked = Path(shutil.copytree(board, tmp_path / "board"))
    assert reviewed(submission, marked, tiny_suite_folder, "--by", "B. Reader", "--mark") == 0
    printed = capsys.readouterr().out
    assert "* `halve`: **verified**" in printed
    assert "| new | `halve` |" in printed
    assert "|  | `wanda:sparsity=0.2` |" in printed
    assert printed.count("unverified") == 1
    [(label, mark)] = read_marks(marked).rows.items()
    assert (label, mark.state, mark.by) == ("halve", "verified", "B. Reader")


def test_a_claim_that_fails_is_marked_and_kept(
    copy: Path,
    board: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = copy / "witnesses" / "halve.dori.values.safetensors"
    values.unlink()
    marked = Path(shutil.copytree(board, tmp_path / "board"))
    write_marks(marked, {"wanda:sparsity=0.2": Mark(state="verified")})
    assert reviewed(copy, marked, tiny_suite_folder, "--mark") == 1
    printed = capsys.readouterr().out
    assert "* `halve`: **failed**: halve x dori: " in printed
    assert "| new | `halve` |" in printed
    assert {label: mark.state for label, mark in read_marks(marked).rows.items()} == {
        "halve": "failed",
        "wanda:sparsity=0.2": "verified",
    }


def test_a_submission_of_other_making_is_refused(
    submission: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = {"suite": str(tiny_suite_folder), "out": str(tmp_path / "other"), "seeds": 2}
    run(make_config(OPTIONS | other), discover())
    assert reviewed(submission, tmp_path / "other", tiny_suite_folder) == 2
    assert "has another k than" in capsys.readouterr().err


def test_a_submission_is_merged_ranked_anew_and_marked(
    submission: Path, board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    merged = Path(shutil.copytree(board, tmp_path / "board"))
    assert reviewed(submission, merged, tiny_suite_folder, "--merge", "--by", "B. Reader") == 0
    own, there, published = (open_results(at) for at in (merged, board, submission))
    assert labels(own) == labels(there) | {"halve"}
    halved = [
        {e.attack.label: e for e in of.entries if e.mitigation.label == "halve"}
        for of in (own, published)
    ]
    assert halved[0] == halved[1] and halved[0]
    assert (merged / "witnesses" / "halve.dori.triggers.safetensors").is_file()
    page = (merged / "index.html").read_text()
    assert "verified</span> by B. Reader" in page and "Halve" in page
    [change] = [json.loads(line) for line in (merged / "history.jsonl").read_text().splitlines()
                if "halve" in line]  # fmt: skip
    assert (change["change"], change["by"]) == ("new", "B. Reader")
    # Drawn by whoever verified it, for each of its cells and samples.
    gallery = read_pictures(merged, own.entries)
    assert gallery
    pictures = {
        (one.attack, one.sample): merged / one.picture
        for one in gallery.gallery.pictures
        if one.mitigation == "halve" and one.picture
    }
    assert {attack for attack, _ in pictures} == halved[0].keys()
    assert all(picture.is_file() for picture in pictures.values())


def test_a_row_may_come_to_rows_that_other_code_made(
    submission: Path, board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    merged = Path(shutil.copytree(board, tmp_path / "board"))

    def by_other_code(entry: dict[str, Any]) -> None:
        if entry["mitigation"]["name"] == "wanda":
            entry["digests"]["model"] = "0" * 64
            entry["older"] = "made by dorib 0.0"
        if entry["attack"]["name"] == "dori":
            entry["attack"]["fingerprint"] = "1" * 64

    entries(by_other_code, everywhere=True)(merged)
    assert reviewed(submission, merged, tiny_suite_folder, "--merge", "--by", "B. Reader") == 0
    by_another = "made by other code of dorib or its libraries"
    older = {
        (entry.mitigation.label, entry.attack.label): entry.older
        for entry in open_results(merged).entries
    }
    assert older["halve", "dori"] is None and older["halve", "none"] is None
    assert older["wanda:sparsity=0.2", "dori"] == by_another
    assert older["none", "none"] is None
    assert older["none", "dori"] == "attack dori has changed since"
    page = (merged / "index.html").read_text()
    assert f"<dd>{by_another}</dd>" in page
    assert "<dd>attack dori has changed since</dd>" in page


def test_a_claim_that_fails_is_merged_with_its_mark(
    copy: Path, board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    merged = Path(shutil.copytree(board, tmp_path / "board"))
    (copy / "witnesses" / "halve.dori.values.safetensors").unlink()
    assert reviewed(copy, merged, tiny_suite_folder, "--merge", "--by", "B. Reader") == 1
    marks = read_marks(merged).rows
    assert marks["halve"].state == "failed" and marks["halve"].reason
    files = {path.name for path in (merged / "entries").iterdir()}
    assert {"halve.dori.json", "halve.none.json"} <= files
    assert "failed</span> by B. Reader" in (merged / "index.html").read_text()


def test_no_picture_is_taken_that_shows_other_than_its_entry_counts(
    copy: Path, board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    under_attack(other_controls, row="halve")(copy)
    merged = Path(shutil.copytree(board, tmp_path / "board"))
    assert reviewed(copy, merged, tiny_suite_folder, "--merge", "--by", "B. Reader") == 1
    pictures = read_pictures(merged, open_results(merged).entries)
    assert pictures
    attacks = {p.attack for p in pictures.gallery.pictures if p.mitigation == "halve"}
    assert attacks == {"none"}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda e: e["environment"].update(torch="1.0"), "has another environment than"),
        (lambda e: e["suite"].update(digest="0" * 64), "has another suite than"),
    ],
)
def test_a_submission_of_another_suite_or_making_leaves_the_board_as_it_was(
    copy: Path,
    board: Path,
    tiny_suite_folder: Path,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[Any], None],
    said: str,
) -> None:
    for path in (copy / "entries").iterdir():
        entry = json.loads(path.read_text())
        edit(entry)
        path.write_text(json.dumps(entry))
    required = open_results(board).leaderboard.required_attacks
    write_leaderboard(copy, [read_entry(path) for path in (copy / "entries").iterdir()], required)
    before = {path: path.read_bytes() for path in board.rglob("*.json")}
    assert reviewed(copy, board, tiny_suite_folder, "--merge", "--by", "B. Reader") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in board.rglob("*.json")} == before


def labels(results: Results) -> set[str]:
    return {entry.mitigation.label for entry in results.entries}


def test_a_method_without_a_card_must_bring_one(
    submission: Path, tiny_suite_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = submission.parent / "out"
    with pytest.raises(SystemExit) as exit:
        main(["submit", str(out), "-m", "halve", "--suite", str(tiny_suite_folder)])
    assert exit.value.code == 2
    assert "brings no card" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [(0.5, 0.4, True), (0.5, None, True), (0.5, 0.5, False), (0.5, 0.6, False), (None, 0.1, False)],
)
def test_a_re_evaluation_may_only_lower_robustness(
    before: float | None, after: float | None, stays: bool
) -> None:
    there, other, new = (row(gap, label) for gap, label in ((before, "a"), (0, "b"), (after, "a")))
    rows, note = settled([there, other], new)
    assert rows == ([there, other] if stays else [other, new])
    assert note
    assert ("the board's row stays" in note) == stays


@pytest.mark.parametrize("state", ["failed", "unverified"])
def test_a_claim_that_did_not_come_out_takes_no_row_s_place(state: State) -> None:
    there, new = row(0.5, "a"), replace(row(0.6, "a"), mark=state)
    rows, note = settled([there], new)
    assert rows == [there] and note and f"the claim of the new one: {state}" in note


def row(gap: float | None, label: str) -> Placed:
    return Placed(label, gap, gap, gap, None, None, "hidden", "verified", is_new=False)
