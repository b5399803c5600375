"""Published rows replayed: an honest one is the same, and a lie about one is found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dorib.cli.app import main
from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.entries import read_entry
from dorib.replay.comparing import Outcome, compare_sample
from dorib.replay.marking import marks_of
from dorib.replay.verifying import verify
from dorib.report.site.boards import read_board
from dorib.report.site.marks import read_marks
from dorib.report.witnesses.reading import read_edit_witness
from dorib.report.witnesses.values import Values
from dorib.report.witnesses.writing import write_witnesses
from dorib.reporting import Silent
from dorib.runner import run
from dorib.store.fingerprint import digest
from fixtures.lies import ENTRY, FILES, LIES, ROW, witness

OPTIONS = {
    "mitigation": [ROW, "prompt-filter"],
    "attack": ["dori"],
    "limit": 1,
    "seeds": 1,
    "budgets": [24],
}


@pytest.fixture(scope="module")
def finished(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run(make_config(OPTIONS | {"suite": str(tiny_suite_folder), "out": str(out)}), discover())
    return out


@pytest.fixture(scope="module")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard with its entries and witnesses, and nothing else."""
    out, folder = finished, tmp_path_factory.mktemp("published")
    write_witnesses(out, pytest.fail, to=folder)
    shutil.copy(out / "leaderboard.json", folder)
    shutil.copytree(out / "entries", folder / "entries")
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What verifications have replayed: keyed by content, no lie finds what is not its own."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def test_an_honest_leaderboard_is_the_same(
    published: Path, tiny_suite_folder: Path, kept: Path
) -> None:
    suite = str(tiny_suite_folder)
    found = verify(published, discover(), Silent(), suite=suite, out=kept)
    assert [(c.mitigation, c.attack, c.outcome, c.reasons) for c in found.cells] == [
        (mitigation, attack, Outcome.SAME, ())
        for mitigation in ("none", "retrain", "prompt-filter", ROW)
        for attack in ("none", "dori")
    ]
    assert all(len(cell.samples) == 2 for cell in found.cells)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(name: str, copy: Path, tiny_suite_folder: Path, kept: Path) -> None:
    lie, giveaway = LIES[name]
    lie(copy)
    suite = str(tiny_suite_folder)
    found = verify(copy / ENTRY, discover(), Silent(), suite=suite, out=kept)
    [cell] = found.cells
    assert cell.outcome == Outcome.NOT_SO
    assert giveaway in " ".join(cell.reasons)
    assert all("\n" not in reason for reason in cell.reasons)


def test_the_rows_of_a_board_are_marked(
    copy: Path, tiny_suite_folder: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "witnesses" / "prompt-filter.dori.values.safetensors").unlink()
    more = ["--suite", str(tiny_suite_folder), "--out", str(kept), "--by", "B. Reader"]
    with pytest.raises(SystemExit) as exit:
        main(["verify", str(copy), *more])
    assert exit.value.code == 1
    assert "2 rows marked" in capsys.readouterr().err
    marks = read_marks(copy).rows
    assert {label: (mark.state, mark.by) for label, mark in marks.items()} == {
        ROW: ("verified", "B. Reader"),
        "prompt-filter": ("failed", "B. Reader"),
    }
    assert marks["prompt-filter"].reason.startswith("prompt-filter x dori: ")


@pytest.mark.parametrize(
    ("where", "by", "problem"),
    [(ENTRY, "B. Reader", "leaderboard's folder"), ("", " ", "name"), ("", "a\x1b[0m", "--by")],
)
def test_what_cannot_be_marked_is_refused_before_anything_is_replayed(
    published: Path,
    capsys: pytest.CaptureFixture[str],
    where: str,
    by: str,
    problem: str,
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["verify", str(published / where), "--by", by])
    assert exit.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert problem in line


def test_the_command_ends_with_1_where_something_is_not_so(
    copy: Path, tiny_suite_folder: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", str(copy / ENTRY), "--suite", str(tiny_suite_folder)]
    arguments += ["--out", str(kept)]
    with pytest.raises(SystemExit) as honest:
        main([*arguments, "--samples"])
    printed = capsys.readouterr().out
    assert honest.value.code == 0
    assert f"same: {ROW} x dori\n" in printed
    assert "  same: test-memorized-0\n" in printed
    LIES["an edited value"][0](copy)
    with pytest.raises(SystemExit) as lied:
        main([*arguments, "--json"])
    assert lied.value.code == 1
    [cell] = json.loads(capsys.readouterr().out)["cells"]
    assert cell["samples"]["test-memorized-0"]["outcome"] == "not so"


def test_a_row_of_another_suite_is_refused(
    copy: Path, suite_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = suite_copy / "utility.jsonl"
    captions.write_text(captions.read_text().replace("utility view 0", "another view"))
    with pytest.raises(SystemExit) as refused:
        main(["verify", str(copy), "--suite", str(suite_copy)])
    assert refused.value.code == 2
    assert "is not the one of the entry" in capsys.readouterr().err


def test_a_large_witness_is_named_by_its_sha256(
    finished: Path, published: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    write_witnesses(finished, notes.append, to=tmp_path, hub="someone/rows", largest=10_000)
    entry = read_entry(finished / ENTRY)
    assert any("wanda-6e180b13.edit.safetensors" in note for note in notes)
    large = tmp_path / "large-witnesses"
    pack = read_edit_witness(tmp_path, entry)
    assert digest([pack.digest(item) for item in pack.items]) == entry.digests.edit
    assert read_edit_witness(tmp_path, entry, tmp_path / "without it").items == pack.items
    large = large.rename(tmp_path / "fetched")
    with pytest.raises(DoribError, match=r"from huggingface\.co/someone/rows/wanda"):
        read_edit_witness(tmp_path, entry)
    assert read_edit_witness(tmp_path, entry, large).items == pack.items
    shutil.copy(witness(published, "triggers"), large / FILES["edit"])
    with pytest.raises(DoribError, match="is not the file whose sha256"):
        read_edit_witness(tmp_path, entry, large)


def test_what_lies_elsewhere_is_neither_true_nor_untrue(
    finished: Path, tiny_suite_folder: Path, kept: Path, tmp_path: Path
) -> None:
    write_witnesses(finished, lambda note: None, to=tmp_path, largest=10_000)
    shutil.copy(finished / "leaderboard.json", tmp_path)
    shutil.copytree(finished / "entries", tmp_path / "entries")
    shutil.rmtree(tmp_path / "large-witnesses")
    arguments = ["verify", str(tmp_path), "--suite", str(tiny_suite_folder), "--out", str(kept)]
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--by", "A. Verifier"])
    assert exit.value.code == 1
    board = read_board(tmp_path, discover())
    found = verify(tmp_path, discover(), Silent(), suite=str(tiny_suite_folder), out=kept)
    outcomes = {cell.outcome for cell in found.cells if cell.mitigation == ROW}
    assert outcomes == {Outcome.NOT_HERE}
    assert found.outcome == Outcome.NOT_HERE
    marks = marks_of(board, found, "A. Verifier")
    assert {label: mark.state for label, mark in marks.items()} == {
        ROW: "unverified",
        "prompt-filter": "verified",
    }
    assert "the witness itself is not here" in marks[ROW].reason
    ranked_otherwise = board.leaderboard.model_copy(update={"required_attacks": ("another",)})
    others = marks_of(replace(board, leaderboard=ranked_otherwise), found, "A. Verifier")
    assert others[ROW].state == "verified"
    # Whoever has the file may have seen it: that mark stays.
    assert set(read_marks(tmp_path).rows) == {"prompt-filter"}


def test_witnesses_are_written_by_report(finished: Path, published: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "store", tmp_path / "store")
    with pytest.raises(SystemExit) as exit:
        main(["report", str(tmp_path), "--witnesses"])
    assert exit.value.code == 0
    written = {p.name: p.read_bytes() for p in (tmp_path / "witnesses").iterdir()}
    assert written == {p.name: p.read_bytes() for p in (published / "witnesses").iterdir()}


def test_a_verdict_turns_over_only_near_the_threshold() -> None:
    stack = {"sscd": {"threshold": 0.5}}

    def values(likeness: float) -> Values:
        copies = float(likeness >= 0.5)
        return Values(
            (("m", 24),),
            {
                "sscd_original": torch.tensor([[likeness]], dtype=torch.float64),
                "replicates": torch.tensor([[copies]], dtype=torch.float64),
            },
        )

    near, flipped = compare_sample(values(0.495), values(0.505), "m", stack)
    assert (near.outcome, flipped) == (Outcome.WITHIN_TOLERANCE, True)
    exact, _ = compare_sample(values(0.495), values(0.505), "m", stack, tolerance=0)
    assert exact.outcome == Outcome.NOT_SO
    far = values(0.4)
    far.by_metric["replicates"] += 1
    forged, _ = compare_sample(far, values(0.4), "m", stack)
    assert forged.outcome == Outcome.NOT_SO
