"""The catalogue of photographs: roles, files, captions."""

import re
from pathlib import Path

import pytest
from PIL import Image

from dorib_suites.tiny import deal as fifth
from dorib_suites.tiny.photographs import (
    CATALOGUE,
    FIFTH,
    SIZE,
    PhotographError,
    crop,
    deal,
    load_photographs,
)


def test_roles_in_the_catalogue_are_those_of_the_lot() -> None:
    photographs = load_photographs()
    assert {p.id: p.role for p in photographs} == deal([p.id for p in photographs])


def test_lot_depends_on_the_seed_and_not_on_the_order() -> None:
    ids = [f"photograph-{n}" for n in range(100)]
    assert deal(ids) == deal(ids[::-1])
    assert deal(ids, seed=1) != deal(ids, seed=2)


@pytest.mark.parametrize("ids", [["a", "a", "b"], ["a", "b"]])
def test_lot_refuses_repeated_or_too_few_ids(ids: list[str]) -> None:
    with pytest.raises(PhotographError, match="deal"):
        deal(ids, memorized=2, controls=1)


def test_places_in_the_fifth_catalogue_are_those_of_the_lot() -> None:
    seen = {p.id for p in load_photographs() if p.role == "background"}
    unseen = [p for p in load_photographs(FIFTH) if p.id not in seen]
    dealt = {}
    for ground, places in {"whole": fifth.WHOLE, "white": fifth.WHITE}.items():
        dealt |= fifth.deal([p.id for p in unseen if p.ground == ground], places)
    assert {p.id: (p.role, p.split) for p in unseen} == dealt
    assert all(p.role == "background" for p in load_photographs(FIFTH) if p.id in seen)


def test_dev_and_test_of_the_fifth_suite_hold_whole_photographs() -> None:
    samples = [p for p in load_photographs(FIFTH) if p.split in ("dev", "test")]
    assert {p.ground for p in samples} == {"whole"}
    for split in ("dev", "test"):
        for role in ("memorized", "control"):
            assert sum((p.role, p.split) == (role, split) for p in samples) >= 16


@pytest.mark.parametrize("catalogue", [CATALOGUE, FIFTH])
def test_files_are_square_rgb_and_have_structure(catalogue: Path) -> None:
    for photograph in load_photographs(catalogue):
        for file in photograph.files:
            with Image.open(file) as image:
                size = SIZE[photograph.role]
                assert (image.mode, image.size) == ("RGB", (size, size)), file
                assert image.convert("L").getextrema()[1] > 60, file


@pytest.mark.parametrize("catalogue", [CATALOGUE, FIFTH])
def test_captions_of_memorized_and_control_photographs(catalogue: Path) -> None:
    captions = [p.caption for p in load_photographs(catalogue) if p.role != "background"]
    assert len(set(captions)) == len(captions)
    for caption in captions:
        assert re.fullmatch(r"[A-Za-z0-9, -]+", caption), caption
        assert 5 <= len(caption.replace(" - ", " ").split()) <= 11, caption


def test_crop_turns_transparent_and_outside_parts_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 2, 4))
    result = crop(image, (0, 0, 8, 8), 8)
    assert result.getpixel((0, 0)) == (255, 0, 0)
    assert result.getpixel((3, 0)) == result.getpixel((7, 7)) == (255, 255, 255)
