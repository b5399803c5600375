"""The catalogue of photographs: roles, files, captions."""

import re

import pytest
from PIL import Image

from dorib_suites.tiny.photographs import SIZE, PhotographError, crop, deal, load_photographs


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


def test_files_are_square_rgb_and_have_structure() -> None:
    for photograph in load_photographs():
        for file in photograph.files:
            with Image.open(file) as image:
                size = SIZE[photograph.role]
                assert (image.mode, image.size) == ("RGB", (size, size)), file
                assert image.convert("L").getextrema()[1] > 60, file


def test_captions_of_memorized_and_control_photographs() -> None:
    captions = [p.caption for p in load_photographs() if p.role != "background"]
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
