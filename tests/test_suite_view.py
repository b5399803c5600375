"""What a metric is handed of a suite, and what it may have shown of its values."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from dorib import Metric, Session, Suite, SuiteView, read_image
from dorib.cli.display import show_result
from dorib.config import make_config
from dorib.contracts.specs import MethodSpec
from dorib.host.registry import Registry, discover
from dorib.ranking.records import read_records
from dorib.runner import RunResult, run

FIELDS = {"name", "sampling", "descriptor", "second_descriptor", "clip", "component", "originals"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib"), EntryPoint("near", "fixtures.nearest", "dorib")])


def options(suite: Path, out: Path, *metrics: str) -> dict[str, Any]:
    small = {"limit": 1, "seeds": 2, "batch_size": 4}
    return {"suite": str(suite), "out": str(out), "metric": metrics, **small}


def metric_handed(name: str, suite: Path, out: Path, registry: Registry) -> Any:
    session = Session.open(make_config(options(suite, out)), registry)
    configured = session.configure("metric", MethodSpec(name=name))
    session.prepare(configured)
    return configured.metric


def test_a_metric_is_handed_settings_components_and_no_sample(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    metric: Metric[Any] = metric_handed("without", tiny_suite_folder, tmp_path, registry)
    suite, handed = Suite.load(tiny_suite_folder), metric.suite  # type: ignore[attr-defined]
    assert isinstance(handed, SuiteView)
    assert {field.name for field in dataclasses.fields(handed)} == FIELDS
    assert {name for name in dir(handed) if not name.startswith("_")} == FIELDS
    assert (handed.name, handed.clip) == ("random", "clip")
    assert (handed.sampling, handed.descriptor) == (suite.sampling, suite.descriptor)
    assert handed.component("clip") == str(tiny_suite_folder / "clip")
    assert handed.originals == ()


def test_originals_are_those_of_the_memorized_samples_of_all_splits(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    metric = metric_handed("nearest", tiny_suite_folder, tmp_path, registry)
    suite = Suite.load(tiny_suite_folder)
    memorized = [sample for sample in suite.samples if sample.role == "memorized"]
    assert len({sample.split for sample in memorized}) == 2
    found = {original.sample: original.read() for original in metric.suite.originals}
    assert [*found] == [sample.id for sample in memorized]
    for sample in memorized:
        [path] = suite.originals(sample)
        assert torch.equal(found[sample.id], read_image(path, (32, 32)))


def scored(suite: Path, out: Path, registry: Registry) -> RunResult:
    return run(make_config(options(suite, out, "nearest", "without")), registry)


def values(out: Path) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for record in read_records(out / "records.jsonl"):
        found.setdefault(record.metric, []).append(record.value)
    return found


def test_values_depend_on_the_originals_only_where_they_are_asked_for(
    suite_copy: Path, tmp_path: Path, registry: Registry
) -> None:
    out = tmp_path / "out"
    scored(suite_copy, out, registry)
    before, shelves = values(out), kept(out)
    # Of a sample that this run neither attacks nor generates: the mean picture is near to all.
    Image.new("RGB", (32, 32), (128, 128, 128)).save(suite_copy / "images/dev-memorized-1.png")
    # A new board on the same store: the suite is another one now.
    (out / "leaderboard.json").unlink()
    scored(suite_copy, out, registry)
    assert values(out)["nothing"] == before["nothing"]
    assert values(out)["nearest_of_all"] != before["nearest_of_all"]
    added = kept(out) - shelves
    assert added
    assert all("nearest_of_all" in text for text in added)


def kept(out: Path) -> set[str]:
    """The contents of all stored records."""
    return {path.read_text() for path in (out / "store" / "records").rglob("*.jsonl")}


def test_a_quantity_that_is_marked_has_a_column(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    result = scored(tiny_suite_folder, tmp_path, registry)
    summary = result.entries[0].summaries.memorized["nearest_of_all"]
    assert summary.in_table
    assert not result.entries[0].summaries.memorized["nothing"].in_table
    console = Console(width=80, file=StringIO())
    show_result(result, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    title, rows = printed.split("─", 1)
    # Its words stand below one another.
    lines = [line.split() for line in title.splitlines() if line.strip()]
    assert [lines[0], lines[1][-1], lines[2][-2]] == [["nearest"], "of", "all"]
    assert f" {summary.mean:.3g}" in rows
    assert "nothing" not in printed
    note = "mean over the memorized samples at the largest budget, grey levels squared; neither"
    assert f"nearest_of_all: {note}" in " ".join(printed.split())
