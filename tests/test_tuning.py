"""Tuning: the grids that ship, the rule, and a run of it on the random suite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib.config import read_config
from dorib.contracts.methods import REPLICATES, SECOND_REPLICATES
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import discover
from fixtures.suites import add_second_descriptor
from tuning import __main__ as tuning
from tuning.__main__ import PUBLISHED, main
from tuning.choosing import choose
from tuning.grids import read_grids
from tuning.numbers import NUMBERS, Choices, Point, read_choices
from tuning.running import labels_of
from tuning.written import page, preset

GRIDS: dict[str, Any] = {
    "grids": {
        "prompt-filter": {
            "source": "nothing",
            "method": "prompt-filter",
            "points": [{}],
            "until_tuned": {},
            "known": "nothing to set",
        },
        "wanda": {
            "source": "made up",
            "method": "wanda:timesteps=1",
            # The last cannot be: the suite samples in three steps.
            "points": [{"sparsity": 0.1}, {"sparsity": 0.5}, {"sparsity": 0.9, "timesteps": 99}],
            "until_tuned": {"sparsity": 0.5},
        },
    },
    "wrappers": {
        "quantize": {"method": "quantize:bits=4", "over": "wanda", "parameter": "base"},
    },
}


def point(rate: float | None, utility: float | None = 1.0, errors: int = 0) -> Point:
    return Point(
        method=f"wanda:sparsity={rate}",
        rate=rate,
        rate_by_both=None,
        utility=utility,
        utility_by_kind={},
        fit_items=0,
        fit_seconds=None,
        errors=errors,
    )


@pytest.mark.parametrize(
    ("points", "chosen"),
    [
        ([point(0.5), point(0.1, 0.3), point(0.0, 0.9)], 1),
        ([point(0.0), point(0.5)], 0),
        ([point(0.9, 1.0), point(0.3, 0.2), point(0.3, 0.4), point(0.3, 0.4)], 2),
        ([point(0.3, None), point(0.3, -0.5)], 1),
        ([point(0.0, errors=1), point(0.4)], 1),
        ([point(None), point(0.0, errors=2)], None),
    ],
)
def test_the_rule(points: list[Point], chosen: int | None) -> None:
    found, reason = choose(points)
    assert found is (None if chosen is None else points[chosen])
    assert reason


def test_the_grids_that_ship_are_right_and_leave_no_mitigation_out() -> None:
    grids = read_grids()
    labels = [label for grid in grids.grids.values() for label in labels_of(grid.specs)]
    assert len(set(labels)) == len(labels)
    tuned = {grid.method.name for grid in grids.grids.values()}
    wrapping = {wrapper.method.name for wrapper in grids.wrappers.values()}
    mitigations = {one.name for one in discover().of_kind("mitigation") if one.built_in}
    # The two lines to read others against, and what was mitigated elsewhere.
    assert tuned | wrapping == mitigations - {"none", "retrain", "checkpoint"}


def test_the_preset_that_ships_takes_a_point_of_every_grid() -> None:
    grids = read_grids()
    config = read_config(Path("tiny"), {})
    assert (config.suite, config.split, config.full) == ("tiny", "test", True)
    assert [spec.name for spec in config.attack] == ["required"]
    taken = labels_of(config.mitigation)
    assert len(taken) == len(grids.grids) + len(grids.wrappers)
    for label, grid in zip(taken, grids.grids.values(), strict=False):
        assert label in labels_of(grid.specs)
    settings = dict(zip(grids.grids, config.mitigation, strict=False))
    wrapped = [wrapper.around(settings[wrapper.over]) for wrapper in grids.wrappers.values()]
    assert taken[len(grids.grids) :] == labels_of(wrapped)


def tune(suite: Path, out: Path, *asked: str, grids: dict[str, Any] = GRIDS) -> Choices:
    file = out.parent / "grids.yaml"
    file.write_text(yaml.safe_dump(grids, sort_keys=False))
    main([*asked, "--suite", str(suite), "--out", str(out), "--grids", str(file)])
    return Choices.model_validate_json((out / "choices.json").read_text())


def copies_to_both(out: Path, mitigation: str) -> int:
    """Memorized samples with an image that both judges call a copy, by plain loops."""
    lines = (out / "run" / "records.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["mitigation"] == mitigation]
    found = set()
    for one in rows:
        for other in rows:
            judges = one["metric"], other["metric"]
            same = all(one[name] == other[name] for name in ("attack", "sample", "seed"))
            if same and judges == (REPLICATES, SECOND_REPLICATES) and one["role"] == "memorized":
                found |= {one["sample"]} if one["value"] == other["value"] == 1 else set()
    return len(found)


def test_it_runs_writes_and_goes_on(
    suite_copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Low enough that some images are copies to one judge, or to both.
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    content["descriptor"]["threshold"] = -0.9
    (suite_copy / "suite.yaml").write_text(yaml.safe_dump(content))
    add_second_descriptor(suite_copy, threshold=-0.9)
    out = tmp_path / "out"

    alone = tune(suite_copy, out, "wanda")
    assert list(alone.methods) == ["wanda"]
    assert (alone.split, alone.samples, alone.images) == ("dev", 2, 2)
    weak, strong, failed = alone.methods["wanda"].points
    assert (weak.method, strong.method) == (
        "wanda:sparsity=0.1,timesteps=1",
        "wanda:sparsity=0.5,timesteps=1",
    )
    for one in (weak, strong):
        assert one.rate == 1
        assert one.rate_by_both == copies_to_both(out, one.method) / 2 > 0
        assert one.fit_items > 0
        assert one.fit_seconds is not None and one.fit_seconds > 0
        assert one.errors == 0
    assert failed.errors > 0
    assert failed.fit_seconds is None

    both = tune(suite_copy, out)
    assert list(both.methods) == ["prompt-filter", "wanda"]
    # Found in the store: not fitted again.
    assert both.methods["wanda"] == alone.methods["wanda"]
    assert "wanda:sparsity=0.1,timesteps=1" in capfd.readouterr().out

    written = (out / "page.md").read_text()
    assert f"| **`{both.methods['wanda'].chosen}`** | 1.00 |" in written
    config = read_config(out / "preset.yaml", {})
    chosen = MethodSpec.parse(both.methods["wanda"].chosen or "")
    assert labels_of(config.mitigation) == labels_of(
        [
            MethodSpec(name="prompt-filter"),
            chosen,
            MethodSpec(name="quantize", params={"bits": 4, "base": chosen}),
        ]
    )

    with pytest.raises(SystemExit) as exit:
        main(["wanda", "--split", "test", "--suite", str(suite_copy), "--out", str(out)])
    assert exit.value.code == 2


def test_what_ships_follows_from_the_numbers_that_ship() -> None:
    choices = read_choices(PUBLISHED[NUMBERS].parent)
    assert choices is not None
    assert (choices.suite, choices.split) == ("tiny", "dev")
    assert PUBLISHED["page.md"].read_text() == page(choices)
    assert PUBLISHED["preset.yaml"].read_text() == preset(read_grids(), choices)


def test_it_is_published_in_three_places(
    tiny_suite_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / "project" / name for name in PUBLISHED}
    monkeypatch.setattr(tuning, "PUBLISHED", places)
    with pytest.raises(SystemExit) as exit:
        main(["--stored", "--publish", "--out", str(tmp_path / "out")])
    assert exit.value.code == 2
    assert not (tmp_path / "project").exists()
    (tmp_path / "project").mkdir()
    tune(tiny_suite_folder, tmp_path / "out", "prompt-filter", "--publish")
    for name, place in places.items():
        assert place.read_text() == (tmp_path / "out" / name).read_text()


def test_nothing_is_known_yet(tmp_path: Path) -> None:
    main(["--stored", "--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"preset.yaml"}
    assert (tmp_path / "out" / "preset.yaml").read_text() == preset(read_grids(), None)


def test_a_point_with_an_error_says_so() -> None:
    tuned = {
        "source": "made up",
        "points": [point(0.5, errors=3)],
        "chosen": None,
        "reason": "no setting has a rate without an error",
    }
    facts: dict[str, Any] = {"suite": "x", "version": "1", "suite_digest": "", "split": "dev"}
    choices = Choices(
        **facts, samples=2, images=1, rule="a rule", methods={"wanda": tuned}
    )  # fmt: skip
    assert "| `wanda:sparsity=0.5` (3 errors) | 0.50 | - | 1.00 | - | 0 | - |" in page(choices)
    settings = preset(read_grids(), choices)
    assert "- {name: wanda, sparsity: 0.1}" in settings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": [{"sparsity": n / 10} for n in range(1, 7)]}, "'grids.wanda.points'"),
        ({"until_tuned": {"sparsity": 0.3}}, "until_tuned is none of the points"),
        ({"method": "wand"}, "wand"),
        ({"points": [{"sparsity": 2}], "until_tuned": {"sparsity": 2}}, "sparsity"),
    ],
)
def test_wrong_grids_are_refused_in_a_line(
    change: dict[str, Any],
    said: str,
    tiny_suite_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    wrong = {**GRIDS["grids"], "wanda": {**GRIDS["grids"]["wanda"], **change}}
    with pytest.raises(SystemExit) as exit:
        tune(tiny_suite_folder, tmp_path / "out", grids={"grids": wrong})
    assert exit.value.code == 2
    [line] = capfd.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_mitigation_without_a_grid_is_refused() -> None:
    with pytest.raises(DoribError, match=r"no grid wamda; choose from: prompt-filter, "):
        read_grids().named(["wamda"])
