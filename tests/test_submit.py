"""A row submitted by someone else: the folder, its review, and the policy."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest
import yaml

from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.replay.reviewing import Placed, settled
from dorib.report.site.marks import Mark, read_marks, write_marks
from dorib.runner import run

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


def row(gap: float | None, label: str) -> Placed:
    return Placed(label, gap, gap, gap, None, None, "hidden", "verified", is_new=False)
