"""What methods tell of themselves: a failure or another type is theirs, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dorib.cli.app import BAD_INPUT, main

PLUGIN = """
from dorib import Attack, Edit, Metric, Mitigation, Params, Quantity, ScaleOutputs, hookimpl

dorib_contract = 2


class Scoped(Mitigation[Params]):
    @property
    def scope(self):
        raise KeyError("lost")

    def fit(self, model, view, seeds, ledger):
        return Edit(ScaleOutputs({}))


class Neither(Scoped):
    scope = "both"


class Twelve(Mitigation[Params]):
    def planned(self, scale):
        return 12

    def fit(self, model, view, seeds, ledger):
        return Edit(ScaleOutputs({}))


class Stacked(Metric[Params]):
    needs = frozenset({"generations"})
    quantities = {"one": Quantity("", "neither", "image")}

    def prepare(self, suite, device):
        pass

    def stack(self):
        raise KeyError("lost")

    def measure(self, generations):
        return [[] for _ in generations]


class Odd(Stacked):
    def stack(self):
        return {"weights": [1]}


class Listed(Stacked):
    def stack(self):
        return ["weights"]


@hookimpl
def register_mitigations(register):
    register("scoped", "telling:Scoped", summary="fails")
    register("neither", "telling:Neither", summary="fails")
    register("twelve", "telling:Twelve", summary="plans a number")


@hookimpl
def register_metrics(register):
    register("stacked", "telling:Stacked", summary="fails")
    register("odd", "telling:Odd", summary="a list")
    register("listed", "telling:Listed", summary="a list")
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "telling.py"
    path.write_text(PLUGIN)
    return path


def call(suite: Path, out: Path, plugin: Path, *arguments: str) -> int:
    small = ["--limit", "1", "--seeds", "1", "--budgets", "24", "--suite", str(suite)]
    with pytest.raises(SystemExit) as exit:
        main(["run", "--plugin", str(plugin), *small, "--out", str(out), *arguments])
    assert isinstance(exit.value.code, int)
    return exit.value.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "stacked"], "metric stacked (plugin telling): KeyError: 'lost'"),
        (["--metric", "odd"], "stack gave 'weights' as a list"),
        (["--metric", "listed"], "stack gave a list; return a dict"),
        (["-m", "scoped", "--metric", "clip"], "mitigation scoped (plugin telling): KeyError"),
        (["-m", "neither", "--metric", "clip"], "scope is 'both'; use one of"),
    ],
)
def test_a_failure_before_any_work_is_one_line(
    tiny_suite_folder: Path,
    plugin: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(tiny_suite_folder, tmp_path / "out", plugin, *arguments) == BAD_INPUT
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "leaderboard.json").exists()


def test_a_plan_of_another_type_is_refused_in_its_row(
    tiny_suite_folder: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-m", "twelve", "--metric", "clip", "--plan", "--json"]
    assert call(tiny_suite_folder, tmp_path / "out", plugin, *arguments) == 0
    *others, twelve = json.loads(capsys.readouterr().out)["rows"]
    assert "planned gave a int; return a PlannedFit or None" in twelve["refused"]
    assert [row["refused"] for row in others] == [None] * len(others)
