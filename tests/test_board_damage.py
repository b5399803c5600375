"""A board whose parts in the store are damaged: the run that is made again mends it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.runner import run
from fixtures.damage import DAMAGES
from fixtures.suites import save_suite

SMALL = {
    "mitigation": ["wanda:sparsity=0.1"],
    "attack": ["dori"],
    "metric": ["sscd"],
    "limit": 1,
    "seeds": 1,
    "budgets": [24],
}


def run_on(suite: Path, out: Path) -> None:
    run(make_config({**SMALL, "suite": str(suite), "out": str(out)}), discover())


def entries(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "entries").iterdir()}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_suite(tmp_path_factory.mktemp("damaged") / "suite")


@pytest.fixture(scope="module")
def finished(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run_on(suite, out)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


PARTS = [
    f"{part}.{suffix}"
    for part in [
        "cell.none.none.*",
        "cell.none.dori.*",
        "cell.retrain.none.*",
        "cell.retrain.dori.*",
        "cell.wanda-*.none.*",
        "cell.wanda-*.dori.*",
    ]
    for suffix in ("json", "jsonl")
] + ["row.none.*", "row.retrain.*", "row.wanda-*", "board.json"]


@pytest.mark.parametrize("part", PARTS)
def test_the_same_run_again_mends_it(
    part: str, suite: Path, finished: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = out.glob(f"store/boards/*/{part}")
    # Of a row without utility the records are none.
    DAMAGES["longer" if part.startswith("row") else "truncated"](path, path)
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(out)])
    assert f"{path}: damaged" in capsys.readouterr().err
    run_on(suite, out)
    assert entries(out) == entries(finished)
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(out)])
    assert entries(out) == entries(finished)


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_a_picture_of_an_original_is_drawn_anew(
    damage: str, suite: Path, finished: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = out.glob("store/boards/*/original.*.png")
    [whole] = finished.glob("store/boards/*/original.*.png")
    DAMAGES[damage](path, path)
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(out)])
    assert f"no whole picture in the store, left out of strips: {path}" in capsys.readouterr().err
    run_on(suite, out)
    assert path.read_bytes() == whole.read_bytes()
    for strip in (finished / "pictures").glob("*/*.png"):
        with Image.open(strip) as one, Image.open(out / strip.relative_to(finished)) as other:
            assert one.tobytes() == other.tobytes()
