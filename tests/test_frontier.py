"""The frontier of fine-tuning: points read off a board, and their figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dorib
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import write_leaderboard
from dorib.ranking.rates import UtilityShare
from frontier.__main__ import main
from frontier.points import families, points_of

MITIGATIONS = [
    "adversarial-finetune:epochs=1,learning_rate=0.001,search_budget=24,target=empty_prompt",
    "adversarial-finetune:epochs=1,search_budget=24,target=empty_prompt",
    "adversarial-finetune:epochs=1,search_budget=24,target=empty_prompt,utility_weight=0.0",
]


@pytest.fixture(scope="module")
def board(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("board")
    dorib.run(
        suite=tiny_suite_folder,
        mitigation=MITIGATIONS,
        attack=["dori", "dori:start=other"],
        seeds=1,
        budgets=[24],
        out=out,
    )
    write_leaderboard(out, [_with_utility(entry) for entry in dorib.open(out).entries])
    return out


def _with_utility(entry: Entry) -> Entry:
    """A random model has none; which is the worst kind differs from row to row."""
    label, reference = entry.mitigation.label, entry.reference_line
    place = 0.0 if reference else MITIGATIONS.index(label) / 10
    value = 1.0 if label == "none" else 0.75 - place
    kinds = {
        "photograph": UtilityShare(value=value, low=value - 0.25, high=value + 0.25),
        "scene": UtilityShare(value=1.0 if label == "none" else 0.7, low=None, high=None),
    }
    reasons = (entry.reason_not_ranked or "").split("; ")
    reason = "; ".join(r for r in reasons if r != "utility not measured") or None
    overall = UtilityShare(value=1.0 if label == "none" else 0.9, low=0.85, high=1.05)
    update = {"utility": overall, "utility_by_kind": kinds}
    return entry.model_copy(update=update | {"ranked": reason is None, "reason_not_ranked": reason})


def test_a_point_is_the_worst_of_its_cells(board: Path) -> None:
    entries = dorib.open(board).entries
    points = points_of(entries, "adversarial-finetune")
    assert sorted(point.learning_rate for point in points) == [1e-5, 1e-5, 1e-3]
    for point in points:
        cells = [e for e in entries if e.mitigation.label == point.mitigation]
        gaps = [e.erasure_gap.value for e in cells if e.searches and e.erasure_gap]
        assert len(gaps) == 2
        assert point.gap.value == max(gaps)
        own = next(e.memorization_rate for e in cells if e.attack.name == "none")
        assert own is not None
        assert point.from_prompts == own.rate
    assert [(point.kind, point.utility.value) for point in points] == [
        ("scene", 0.7),
        ("photograph", 0.65),
        ("photograph", 0.55),
    ]
    assert points[0].utility == (0.7, None, None)


def test_a_family_differs_by_its_learning_rate_alone(board: Path) -> None:
    points = points_of(dorib.open(board).entries, "adversarial-finetune")
    found = families(points)
    assert list(found) == ["nothing else changed", "utility_weight=0.0"]
    both = found["nothing else changed"]
    assert [point.learning_rate for point in both] == [1e-5, 1e-3]


def test_the_figure_and_its_numbers_are_written(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(board), "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "frontier.json",
        "frontier.png",
        "frontier.svg",
    }
    assert len(json.loads((tmp_path / "frontier.json").read_text())) == len(MITIGATIONS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(MITIGATIONS)


def test_a_board_without_points_is_refused(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main([str(board), "--method", "wanda", "--out", str(tmp_path / "out")])
    assert exit.value.code == 2
    assert "no row of wanda" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
