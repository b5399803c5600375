"""`dorib run --plan`: what a run will take, told before it and equal to what it then counts."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from dorib.cli.ahead.shown import show_plan
from dorib.cli.app import BAD_INPUT, main
from dorib.config import RunConfig, make_config
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import PlannedWork
from dorib.host.registry import Registry, discover
from dorib.plan.plan import Items, Plan
from dorib.plan.speeds import Speeds
from dorib.plan.steps import Step
from dorib.reporting import Advance, Silent
from dorib.runner import plan, run
from dorib.testing.suites import save_random_suite

IMAGE = 3 * 2
"""U-Net items of an image: three steps, with guidance."""
SUBJECTS, UTILITY, BUDGET = 4, 2, 96


class Counting(Silent):
    """Adds up what the verbs have done, in their own units."""

    def __init__(self) -> None:
        self.units: Counter[str] = Counter()
        self.totals: dict[tuple[str, str], int] = {}

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        self.totals[name, subject] = total

        def advance(units: int) -> None:
            self.units[name] += units

        yield advance


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_random_suite(tmp_path_factory.mktemp("suite"))
    path = folder / "suite.yaml"
    manifest = yaml.safe_load(path.read_text())
    manifest["required_attacks"] = ["none", "dori", "evolution"]
    path.write_text(yaml.safe_dump(manifest))
    return folder


def config(suite: Path, out: Path, **options: Any) -> RunConfig:
    return make_config({"suite": str(suite), "out": str(out), "metric": ["clip"], **options})


METHODS = {
    "mitigation": [
        "prompt-filter",
        "wanda:sparsity=0.1",
        "concept:method=esd,pictures=2,steps_per_caption=2",
    ],
    "attack": ["dori", "transfer", "seeds", "tokens:pairs=2,judging_pairs=2"],
    "probe": ["loss-gap:pairs=2"],
}


@pytest.fixture(scope="module")
def planned_and_run(
    suite: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, Plan, Counting, Path]:
    """The plan of a run, that of the same once it has been run, and what the run did."""
    out = tmp_path_factory.mktemp("planned")
    asked = config(suite, out, **METHODS)
    before = plan(asked, discover())
    assert {path.name for path in (out / "store").iterdir()} == {"speeds"}
    assert not (out / "leaderboard.json").exists()
    counting = Counting()
    run(asked, discover(), counting)
    return before, plan(asked, discover()), counting, out


def test_items_are_those_that_the_run_counts(
    planned_and_run: tuple[Plan, Plan, Counting, Path],
) -> None:
    before, _, counted, _ = planned_and_run
    assert before.total.exact
    assert not before.total.unknown
    assert before.work["fit"].items == counted.units["mitigate"] > 0
    assert before.work["attack"].items == counted.units["attack"] > 0
    assert before.images == counted.units["generate"]
    # Those of `seeds` start from an image: of three steps fewer are left.
    from_an_image = SUBJECTS * len(before.rows)
    steps = before.work["generate"].items - (before.images - from_an_image) * IMAGE
    assert 0 < steps < from_an_image * IMAGE


def test_what_a_search_has_a_rule_do_is_in_the_plan(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descent = "embedding-descent:percentile=1,steps=2"
    asked = config(suite, tmp_path, mitigation=[descent], attack=["dori", "seeds"])
    planned = plan(asked, discover()).work["rule"]
    counted: list[tuple[Sequence[int], int]] = []
    add_rule = Ledger.add_rule

    def add(ledger: Ledger, samples: Sequence[int], each: int) -> None:
        add_rule(ledger, samples, each)
        # A search's work is counted in two ledgers: the host's own and the one it is handed.
        if not counted or samples is not counted[-1][0] or each != counted[-1][1]:
            counted.append((samples, each))

    monkeypatch.setattr(Ledger, "add_rule", add)
    run(asked, discover(), Silent())
    each = 3 + 3 * 2
    images = SUBJECTS * 3 + UTILITY
    searched = SUBJECTS * (BUDGET // 3 + BUDGET // IMAGE)
    assert planned.items == (images + searched) * each
    assert not planned.exact
    assert images * each < sum(len(s) * n for s, n in counted) <= planned.items


def test_nothing_is_left_once_it_was_run(
    planned_and_run: tuple[Plan, Plan, Counting, Path],
) -> None:
    _, after, _, _ = planned_and_run
    assert after.total.items == after.images == after.shared.items == 0
    assert after.seconds == 0
    assert after.stored_images == sum(c.images for row in after.rows for c in row.cells)


def test_cells_that_are_equal_are_made_once(
    planned_and_run: tuple[Plan, Plan, Counting, Path],
) -> None:
    before, _, counted, out = planned_and_run
    same = {
        (row.mitigation, cell.attack): cell.same_as
        for row in before.rows
        for cell in row.cells
        if cell.same_as
    }
    assert same == {
        ("none", "transfer"): "none x dori",
        ("prompt-filter", "dori"): "none x dori",
        ("prompt-filter", "transfer"): "none x dori",
    }
    verbs = set(counted.totals)
    assert ("attack", "prompt-filter x dori") not in verbs
    assert ("generate", "prompt-filter x dori") not in verbs
    assert ("attack", "prompt-filter x seeds") in verbs
    # Words are searched alike, and are rewritten when they ask.
    tokens = "tokens:judging_pairs=2,pairs=2"
    assert ("attack", f"none x {tokens}") in verbs
    assert ("attack", f"prompt-filter x {tokens}") not in verbs
    assert ("generate", f"prompt-filter x {tokens}") in verbs
    entries = {
        (entry["mitigation"]["label"], entry["attack"]["label"]): entry["digests"]
        for entry in (json.loads(path.read_text()) for path in (out / "entries").iterdir())
    }
    assert entries["prompt-filter", "dori"]["images"] == entries["none", "dori"]["images"]
    assert entries["prompt-filter", "none"]["images"] != entries["none", "none"]["images"]


def test_a_fit_tells_how_much_is_before_it(
    planned_and_run: tuple[Plan, Plan, Counting, Path],
) -> None:
    before, _, counted, _ = planned_and_run
    fits = {name: total for (verb, name), total in counted.totals.items() if verb == "mitigate"}
    assert fits == {row.mitigation: row.fit.items for row in before.rows}


def test_rows_that_will_not_be_ranked_are_named(
    planned_and_run: tuple[Plan, Plan, Counting, Path],
) -> None:
    before, _, _, out = planned_and_run
    board = json.loads((out / "leaderboard.json").read_text())
    said = {row["mitigation"]["label"]: row["reason_not_ranked"] for row in board["rows"]}
    for row in before.rows[1:]:
        assert row.not_ranked[0] == "not attacked by evolution"
        assert set(row.not_ranked) <= set(said[row.mitigation].split("; "))


def test_what_is_damaged_is_drawn_again_and_left_as_it_is(
    suite: Path, planned_and_run: tuple[Plan, Plan, Counting, Path], tmp_path: Path
) -> None:
    _, _, _, made = planned_and_run
    out = tmp_path / "out"
    shutil.copytree(made, out)
    picture = next((out / "store" / "images").rglob("memorized-*.png"))
    picture.write_bytes(b"short")
    before = sorted(path for path in out.rglob("*"))
    found = plan(config(suite, out, **METHODS), discover())
    together = len(list(picture.parent.glob("*.png")))
    assert found.images == together
    assert 0 < found.work["generate"].items <= together * IMAGE
    assert found.work["attack"].items == 0
    assert sorted(path for path in out.rglob("*")) == before
    assert picture.read_bytes() == b"short"


def test_seconds_are_those_of_the_work_by_its_kind() -> None:
    speeds = Speeds(
        timesteps=3,
        value_layers={},
        load=1.0,
        forward=2.0,
        gradient=3.0,
        image=5.0,
        metrics={"clip": 7.0, "whole": None},
        image_bytes=1,
        trigger_bytes=1,
        unet_bytes=1,
        peak_bytes=1,
    )
    drawn = Step("generate", "x", "m", "a", PlannedWork(forward=10), PlannedWork(gradient=4), 2)
    assert speeds.seconds(drawn) == 10 * 2 + 4 * 3 + 2 * 5
    assert speeds.seconds(Step("measure", "x", "m", "a", images=2, metric="clip")) == 14
    assert speeds.seconds(Step("measure", "x", "m", "a", images=2, metric="whole")) is None
    assert speeds.seconds(Step("mitigate", "x", "m", None, work=None)) is None
    assert speeds.seconds(replace(drawn, rule=None)) is None


def test_a_method_that_says_nothing_is_a_bound_or_unknown(suite: Path, tmp_path: Path) -> None:
    mute = EntryPoint("mute", "fixtures.mute", "dorib")
    registry: Registry = discover([*entry_points(group="dorib"), mute])
    found = plan(config(suite, tmp_path, mitigation=["mute"], attack=["mute"]), registry)
    assert found.work["fit"].unknown == ("mute",)
    assert not found.work["attack"].exact
    assert found.work["attack"].items == 2 * SUBJECTS * BUDGET
    assert not found.seconds_exact
    printed = io.StringIO()
    show_plan(found, Console(file=printed, width=80))
    assert "at most 768" in printed.getvalue()
    assert "unknown: mute cannot say what it costs" in printed.getvalue()


def test_what_a_method_will_refuse_is_said(suite: Path, tmp_path: Path) -> None:
    found = plan(config(suite, tmp_path, attack=["dori"], budgets=[8]), discover())
    refused = [cell.refused for row in found.rows for cell in row.cells if cell.attack == "dori"]
    assert refused
    assert all("buys no step" in (reason or "") for reason in refused)


def test_a_row_that_a_mitigation_will_refuse_costs_nothing(suite: Path, tmp_path: Path) -> None:
    wanda = "wanda:sparsity=0.1,timesteps=9"
    found = plan(config(suite, tmp_path, mitigation=[wanda], attack=["dori"]), discover())
    unmitigated, refused = found.rows
    assert "samples in 3 steps" in (refused.refused or "")
    assert refused.fit.items == sum(cell.work.items for cell in refused.cells) == 0
    assert found.total.items > sum(cell.work.items for cell in unmitigated.cells) > 0


def test_the_command_shows_it_and_measures_once(suite: Path, tmp_path: Path) -> None:
    arguments = ["run", "--plan", "--suite", str(suite), "--out", str(tmp_path), "--metric", "clip"]
    printed, told = called(*arguments, "-a", "dori")
    assert "U-Net items  444: fit 0, attack 384, generate 60, probe 0, rule 0" in printed
    assert "how fast this machine is" in told
    speeds = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    printed, told = called(*arguments, "-a", "dori", "--json")
    assert "how fast" not in told
    assert json.loads(printed)["total"]["items"] > 0
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == speeds


def test_workers_share_the_time_but_not_that_of_one_cell(suite: Path, tmp_path: Path) -> None:
    def by(workers: int | None) -> Plan:
        return plan(config(suite, tmp_path, attack=["dori"], workers=workers), discover())

    threads = torch.get_num_threads()
    alone, two, many = by(None), by(2), by(1000)
    assert torch.get_num_threads() == threads
    assert alone.shared_seconds is None
    assert two.work == alone.work
    for shared in (two, many):
        # To load the model is in the whole time, and in none of the rows'.
        assert shared.seconds is not None and shared.shared_seconds is not None
        assert shared.seconds / shared.workers <= shared.shared_seconds < shared.seconds
    longest = max(cell.seconds or 0.0 for row in many.rows for cell in row.cells)
    assert many.shared_seconds == pytest.approx(longest)
    printed = io.StringIO()
    show_plan(two, Console(file=printed, width=80))
    assert "by 2 workers" in printed.getvalue()


def test_no_figure_is_cut_off(suite: Path, tmp_path: Path) -> None:
    found = plan(config(suite, tmp_path, mitigation=["nemo:scope=global"]), discover())
    long = "dori:start=random,restarts=4,learning_rate=0.05"
    at_most = Items(items=273_440, exact=False)
    for_hours = {"attack": long, "seconds": 5025.0}
    rows = []
    for row in found.rows:
        cells = tuple(cell.model_copy(update=for_hours) for cell in row.cells)
        changed = {"seconds": 2972.0, "fit": at_most, "cells": cells}
        rows.append(row.model_copy(update=changed))
    printed = io.StringIO()
    show_plan(found.model_copy(update={"rows": tuple(rows)}), Console(file=printed, width=80))
    table = printed.getvalue().split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 80
    for whole in ("49 min 32 s", "1 h 23 min", "at most 273,440", " time"):
        assert any(whole in line for line in table)


def test_json_takes_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["run", "--json"])
    assert exit.value.code == BAD_INPUT
    assert "--plan" in capsys.readouterr().err


def called(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exit,
    ):
        main(arguments)
    assert exit.value.code == 0
    return out.getvalue(), err.getvalue()
