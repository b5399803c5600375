"""An entry's run, written and done again: the same numbers on the same machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.runner import run

OPTIONS = {
    "mitigation": ["wanda:sparsity=0.2"],
    "attack": ["dori:start=normal"],
    "limit": 1,
    "seeds": 1,
    "budgets": [24],
    "root_seed": 3,
}


@pytest.fixture(scope="module")
def finished(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    run(make_config(OPTIONS | {"suite": str(tiny_suite_folder), "out": str(out)}), discover())
    return out


def entry_of(out: Path) -> Path:
    [path] = out.glob("entries/wanda-*.dori-*.json")
    return path


def reproduced(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["reproduce", *map(str, arguments)])
    assert isinstance(exit.value.code, int)
    return exit.value.code


def test_the_run_file_is_that_of_the_run(
    finished: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    arguments = [entry_of(finished), "--suite", tiny_suite_folder, "--out", tmp_path]
    assert reproduced(*arguments, "--write-only") == 0
    content = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert content["root_seed"] == 3
    assert content["limit"] == 1
    assert content["budgets"] == [24]
    assert content["metric"] == ["clip", "sscd"]
    assert content["mitigation"][0]["sparsity"] == 0.2
    assert content["attack"][0]["start"] == "normal"


def test_the_numbers_are_the_same_and_an_edited_one_is_found(
    finished: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--suite", tiny_suite_folder, "--out", tmp_path / "again"]
    assert reproduced(entry_of(finished), *arguments) == 0
    assert ", 0 differ; machine and versions as the entry's" in capsys.readouterr().out
    forged = json.loads(entry_of(finished).read_text())
    forged["curve"][0]["medians"]["sscd_original"] += 0.01
    forged["summaries"]["memorized"]["sscd_original"]["median"] += 0.01
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(forged))
    assert reproduced(path, *arguments) == 1
    assert "not so: curve.0.medians.sscd_original is" in capsys.readouterr().out


def test_an_entry_of_another_suite_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduced(entry_of(finished), "--suite", "tiny", "--out", tmp_path) == 2
    assert "is not the one of the entry, random 1" in capsys.readouterr().err


def test_a_parameter_called_name_replaces_no_method(
    finished: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    forged = json.loads(entry_of(finished).read_text())
    forged["mitigation"]["params"]["name"] = "nemo"
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(forged))
    out = tmp_path / "again"
    assert reproduced(path, "--suite", tiny_suite_folder, "--out", out, "--write-only") == 0
    [mitigation] = yaml.safe_load((out / "run.yaml").read_text())["mitigation"]
    assert mitigation["name"] == "wanda"
