"""The embedded suite's general pairs: of every kind, none of a sample or held out for utility."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dorib.store.fingerprint import file_digest
from dorib_suites.tiny.photographs import FIFTH, load_photographs
from dorib_suites.tiny.prompts import write_prompts
from dorib_suites.tiny.samples import suite_samples
from dorib_suites.tiny.scenes import SIZE


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    write_prompts(folder)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_general_pairs_are_of_every_kind_in_like_numbers(written: Path) -> None:
    general = rows(written / "general.jsonl")
    kinds = Counter(row["kind"] for row in general)
    assert set(kinds) == {"scene", "photograph"}
    assert min(kinds.values()) >= 0.75 * max(kinds.values())
    shown = {row["caption"] for row in general}
    grounds = {p.ground for p in load_photographs(FIFTH) if p.caption in shown}
    assert grounds == {"whole", "white"}
    assert all(pixels(written / row["image"]).shape == (SIZE, SIZE, 3) for row in general)
    assert len({file_digest(written / row["image"]) for row in general}) == len(general)
    assert all(row["source"] for row in general if row["kind"] == "photograph")
    # Beside weights of 40 MB at most.
    assert sum(path.stat().st_size for path in (written / "general").iterdir()) < 8 * 10**6


def test_a_pair_is_a_picture_with_its_own_caption(written: Path) -> None:
    scene = next(row for row in rows(written / "general.jsonl") if "red" in row["caption"])
    red, green, _ = pixels(written / scene["image"]).astype(int).transpose(2, 0, 1)
    assert ((red - green) > 60).mean() > 0.01
    of_caption = {p.caption: p for p in load_photographs(FIFTH) if p.role == "background"}
    photograph = next(r for r in rows(written / "general.jsonl") if r["kind"] == "photograph")
    source = pixels(of_caption[photograph["caption"]].files[0]).mean(axis=(0, 1))
    assert np.abs(pixels(written / photograph["image"]).mean(axis=(0, 1)) - source).max() < 2


def test_no_general_pair_is_a_sample_or_asked_for_as_utility(written: Path) -> None:
    general = rows(written / "general.jsonl")
    samples = suite_samples(FIFTH)
    captions = {row["caption"] for row in general}
    assert not captions & {sample.caption for sample in samples}
    asked = {
        row["caption"] for row in rows(written / "utility.jsonl") if row["kind"] == "photograph"
    }
    assert len(asked) == 32
    assert not captions & asked
    originals = {image.tobytes() for s in samples for image in s.originals.transpose(0, 2, 3, 1)}
    assert not originals & {pixels(written / row["image"]).tobytes() for row in general}


def test_written_again_it_is_the_same(written: Path, tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "old.png").write_bytes(b"")
    write_prompts(tmp_path)
    for path in sorted(p for p in written.rglob("*") if p.is_file()):
        assert file_digest(tmp_path / path.relative_to(written)) == file_digest(path)
    assert not (tmp_path / "general" / "old.png").exists()
