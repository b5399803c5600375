"""General captions with an image beside them: what a defender is handed, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from dorib.config import make_config
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.configure import configure
from dorib.host.registry import discover
from dorib.runner import run
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.verbs.context import RunContext
from dorib.verbs.mitigate import mitigate
from fixtures.suites import SIDE, write_manifest, write_noise, write_rows

REGISTRY = discover()
ROWS = [
    {"caption": "a green field", "image": "general/field.png", "kind": "photograph"},
    {"caption": "words alone"},
    {"caption": "a grey wall", "Image": "general/wall.png"},
]


@pytest.fixture
def pictured(suite_copy: Path) -> Path:
    """A suite with three general captions, two of which have an image."""
    (suite_copy / "general").mkdir()
    for seed, name in enumerate(("field", "wall")):
        write_noise(suite_copy / "general" / f"{name}.png", seed=200 + seed)
    write_rows(suite_copy / "general.jsonl", ROWS)
    return suite_copy


def context_of(folder: Path) -> RunContext:
    suite = Suite.load(folder)
    config = make_config({"suite": str(folder), "out": str(folder / "out")})
    return RunContext(suite, config, suite.manifest.quick, Store(folder / "out" / "store"))


def key_of_a_fit(folder: Path) -> str:
    context = context_of(folder)
    none = configure(REGISTRY, "mitigation", MethodSpec(name="none"))
    return mitigate(context, none, context.memorized_of_split).shelf.key


def refusal(folder: Path, **row: Any) -> str:
    write_rows(folder / "general.jsonl", [{"caption": "a first"}, {"caption": "a second", **row}])
    with pytest.raises(DoribError) as refused:
        _ = Suite.load(folder).general_images
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_a_defender_is_handed_the_captions_and_those_with_an_image(pictured: Path) -> None:
    context = context_of(pictured)
    assert context.suite.general_captions == ("a green field", "words alone", "a grey wall")
    field, wall = context.general_pairs
    assert (field.caption, wall.caption) == ("a green field", "a grey wall")
    stored = np.asarray(Image.open(pictured / "general" / "field.png"))
    assert field.read().dtype == torch.float32
    assert np.array_equal((field.read() * 255).round().byte().permute(1, 2, 0).numpy(), stored)


def test_without_images_there_are_no_pairs(suite_copy: Path) -> None:
    assert context_of(suite_copy).general_pairs == ()


def test_general_images_are_read_as_originals_are(pictured: Path) -> None:
    """Turned as EXIF says unless the suite leaves them, cropped to the model's resolution."""
    stored = np.random.default_rng(1).integers(0, 256, (SIDE * 2, SIDE, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.fromarray(stored).save(pictured / "general" / "field.png", exif=exif)
    turned = context_of(pictured).general_pairs[0].read()
    manifest = Suite.load(pictured).manifest.model_dump(mode="json", exclude_none=True)
    write_manifest(pictured, manifest | {"orientation": "ignore"})
    left = context_of(pictured).general_pairs[0].read()
    assert left.shape == turned.shape == (3, SIDE, SIDE)
    middle = torch.from_numpy(stored[SIDE // 2 : -SIDE // 2]).permute(2, 0, 1) / 255
    assert torch.allclose(left, middle, atol=0.01)
    assert torch.allclose(turned, middle.flip(1, 2), atol=0.01)


def test_a_fit_is_handed_the_pairs(pictured: Path) -> None:
    params = {"search": "none", "target": "empty_prompt", "epochs": 1}
    spec = MethodSpec(name="adversarial-finetune", params=params)
    context = context_of(pictured)
    fitted = mitigate(context, configure(REGISTRY, "mitigation", spec), context.memorized)
    assert fitted.failure is None
    edit, _ = fitted.edit(context.memorized)
    assert (edit.notes["general_pairs_are"], edit.notes["general_pairs"]) == ("real", 2)


@pytest.mark.parametrize("image", ["../secret.png", "/etc/hostname", "general/../../secret.png"])
def test_a_general_image_outside_the_folder(pictured: Path, image: str) -> None:
    message = refusal(pictured, image=image)
    assert "leads out of the suite folder" in message
    assert f"{pictured / 'general.jsonl'}, caption 2" in message


@pytest.mark.parametrize("image", [5, ["general/field.png"], "x" * 300])
def test_a_general_image_that_is_no_path(pictured: Path, image: object) -> None:
    with pytest.raises(DoribError, match=r"general\.jsonl, row 2: 'image' "):
        write_rows(pictured / "general.jsonl", [ROWS[1], {"caption": "a second", "image": image}])
        _ = Suite.load(pictured).general_captions


def test_a_general_image_that_is_missing_or_no_file(pictured: Path) -> None:
    assert "general/none.png is missing; restore" in refusal(pictured, image="general/none.png")
    os.mkfifo(pictured / "general" / "pipe.png")
    assert "no regular file" in refusal(pictured, image="general/pipe.png")
    assert "no regular file" in refusal(pictured, image="general")


def test_a_damaged_general_image_ends_a_run_before_its_work(pictured: Path) -> None:
    (pictured / "general" / "wall.png").write_bytes(b"no picture")
    config = make_config({"suite": str(pictured), "out": str(pictured / "out")})
    with pytest.raises(DoribError, match=r"wall\.png: not a readable picture"):
        run(config, REGISTRY)


def test_what_a_fit_depends_on_includes_the_general_images(pictured: Path) -> None:
    suite, fit = Suite.load(pictured).digest(), key_of_a_fit(pictured)
    assert key_of_a_fit(pictured) == fit
    write_noise(pictured / "general" / "wall.png", seed=300)
    other_bytes = key_of_a_fit(pictured)
    assert other_bytes != fit
    assert Suite.load(pictured).digest() != suite
    write_rows(pictured / "general.jsonl", [{**row, "image": None} for row in ROWS[:2]] + ROWS[2:])
    assert key_of_a_fit(pictured) not in (fit, other_bytes)
