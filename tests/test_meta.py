"""`dorib meta`: which attacks and probes tell what models hold from what they do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import mannwhitneyu

import dorib
from dorib import DoribError
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.leaderboard import write_leaderboard
from dorib.runner import run
from dorib_meta.findings import AttackTrust, Findings, Parted
from dorib_meta.study import study
from dorib_meta.trust import falls
from fixtures.suites import write_manifest, write_rows

PROBE = "magnitude"
LIKENESS, DISTANCE = "sscd_original", "pixel_distance_original"
HOLDING, LACKING = ("none", "prompt-filter"), ("retrain",)


def run_in(out: Path, suite: Path, **options: Any) -> Path:
    config = {
        "suite": str(suite),
        "out": str(out),
        "mitigation": ["prompt-filter"],
        "attack": ["dori:pairs=1"],
        "metric": ["sscd", "image-similarity"],
        "probe": [PROBE],
        "budgets": [3, 6],
        "full": True,
        "seeds": 2,
    }
    result = run(make_config(config | options), discover())
    assert all(entry.errors == 0 for entry in result.entries)
    return out


@pytest.fixture(scope="module")
def suite(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random suite, two of its samples on `test` drawn ten times as often as the others.

    Its split `dev` has no controls, as a split of duplication levels.
    """
    folder = Path(shutil.copytree(tiny_suite_folder, tmp_path_factory.mktemp("suite") / "suite"))
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    rows = [row for row in rows if (row["role"], row["split"]) != ("control", "dev")]
    for row in rows:
        often = row["role"] == "memorized" and row["id"][-1] in "01" and row["split"] == "test"
        row["duplication"] = 100 if often else 10
    write_rows(folder / "samples.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def runs(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By split, what a run has left."""
    root = tmp_path_factory.mktemp("runs")
    return {split: run_in(root / split, suite, split=split) for split in ("test", "dev")}


@pytest.fixture(scope="module")
def found(runs: dict[str, Path], suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    out = tmp_path_factory.mktemp("meta")
    return study([*runs.values()], out, suite=str(suite)).findings


def records(*folders: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for folder in folders
        for line in (folder / "records.jsonl").read_text().splitlines()
    ]


def most_telling(
    rows: list[dict[str, Any]], models: tuple[str, ...], role: str, **wanted: Any
) -> list[float]:
    """Of each model and sample, by plain loops over the records."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["mitigation"] in models and row["role"] == role and row["value"] is not None:
            if row["budget"] > wanted["budget"] or row["metric"] != wanted["metric"]:
                continue
            if row["attack"] != wanted["attack"]:
                continue
            value = -row["value"] if row["metric"] == DISTANCE else row["value"]
            place = row["mitigation"], row["sample"]
            best[place] = max(value, best.get(place, value))
    return [*best.values()]


def expected(rows: list[dict[str, Any]], against: str, **wanted: Any) -> float:
    held = most_telling(rows, HOLDING, "memorized", **wanted)
    models, role = (LACKING, "memorized") if against == "oracle" else (HOLDING, "control")
    others = most_telling(rows, models, role, **wanted)
    return float(mannwhitneyu(held, others).statistic / (len(held) * len(others)))


def by_place(found: Findings, level: int | None = None) -> Mapping[tuple[str, str, int], Any]:
    return {(t.attack, t.metric, t.budget): t for t in found.attacks if t.duplication == level}


def test_every_attack_metric_and_budget_has_its_row(found: Findings, runs: dict[str, Path]) -> None:
    rows, trusts = records(*runs.values()), by_place(found)
    assert {(a, b) for a, _, b in trusts} == {("none", 0), ("dori:pairs=1", 3), ("dori:pairs=1", 6)}
    assert {LIKENESS, DISTANCE, "replicates", "diversity"} <= {metric for _, metric, _ in trusts}
    for attack, metric, budget in trusts:
        trust = trusts[attack, metric, budget]
        # Four memorized samples on test and two on dev; three controls.
        sizes = {"oracle": (12, 6), "controls": (12, 6)}
        for against, (held, not_held) in sizes.items():
            parted = getattr(trust, against)
            wanted = {"attack": attack, "metric": metric, "budget": budget}
            assert parted.auc == pytest.approx(expected(rows, against, **wanted)), wanted
            assert (parted.held, parted.not_held) == (held, not_held)
            assert parted.low <= parted.auc <= parted.high
        assert trust.missing == 0


def test_what_has_no_better_side_is_left_out(found: Findings) -> None:
    assert "sscd_twin" not in {trust.metric for trust in found.attacks}


def test_every_probe_has_its_row(found: Findings, runs: dict[str, Path]) -> None:
    [trust] = [trust for trust in found.probes if trust.duplication is None]
    assert trust.probe == PROBE
    for against in ("oracle", "controls"):
        wanted = {"attack": None, "metric": f"{PROBE} score", "budget": 0}
        value = expected(records(*runs.values()), against, **wanted)
        assert getattr(trust, against).auc == pytest.approx(value)
        assert (getattr(trust, against).held, getattr(trust, against).not_held) == (12, 6)


def test_samples_drawn_often_and_seldom_have_rows_of_their_own(found: Findings) -> None:
    sizes = {
        level: [t.oracle.held for t in by_place(found, level).values() if t.oracle is not None]
        for level in (None, 100, 10)
    }
    assert {level: set(held) for level, held in sizes.items()} == {None: {12}, 100: {4}, 10: {8}}


def test_what_was_drawn_more_often_may_tell_more(found: Findings, runs: dict[str, Path]) -> None:
    rows = [row for row in records(*runs.values()) if row["metric"] == LIKENESS]
    for (attack, metric, budget), trust in by_place(found).items():
        if metric != LIKENESS:
            continue
        more, pairs = 0.0, 0
        for model in HOLDING:
            of_model = [r for r in rows if r["mitigation"] == model and r["role"] == "memorized"]
            best: dict[str, float] = {}
            for row in of_model:
                if row["attack"] == attack and row["budget"] <= budget:
                    best[row["sample"]] = max(row["value"], best.get(row["sample"], -1.0))
            often = [
                v for name, v in best.items() if name in ("test-memorized-0", "test-memorized-1")
            ]
            seldom = [v for name, v in best.items() if name[-1] in "23" or name.startswith("dev")]
            assert (len(often), len(seldom)) == (2, 4)
            more += sum((a > b) + (a == b) / 2 for a in often for b in seldom)
            pairs += 8
        assert trust.degree == pytest.approx(more / pairs)
    assert {trust.degree for trust in by_place(found, 100).values()} == {None}
    assert [trust.degree is None for trust in found.probes] == [False, True, True]


def test_without_the_suite_no_level_is_told(runs: dict[str, Path], tmp_path: Path) -> None:
    alone = study([runs["test"]], tmp_path).findings
    assert {trust.duplication for trust in alone.attacks} == {None}


def test_a_run_without_records_has_its_rates(runs: dict[str, Path], tmp_path: Path) -> None:
    published = Path(shutil.copytree(runs["test"], tmp_path / "published"))
    (published / "records.jsonl").unlink()
    whole = by_place(study([runs["test"]], tmp_path / "whole").findings)
    rates = by_place(study([published], tmp_path / "rates").findings)
    assert {metric for _, metric, _ in rates} == {"replicates"}
    for place, trust in rates.items():
        for against in ("oracle", "controls"):
            one, other = getattr(trust, against), getattr(whole[place], against)
            assert one.auc == pytest.approx(other.auc)
            assert (one.held, one.not_held) == (other.held, other.not_held)


def test_the_user_may_know_more(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DoribError, match="no run has the mitigation wanda; there are none, "):
        study([runs["test"]], tmp_path, holds=["wanda"])
    with pytest.raises(DoribError, match="prompt-filter cannot both hold the images and lack"):
        study([runs["test"]], tmp_path, lacks=["prompt-filter"])
    with pytest.raises(DoribError, match="measured by fid; there are"):
        study([runs["test"]], tmp_path, metric="fid")


def test_runs_that_do_not_go_together(runs: dict[str, Path], suite: Path, tmp_path: Path) -> None:
    other_seed = run_in(tmp_path / "seed", suite, root_seed=5)
    with pytest.raises(DoribError, match=r"is both .* name runs of one root seed"):
        study([runs["test"], other_seed], tmp_path / "meta")
    other_budgets = run_in(tmp_path / "budgets", suite, budgets=[3], split="dev", probe=[])
    with pytest.raises(DoribError, match="differ in budgets of dori:pairs=1"):
        study([runs["test"], other_budgets], tmp_path / "meta")


def test_rows_that_are_not_looked_at_may_be_by_other_code(suite: Path, tmp_path: Path) -> None:
    """As on a board that took rows over several versions."""
    board = run_in(tmp_path / "run", suite, mitigation=["prompt-filter", "wanda:sparsity=0.5"])
    expected = study([board], tmp_path / "one").findings

    def by_older_code(mitigation: str) -> None:
        there = dorib.open(board)
        entries = [
            entry.model_copy(
                update={
                    "attack": entry.attack.model_copy(
                        update={"fingerprint": "0" * len(entry.attack.fingerprint)}
                    ),
                    "older": "attack dori has changed since",
                }
            )
            if (entry.mitigation.name, entry.attack.name) == (mitigation, "dori")
            else entry
            for entry in there.entries
        ]
        needed, unfinished = there.leaderboard.required_attacks, there.leaderboard.unfinished
        write_leaderboard(board, entries, needed, unfinished)

    by_older_code("wanda")
    assert study([board], tmp_path / "two").findings == expected
    by_older_code("prompt-filter")
    with pytest.raises(DoribError, match="differ in attack dori:pairs=1"):
        study([board], tmp_path / "three")


def test_another_suite_tells_no_levels(
    runs: dict[str, Path], tiny_suite_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DoribError, match="the runs are of another random than"):
        study([runs["test"]], tmp_path, suite=str(tiny_suite_folder))


def test_without_oracle_controls_remain(suite: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(suite, tmp_path / "suite"))
    content = yaml.safe_load((folder / "suite.yaml").read_text())
    write_manifest(folder, {key: value for key, value in content.items() if key != "oracle"})
    findings = study([run_in(tmp_path / "out", folder)], tmp_path / "meta").findings
    assert findings.lacking == ()
    assert all(t.oracle is None and t.controls is not None for t in findings.attacks)
    assert {fall.against for fall in findings.falls} == {"controls"}


def curve(*values: float, width: float = 0.05) -> list[AttackTrust]:
    def parted(value: float) -> Parted:
        low, high = max(0, value - width), min(1, value + width)
        return Parted(auc=value, low=low, high=high, held=9, not_held=9)

    return [
        AttackTrust(
            attack="dori", metric=LIKENESS, budget=10 * place, duplication=None,
            oracle=parted(value), controls=None, degree=None, missing=0,
        )
        for place, value in enumerate(values, start=1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "best_budget", "beyond", "apart"),
    [
        ((0.6, 0.9, 1.0), 30, None, False),
        ((0.6, 1.0, 1.0, 0.5), 20, 30, True),
        ((1.0, 0.95), 10, 10, False),
        ((1.0, 0.5, 1.0), 10, None, False),
        ((0.7,), 10, None, False),
    ],
)
def test_the_budget_beyond_which_it_falls(
    values: tuple[float, ...], best_budget: int, beyond: int | None, apart: bool
) -> None:
    [fall] = falls(curve(*values))
    assert (fall.best, fall.best_budget) == (max(values), best_budget)
    assert (fall.falls_beyond, fall.apart) == (beyond, apart)


def test_the_command(
    runs: dict[str, Path], suite: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = {}
    for name in ("one", "two"):
        out = tmp_path / name
        with pytest.raises(SystemExit) as exit:
            main(["meta", *map(str, runs.values()), "--out", str(out), "--suite", str(suite)])
        assert exit.value.code == 0, capfd.readouterr().err
        written[name] = {path.name: path.read_bytes() for path in out.iterdir()}
    assert written["one"].keys() == {"meta.json", "meta.svg", "meta.png"}
    assert written["one"] == written["two"]
    printed = capfd.readouterr().out
    assert "hold the images: none, prompt-filter; do not: retrain" in printed
    rows = {" ".join(line.split()) for line in printed.splitlines()}
    [row] = [row for row in rows if row.startswith("dori:pairs=1 6 all")]
    findings = Findings.model_validate_json(written["one"]["meta.json"])
    assert f"{by_place(findings)['dori:pairs=1', LIKENESS, 6].oracle.auc:.2f} (" in row


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["meta", str(tmp_path)])
    assert exit.value.code == 2
    [line] = capfd.readouterr().err.splitlines()
    assert "no leaderboard.json" in line
