"""Originals are read as people see them: orientation, transparency, depth, profile, CMYK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import ExifTags, Image, ImageCms
from torch import Tensor

import dorib_suites
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.store.store import Store
from dorib.suites.images import read_image, write_image
from dorib.suites.suite import Suite
from dorib.verbs.context import RunContext
from fixtures.suites import write_manifest

CASES = Path(__file__).parents[2] / "shared" / "cases"
EMBEDDED = Path(dorib_suites.__file__).parent / "tiny" / "suite" / "images"
UPRIGHT = np.zeros((4, 6, 3), dtype=np.uint8)
UPRIGHT[0, 0], UPRIGHT[0, -1], UPRIGHT[-1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)

# What a camera stored whose upright picture is the above, by EXIF's orientation: the standard's
# table of where row 0 and column 0 lie in the scene.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: UPRIGHT.swapaxes(0, 1)[::-1],
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: UPRIGHT.swapaxes(0, 1)[:, ::-1],
}


def with_orientation(path: Path, stored: np.ndarray[Any, Any], value: int) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
    return path


def bytes_of(image: Tensor) -> np.ndarray[Any, Any]:
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("value", STORED)
@pytest.mark.parametrize("ending", ["png", "webp"])
def test_an_orientation_is_applied(value: int, ending: str, tmp_path: Path) -> None:
    path = with_orientation(tmp_path / f"picture.{ending}", STORED[value], value)
    assert np.array_equal(bytes_of(read_image(path)), UPRIGHT)
    assert np.array_equal(bytes_of(read_image(path, orientation="ignore")), STORED[value])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_of_no_meaning_is_none(value: int, tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "picture.png", UPRIGHT, value)
    assert np.array_equal(bytes_of(read_image(path)), UPRIGHT)


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    Image.fromarray(UPRIGHT).save(path, exif=b"Exif\0\0" + b"\xff" * 40, quality=100)
    assert read_image(path).shape == (3, 4, 6)


def test_a_picture_is_turned_before_it_is_cropped(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "picture.png", STORED[6], 6)
    upright = tmp_path / "upright.png"
    Image.fromarray(UPRIGHT).save(upright)
    assert torch.equal(read_image(path, (2, 3)), read_image(upright, (2, 3)))


def test_a_larger_picture_is_averaged_not_picked_from(tmp_path: Path) -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "picture.png")
    assert (read_image(tmp_path / "picture.png", (16, 16)) - 0.5).abs().max() <= 0.01


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparent_parts_lie_on_white(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.webp" if mode == "RGBA" else tmp_path / "picture.png"
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = (0, 255, 102)
    picture = Image.fromarray(pixels)
    if mode == "P":
        # A palette whose first colour is transparent, as GIF's were.
        picture = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 10, 20, 30])
        picture.save(path, transparency=0)
        expected = [[255] * 3, [10, 20, 30], [10, 20, 30]]
    else:
        converted = picture if mode == "RGBA" else picture.convert("LA")
        converted.save(path, lossless=True, exact=True)
        # 102 / 255 of black on white.
        expected = [[255] * 3, [0] * 3, [153] * 3]
    assert bytes_of(read_image(path))[0].tolist() == expected


def test_a_colour_that_stands_for_transparent_lies_on_white(tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).save(tmp_path / "picture.png", transparency=(255, 0, 0))
    seen = bytes_of(read_image(tmp_path / "picture.png"))
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert seen[0, -1].tolist() == [0, 255, 0]


def test_sixteen_bits_of_gray_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 32896, 65407, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "picture.png")
    seen = bytes_of(read_image(tmp_path / "picture.png"))
    assert seen[0].tolist() == [[v] * 3 for v in (0, 0, 1, 128, 255, 255)]


def test_a_16_bit_gray_that_stands_for_transparent_lies_on_white(tmp_path: Path) -> None:
    values = np.array([[0, 257]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "picture.png", transparency=257)
    assert bytes_of(read_image(tmp_path / "picture.png"))[0].tolist() == [[0] * 3, [255] * 3]


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def linear_rgb(called: str = "line") -> bytes:
    """sRGB's primaries with a linear curve, so that the middle of the scale is brighter seen."""
    content = bytearray(profile("sRGB"))
    for tag in (b"rTRC", b"gTRC", b"bTRC"):
        entry = content.index(tag)
        offset = int.from_bytes(content[entry + 4 : entry + 8], "big")
        size = int.from_bytes(content[entry + 8 : entry + 12], "big")
        # `curv` without points is the identity.
        content[offset : offset + size] = b"curv" + bytes(size - 4)
    return bytes(content).replace("sRGB".encode("utf-16-be"), called.encode("utf-16-be"))


def test_a_profile_other_than_srgb_is_converted(tmp_path: Path) -> None:
    gray = Image.new("RGB", (2, 2), (55, 55, 55))
    gray.save(tmp_path / "picture.png", icc_profile=linear_rgb())
    seen = bytes_of(read_image(tmp_path / "picture.png"))
    # sRGB's curve takes 55 / 255 of linear light to 0.502.
    assert np.abs(seen.astype(int) - 128).max() <= 2


def test_transparency_and_a_profile_together(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (1, 1), (55, 55, 55, 255))
    picture.putpixel((0, 0), (55, 55, 55, 255))
    picture.save(tmp_path / "picture.png", icc_profile=linear_rgb())
    assert np.abs(bytes_of(read_image(tmp_path / "picture.png")).astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    "content", [profile("sRGB"), linear_rgb("sRGB"), b"no profile", profile("LAB")]
)
def test_srgb_s_own_profile_or_one_that_does_not_fit_changes_nothing(
    content: bytes, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png", icc_profile=content)
    assert np.array_equal(bytes_of(read_image(tmp_path / "picture.png")), pixels)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "white.jpg", quality=100)
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    assert bytes_of(read_image(tmp_path / "white.jpg")).min() >= 253
    cyan = bytes_of(read_image(tmp_path / "cyan.jpg")).reshape(-1, 3).mean(axis=0)
    assert cyan[0] < 60 and cyan[1] > 150 and cyan[2] > 180


def test_plain_pictures_come_out_as_they_are_stored() -> None:
    """Those of the embedded suite, whose stored results depend on it to the last bit."""
    paths = sorted(EMBEDDED.glob("*"))
    assert len(paths) > 100
    for path in paths:
        with Image.open(path) as file:
            stored = np.asarray(file.convert("RGB"), dtype=np.float32) / 255
        assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), stored)


def test_plain_pictures_survive_writing_and_reading(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    write_image(image, tmp_path / "picture.png")
    assert torch.equal(read_image(tmp_path / "picture.png"), image)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_never_written(value: float, tmp_path: Path) -> None:
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        write_image(image, tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def contexts(suite_folder: Path, orientation: str | None, out: Path) -> RunContext:
    content = yaml.safe_load((suite_folder / "suite.yaml").read_text())
    content.pop("orientation", None)
    write_manifest(suite_folder, content | ({"orientation": orientation} if orientation else {}))
    suite = Suite.load(suite_folder)
    return RunContext(suite, make_config({}), suite.manifest.quick, Store(out), registry=discover())


def test_what_the_suite_says_of_orientation_holds_and_is_part_of_what_results_depend_on(
    suite_copy: Path, tmp_path: Path
) -> None:
    path = suite_copy / "images" / "test-memorized-0.png"
    stored = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with_orientation(path, stored, 6)
    unsaid, applied, ignored = (
        contexts(suite_copy, orientation, tmp_path / "store")
        for orientation in (None, "apply", "ignore")
    )
    subjects = [context.memorized[0] for context in (unsaid, applied, ignored)]
    images = [
        bytes_of(context.originals(subject)[0])
        for context, subject in zip((unsaid, applied, ignored), subjects, strict=True)
    ]
    assert np.array_equal(images[0], np.rot90(stored, -1))
    assert np.array_equal(images[1], images[0])
    assert np.array_equal(images[2], stored)
    assert subjects[0].tag == subjects[1].tag != subjects[2].tag


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie beside a checkout only")
def test_the_cases_that_went_wrong() -> None:
    gray = read_image(next((CASES / "img-16bit-gray").glob("*.png")))
    assert 0.45 < float(gray.mean()) < 0.55
    turned = next((CASES / "img-exif6").glob("*.jpg"))
    assert torch.equal(
        read_image(turned), read_image(turned, orientation="ignore").rot90(-1, (1, 2))
    )
    clear = read_image(next((CASES / "img-rgba-transparent-black").glob("*.png")))
    assert torch.equal(clear[:, 0, 0], torch.ones(3))
