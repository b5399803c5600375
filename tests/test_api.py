"""The public Python API: run, open what a run left, load its parts; bad input is one clear line."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
import yaml

import dorib
from dorib import DoribError
from dorib.cli.run import run as command
from dorib.config import RunConfig
from dorib.host.registry import discover

OPTIONS: dict[str, Any] = {
    "mitigation": ["wanda:sparsity=0.1"],
    "attack": "dori",
    "metric": ["sscd"],
    "limit": 1,
    "seeds": 1,
    "budgets": 24,
}


@pytest.fixture(scope="module")
def out(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, not to be changed; `out_copy` may be."""
    out = tmp_path_factory.mktemp("api") / "out"
    dorib.run(suite=tiny_suite_folder, out=out, **OPTIONS)
    return out


@pytest.fixture
def out_copy(out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(out, tmp_path / "copy"))


def test_the_options_are_those_of_the_command_line() -> None:
    shown = inspect.signature(dorib.run).parameters
    typed = set(inspect.signature(command).parameters)
    # In Python a reporter is handed the exception itself.
    assert set(shown) - {"reporter"} == typed - {"traceback", "plan", "json"}
    assert set(get_type_hints(dorib.RunOptions)) == set(RunConfig.model_fields)
    assert shown["suite"].default == "tiny"
    assert shown["limit"].default is None


def test_a_run_gives_what_open_gives(tiny_suite_folder: Path, out: Path) -> None:
    results = dorib.run(suite=str(tiny_suite_folder), out=str(out), **OPTIONS)
    assert results == dorib.open(out)
    cells = [(entry.mitigation.label, entry.attack.label) for entry in results.entries]
    mitigations = ["none", "retrain", "wanda:sparsity=0.1"]
    assert cells == [(m, a) for m in mitigations for a in ("none", "dori")]
    assert isinstance(results.leaderboard, dorib.Leaderboard)
    assert results.leaderboard.k == 1


@pytest.mark.parametrize(
    "wanda",
    [
        "wanda:sparsity=0.1",
        {"name": "wanda", "sparsity": 0.1},
        dorib.MethodSpec(name="wanda", params={"sparsity": 0.1}),
        [dorib.MethodSpec(name="wanda", params={"sparsity": 0.1})],
    ],
    ids=["text", "mapping", "spec", "list"],
)
def test_a_method_may_be_named_in_several_ways(
    wanda: Any, tiny_suite_folder: Path, out_copy: Path
) -> None:
    options = OPTIONS | {"mitigation": wanda}
    suite = dorib.load_suite(tiny_suite_folder)
    results = dorib.run(suite=suite, out=out_copy, **options)
    assert results.entries[-1].mitigation.label == "wanda:sparsity=0.1"


def test_options_win_over_a_run_file(tiny_suite_folder: Path, out_copy: Path) -> None:
    file = out_copy / "run.yaml"
    content = OPTIONS | {"suite": str(tiny_suite_folder), "out": str(out_copy), "limit": 2}
    file.write_text(yaml.safe_dump(content))
    assert dorib.run(config=file, limit=1).entries == dorib.open(out_copy).entries
    assert dorib.open(out_copy).entries[0].samples.memorized == 1
    (out_copy / "leaderboard.json").unlink()
    assert dorib.run(config=str(file), attack=["none"]).entries[0].samples.memorized == 2


def test_a_reporter_hears_of_the_run_and_nothing_is_printed(
    tiny_suite_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Listening:
        def __init__(self) -> None:
            self.heard: list[str] = []

        @contextmanager
        def verb(self, name: str, subject: str, total: int) -> Iterator[Any]:
            self.heard.append(name)
            yield lambda units: None

        def note(self, text: str) -> None:
            self.heard.append(text)

        def failure(self, text: str, error: BaseException) -> None:
            self.heard.append(text)

    reporter = Listening()
    options = OPTIONS | {"attack": "none", "mitigation": [], "metric": ["sscd", "clip"]}
    dorib.run(suite=tiny_suite_folder, out=tmp_path, reporter=reporter, **options)
    assert capfd.readouterr() == ("", "")
    assert {"mitigate", "generate", "measure"} <= set(reporter.heard)


def test_a_method_of_which_nothing_comes_is_a_warning(
    tiny_suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [*entry_points(group="dorib"), EntryPoint("crashing", "fixtures.crashing", "dorib")]
    monkeypatch.setattr("dorib.api.discover", lambda files=(): discover(points))
    options = OPTIONS | {"attack": "crashing", "mitigation": []}
    with pytest.warns(RuntimeWarning, match="failed: .*the search exploded"):
        results = dorib.run(suite=tiny_suite_folder, out=tmp_path, **options)
    assert [entry.errors > 0 for entry in results.entries] == [False, True] * 2
    assert any(record.error for record in results.records())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mitigaton": "wanda"},
            r"dorib.run: 'mitigaton': there is no such name \(did you mean mitigation\?\); .*seeds",
        ),
        ({"limit": 0}, r"dorib.run: 'limit': Input should be greater than 0"),
        (
            {"mitigation": "wnda"},
            r"unknown mitigation 'wnda' \(did you mean wanda\?\); choose from: .*wanda",
        ),
        ({"mitigation": 3}, r"dorib.run: 'mitigation': give a method, or a list of methods"),
        ({"mitigation": "wanda:sparsity"}, r"'sparsity' is not parameter=value"),
        ({"suite": "no-such-suite"}, r"unknown suite 'no-such-suite'"),
        ({"suite": None}, r"dorib.run: 'suite': Input should be a valid string"),
        ({"config": "no-such.yaml"}, r"no-such.yaml: no such run file; .*finding-dori"),
        ({"config": "finding-dori", "seeds": "many"}, r"dorib.run: 'seeds': Input should be"),
    ],
)
def test_wrong_options_are_named(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DoribError, match=message):
        dorib.run(**options)
    assert not list(tmp_path.iterdir())


def test_records_are_typed_and_complete(out: Path) -> None:
    records = list(dorib.open(out).records())
    assert all(isinstance(record, dorib.Record) for record in records)
    assert len(records) == len((out / "records.jsonl").read_text().splitlines())


def test_a_record_may_hold_any_character(out_copy: Path) -> None:
    [first, *_] = dorib.open(out_copy).records()
    odd = first.model_copy(update={"value": None, "error": "line\u2028separator\x85and \r\n more"})
    (out_copy / "records.jsonl").write_text(odd.model_dump_json() + "\n", encoding="utf-8")
    assert list(dorib.open(out_copy).records()) == [odd]


def test_the_table_has_a_row_for_each_record(out: Path) -> None:
    results = dorib.open(out)
    table = results.to_pandas()
    assert list(table.columns) == list(dorib.Record.model_fields)
    assert len(table) == len(list(results.records()))
    assert (str(table["seed"].dtype), str(table["value"].dtype)) == ("Int64", "float64")
    values = [record.value for record in results.records()]
    assert table["value"].tolist() == pytest.approx(values, nan_ok=True)
    assert table.query("role == 'utility'")["sample"].str.startswith("utility-").all()


def test_without_records_the_table_is_empty(out_copy: Path) -> None:
    (out_copy / "records.jsonl").write_text("")
    table = dorib.open(out_copy).to_pandas()
    assert list(table.columns) == list(dorib.Record.model_fields)
    assert table.empty


def test_without_pandas_the_extra_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DoribError, match=r'pip install "dorib\[pandas\]"'):
        dorib.open(out).to_pandas()


def test_pictures_are_those_of_the_run(out_copy: Path) -> None:
    results = dorib.open(out_copy)
    [sample] = {r.sample for r in results.records() if r.role == "memorized"}
    wanted = {(e.mitigation.label, e.attack.label, sample) for e in results.entries}
    pictures = results.pictures()
    assert set(pictures) == wanted
    assert all(path.is_file() for path in pictures.values())
    # Left by an earlier run on other samples.
    for folder in (out_copy / "pictures").iterdir():
        (folder / "older.png").write_bytes(next(folder.glob("*.png")).read_bytes())
    assert dorib.open(out_copy).pictures() == pictures


def test_a_sample_s_name_leads_out_of_no_folder(out_copy: Path) -> None:
    strip = next((out_copy / "pictures").glob("*/*.png"))
    shutil.copy(strip, out_copy / "pictures" / "secret.png")
    [*_, last] = (record for record in dorib.open(out_copy).records() if record.role == "memorized")
    hostile = last.model_copy(update={"sample": "../secret"})
    (out_copy / "records.jsonl").write_text(hostile.model_dump_json() + "\n")
    assert dorib.open(out_copy).pictures() == {}


def test_a_published_leaderboard_opens_too() -> None:
    published = Path(__file__).parents[1] / "leaderboards" / "tiny"
    results = dorib.open(str(published))
    assert len(results.entries) == len(list((published / "entries").glob("*.json")))
    assert results.pictures() == {}
    assert "<table" in results._repr_html_()
    with pytest.raises(DoribError, match=r"records.jsonl: missing; run again, or"):
        results.records()
    with pytest.raises(DoribError, match=r"leaderboards: no leaderboard.json in it; open one of"):
        dorib.open(published.parent)


def damage_leaderboard(out: Path) -> None:
    (out / "leaderboard.json").write_bytes(b"\xff{")


def remove_leaderboard(out: Path) -> None:
    (out / "leaderboard.json").unlink()


def damage_entry(out: Path) -> None:
    path = out / "entries" / "none.none.json"
    path.write_text(path.read_text()[:-20])


def remove_entry(out: Path) -> None:
    (out / "entries" / "none.none.json").unlink()


def change_leaderboard(out: Path) -> None:
    path = out / "leaderboard.json"
    path.write_text(path.read_text().replace('"errors": 0', '"errors": 1', 1))


def change_entry(out: Path) -> None:
    path = out / "entries" / "none.dori.json"
    path.write_text(path.read_text().replace('"errors": 0', '"errors": 1'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "copy: no leaderboard.json in it; give the folder"),
        (remove_leaderboard, "no leaderboard.json in it; give the folder that a finished"),
        (damage_leaderboard, "leaderboard.json: (cannot be read|no leaderboard)"),
        (damage_entry, "none.none.json: no entry"),
        (remove_entry, "none.none.json: cannot be read"),
        (change_leaderboard, "does not follow from the entries"),
        (change_entry, "none.dori.json: no entry"),
    ],
)
def test_damaged_results_are_refused(damage: Any, message: str, out_copy: Path) -> None:
    damage(out_copy)
    with pytest.raises(DoribError, match=message) as refused:
        dorib.open(out_copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{}\n", r"row 1: not a record \(.*\); delete"), (b"\xff\n", "not readable")],
)
def test_damaged_records_are_refused(content: bytes, message: str, out_copy: Path) -> None:
    (out_copy / "records.jsonl").write_bytes(content)
    with pytest.raises(DoribError, match=message):
        list(dorib.open(out_copy).records())


def test_an_entry_an_edit_and_a_trigger_are_read_from_their_places(out: Path) -> None:
    entry = dorib.read_entry(str(out / "entries" / "none.none.json"))
    assert entry == dorib.open(out).entries[0]
    edits = [dorib.load_edit(str(path.parent)) for path in out.rglob("edit.json")]
    assert {type(edit.change) for edit in edits} == {
        type(None),
        dorib.ReplaceWeights,
        dorib.MaskWeights,
    }
    triggers = [dorib.load_trigger(str(path.parent)) for path in out.rglob("trigger.json")]
    assert {trigger.budget for trigger in triggers} == {0, 24}
    for load in (dorib.load_edit, dorib.load_trigger, dorib.read_entry):
        with pytest.raises(DoribError, match="nowhere"):
            load("nowhere")


@pytest.mark.parametrize("form", [str, Path, dorib.load_suite], ids=["text", "path", "suite"])
def test_a_model_is_ready_for_a_method(form: Any, tiny_suite_folder: Path) -> None:
    model = dorib.load_model(form(tiny_suite_folder))
    assert isinstance(model, dorib.TargetModel)
    assert model.dtype == torch.float32
    ledger = dorib.Ledger()
    with model.counting(ledger):
        images = model.sample(
            model.encode_prompt(["a picture"]),
            [dorib.Seeds(0).generator("picture")],
            torch.tensor([0]),
        )
    assert images.shape == (1, 3, model.sampling.height, model.sampling.width)
    assert ledger.work == 2 * model.sampling.steps


def test_a_model_in_another_format(tiny_suite_folder: Path) -> None:
    assert dorib.load_model(tiny_suite_folder, dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dorib.load_model: 'dtype': Input should be 'auto'"),
        ({"device": "no-device"}, "no-device: not usable here"),
    ],
)
def test_a_model_nobody_has_is_refused(options: Any, message: str, tiny_suite_folder: Path) -> None:
    with pytest.raises(DoribError, match=message):
        dorib.load_model(tiny_suite_folder, **options)


def test_a_suite_by_name() -> None:
    assert dorib.load_suite("tiny").name == "tiny"
    with pytest.raises(DoribError, match=r"unknown suite 'no-such'; choose from: .*tiny"):
        dorib.load_suite("no-such")


def test_every_public_name_is_listed() -> None:
    for name in (
        "run",
        "open",
        "load_model",
        "load_suite",
        "load_edit",
        "load_trigger",
        "read_entry",
        "Results",
        "Entry",
        "Record",
        "Leaderboard",
        "__version__",
    ):
        assert name in dir(dorib)
        assert name in dorib.__all__
