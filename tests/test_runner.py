"""The main job on a tiny random suite: resume, sharing, stale results, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.report.overview import table_lines
from dorib.runner import RunResult, run
from fixtures.suites import write_manifest

QUICK_METHODS = {"mitigation": ["wanda:sparsity=0.1"], "attack": ["dori"], "metric": ["sscd"]}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def run_on(suite: Path, out: Path, registry: Registry, **options: Any) -> RunResult:
    config = {"suite": str(suite), "out": str(out), **QUICK_METHODS, **options}
    return run(make_config(config), registry)


def artefacts(out: Path, kind: str = "*") -> dict[str, bytes]:
    """Every stored file by its place below the store, batches' names included."""
    files = (path for path in (out / "store").glob(f"{kind}/**/*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def move_board_away(out: Path) -> None:
    """So that another may be begun on the same store."""
    (out / "leaderboard.json").unlink()


def test_every_cell_has_an_entry_and_none_is_always_there(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    result = run_on(tiny_suite_folder, tmp_path, registry)
    cells = [(entry.mitigation.label, entry.attack.label) for entry in result.entries]
    mitigations = ["none", "retrain", "wanda:sparsity=0.1"]
    assert cells == [(m, a) for m in mitigations for a in ("none", "dori")]
    assert result.leaderboard.exists()
    assert all(path.exists() for path in result.entry_files)
    assert not result.reused
    for folder in result.pictures.values():
        assert (folder / "overview.png").exists()
        assert len(list(folder.glob("*.png"))) == 3


def test_a_second_run_computes_nothing_and_leaves_the_same_bytes(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    first = run_on(tiny_suite_folder, tmp_path, registry)
    before, records = artefacts(tmp_path), first.records.read_bytes()
    second = run_on(tiny_suite_folder, tmp_path, registry)
    assert second.reused
    assert artefacts(tmp_path) == before
    assert second.records.read_bytes() == records


def test_two_runs_in_two_places_agree_byte_for_byte(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    one = run_on(tiny_suite_folder, tmp_path / "one", registry)
    two = run_on(tiny_suite_folder, tmp_path / "two", registry)
    assert one.records.read_bytes() == two.records.read_bytes()
    assert artefacts(tmp_path / "one") == artefacts(tmp_path / "two")


def test_a_limited_run_and_the_full_one_share_their_work(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    run_on(tiny_suite_folder, tmp_path, registry, full=True, limit=2)
    limited = artefacts(tmp_path, "triggers")
    move_board_away(tmp_path)
    run_on(tiny_suite_folder, tmp_path, registry, full=True)
    complete = artefacts(tmp_path, "triggers")
    assert limited.items() <= complete.items()
    samples = [path for path in complete if path.endswith("trigger.json")]
    # (4 memorized + 3 controls) x (budget 0 once, two searched budgets) x three mitigations.
    assert len(samples) == 7 * 3 * 3
    assert len({Path(path).parent for path in samples}) == len(samples)


def test_other_batches_give_the_same_noise_and_nearly_the_same_values(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    one = run_on(tiny_suite_folder, tmp_path / "one", registry, batch_size=1)
    four = run_on(tiny_suite_folder, tmp_path / "four", registry, batch_size=4)
    for first, second in zip(values(one), values(four), strict=True):
        assert first["sample"] == second["sample"]
        assert first["value"] == pytest.approx(second["value"], abs=0.02)


def test_a_changed_parameter_is_another_mitigation(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    run_on(tiny_suite_folder, tmp_path, registry)
    other = run_on(tiny_suite_folder, tmp_path, registry, mitigation=["wanda:sparsity=0.2"])
    assert not other.reused
    assert other.entries[-1].mitigation.params["sparsity"] == 0.2


def test_per_sample_edits_are_shared_between_limits(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    per_sample = ["wanda:sparsity=0.1,scope=per_sample"]
    run_on(tiny_suite_folder, tmp_path, registry, full=True, limit=2, mitigation=per_sample)
    limited = artefacts(tmp_path, "edits")
    move_board_away(tmp_path)
    result = run_on(tiny_suite_folder, tmp_path, registry, full=True, mitigation=per_sample)
    assert limited.items() <= artefacts(tmp_path, "edits").items()
    assert result.entries[-1].scope == "per_sample"
    assert result.entries[-1].errors == 0


def test_an_attack_that_crashes_leaves_error_records_and_an_unranked_row(
    tiny_suite_folder: Path, tmp_path: Path
) -> None:
    result = run_on(
        tiny_suite_folder, tmp_path, discover([*points(), crashing()]), attack=["crashing"]
    )
    entry = next(e for e in result.entries if e.attack.label == "crashing")
    assert entry.errors > 0
    assert not entry.ranked
    assert entry.memorization_rate is not None
    assert entry.memorization_rate.n == 2
    lines = [json.loads(line) for line in result.records.read_text().splitlines()]
    errors = [line for line in lines if line["error"]]
    assert {line["sample"] for line in errors if line["mitigation"] == "none"} >= {
        sample for sample in (line["sample"] for line in lines if line["role"] == "memorized")
    }
    assert all("the search exploded" in line["error"] for line in errors)


def test_a_mitigation_that_crashes_does_not_stop_the_others(
    tiny_suite_folder: Path, tmp_path: Path
) -> None:
    result = run_on(
        tiny_suite_folder,
        tmp_path,
        discover([*points(), crashing()]),
        mitigation=["crashing", "wanda:sparsity=0.1"],
        metric=["sscd", "clip"],
    )
    entries = {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}
    for attack in ("none", "dori"):
        assert entries["crashing", attack].errors > 0
        assert not entries["crashing", attack].ranked
        assert entries["wanda:sparsity=0.1", attack].errors == 0
    # A rate of 0 would look like perfect erasure.
    shown = {entry.mitigation.label: table_lines([entry]) for entry in result.entries}
    figures = {
        label: [line.figures[0] for line in of if line.figures] for label, of in shown.items()
    }
    assert figures["crashing"] == ["-"]
    assert figures["wanda:sparsity=0.1"] != ["-"]


def change_manifest(suite: Path, **changes: Any) -> None:
    content = yaml.safe_load((suite / "suite.yaml").read_text())
    write_manifest(suite, content | changes)


def values(result: RunResult) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in result.records.read_text().splitlines()]
    key = ("mitigation", "attack", "budget", "sample", "seed", "metric")
    nearness = [line for line in lines if line["metric"] == "sscd_original"]
    return sorted(nearness, key=lambda line: [str(line[name]) for name in key])


def points() -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group="dorib"))


def crashing() -> Any:
    from importlib.metadata import EntryPoint

    return EntryPoint("crashing", "fixtures.crashing", "dorib")


def test_a_rank_takes_the_attacks_that_the_suite_requires(
    suite_copy: Path, tmp_path: Path, registry: Registry
) -> None:
    required = ["dori", "dori:start=other"]
    change_manifest(suite_copy, required_attacks=required)
    options = {"metric": ["sscd", "clip"], "limit": 1, "seeds": 1, "budgets": [24]}
    one = run_on(suite_copy, tmp_path, registry, **options)
    assert one.lacking == ("dori:start=other",)
    (row,) = json.loads(one.leaderboard.read_text())["rows"]
    assert row["rank"] is None
    assert "not attacked by dori:start=other" in row["reason_not_ranked"]
    both = run_on(suite_copy, tmp_path, registry, **options, attack=["required"])
    assert both.lacking == ()
    board = json.loads(both.leaderboard.read_text())
    assert board["required_attacks"] == required
    assert [cell["attack"] for cell in board["rows"][0]["cells"]] == ["none", *required]
    assert "not attacked" not in str(board["rows"][0]["reason_not_ranked"])


def test_a_suite_that_requires_no_attacks_says_so(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(DoribError, match="attack required: suite random requires none; name"):
        run_on(tiny_suite_folder, tmp_path, registry, attack=["required"])
    assert not (tmp_path / "store").exists()
