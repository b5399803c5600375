"""What `dorib check` takes for rounding, and what for another result."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dorib.testing.conformance.made import difference

LEVELS = torch.arange(64, dtype=torch.float64).view(1, 8, 8) * 4
PICTURE = "one.b0.s0.png"


def picture(levels: torch.Tensor) -> dict[str, torch.Tensor | str]:
    return {PICTURE: (levels / 255).float()}


@given(st.integers(0, 254))
def test_equal_images_may_round_to_neighbouring_levels(level: int) -> None:
    one, other = LEVELS.clone(), LEVELS.clone()
    one[0, 3, 5], other[0, 3, 5] = level, level + 1
    assert difference(picture(one), picture(other)) is None


@pytest.mark.parametrize("pixels", [slice(0, 1), slice(0, 8)])
def test_a_picture_two_levels_off_is_another_one(pixels: slice) -> None:
    other = LEVELS.clone()
    other[0, 0, pixels] += 2
    assert difference(picture(LEVELS), picture(other)) == f"{PICTURE} differs by 0.0078"


def test_a_picture_brighter_throughout_is_another_one() -> None:
    said = difference(picture(LEVELS), picture(LEVELS + 1))
    assert said == f"{PICTURE} differs by 0.0039 on average"


def test_the_same_bytes_are_the_same_bytes() -> None:
    other = LEVELS.clone()
    other[0, 2, 2] += 1
    assert difference(picture(LEVELS), picture(LEVELS), tolerance=0) is None
    assert difference(picture(LEVELS), picture(other), tolerance=0) is not None


def test_what_is_no_picture_has_no_levels() -> None:
    one, other = torch.zeros(64), torch.zeros(64)
    other[7] = 1 / 255
    assert difference({"one: trigger": one}, {"one: trigger": other}) is not None
    assert difference({"one: trigger": one}, {"one: trigger": other / 4}) is None


def test_what_is_no_number_is_another_result() -> None:
    other = LEVELS.clone()
    other[0, 0, 0] = torch.nan
    assert difference(picture(LEVELS), picture(other)) is not None
