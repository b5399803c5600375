from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dorib import DoribError, Generation, Measured, Suite
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_image_similarity import ImageSimilarityParams
from dorib_image_similarity.metric import ImageSimilarity, pixel_distance
from dorib_image_similarity.structure import ms_ssim, weights_for
from fixtures.suites import SIDE, manifest


def pictures(count: int, seed: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator)


def near(images: Tensor, amount: float, seed: int = 9) -> Tensor:
    noise = pictures(len(images), seed, *images.shape[-2:]) - 0.5
    return (images + amount * noise).clamp(0, 1)


def prepared(height: int = SIDE, width: int = SIDE) -> ImageSimilarity:
    content = manifest()
    content["sampling"] = content["sampling"] | {"height": height, "width": width}
    metric = ImageSimilarity(ImageSimilarityParams())
    metric.prepare(suite_view(Suite(Path(), Manifest.model_validate(content))), torch.device("cpu"))
    return metric


def generation(images: Tensor, originals: Tensor, twins: Tensor | None = None) -> Generation:
    seeds = tuple(range(len(images)))
    return Generation("s", "a picture", seeds, images, originals, twins)


def by_name(values: list[Measured] | tuple[Measured, ...]) -> dict[str, list[float]]:
    table: dict[str, list[float]] = {}
    for measured in values:
        table.setdefault(measured.metric, []).append(measured.value)
    return table


# MS-SSIM


@pytest.mark.parametrize(
    ("height", "width", "amount"),
    [(11, 13, 0.8), (32, 32, 0.05), (40, 64, 0.4), (64, 64, 0.8), (100, 99, 0.4), (176, 178, 0.4)],
)
def test_ms_ssim_is_torchmetrics_own(height: int, width: int, amount: float) -> None:
    first = pictures(1, 0, height, width)
    second = near(first, amount)
    weights = weights_for(height, width)
    expected = multiscale_structural_similarity_index_measure(
        first.double(), second.double(), data_range=1.0, betas=weights, reduction="none"
    )
    found = ms_ssim(first, second, weights)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-7)
    assert 0.05 < found.min() < 1


def test_one_scale_is_ssim_by_its_definition() -> None:
    """With scipy's Gaussian filter, whose edges are reflected in the same way."""
    first = pictures(1, 0, 21, 21)
    second = near(first, 0.4)

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, sigma=(0, 1.5, 1.5), radius=(0, 5, 5), mode="mirror")

    one, two = first[0].double().numpy(), second[0].double().numpy()
    mean_one, mean_two = smooth(one), smooth(two)
    variances = smooth(one**2) - mean_one**2 + smooth(two**2) - mean_two**2
    covariance = smooth(one * two) - mean_one * mean_two
    likeness = (2 * mean_one * mean_two + 1e-4) * (2 * covariance + 9e-4)
    likeness /= (mean_one**2 + mean_two**2 + 1e-4) * (variances + 9e-4)
    assert ms_ssim(first, second, (1.0,)).item() == pytest.approx(likeness.mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("side", "scales"),
    [(10, 0), (11, 1), (21, 1), (22, 2), (43, 2), (64, 3), (88, 4), (175, 4), (176, 5), (512, 5)],
)
def test_as_many_scales_as_the_window_fits_into(side: int, scales: int) -> None:
    weights = weights_for(side, 2 * side)
    assert len(weights) == scales
    assert weights_for(2 * side, side) == weights
    if scales:
        assert sum(weights) == pytest.approx(1.0001)


def test_five_scales_have_the_published_weights() -> None:
    assert weights_for(512, 512) == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), amount=st.floats(0, 1))
def test_measures_are_symmetric_and_do_not_depend_on_the_batch(seed: int, amount: float) -> None:
    first = pictures(3, seed, 24, 24)
    second = near(first, amount, seed + 1)
    weights = weights_for(24, 24)
    together = ms_ssim(first, second, weights)
    assert torch.equal(together, ms_ssim(second, first, weights))
    assert together[1:2].item() == pytest.approx(ms_ssim(first[1:2], second[1:2], weights).item())
    assert ms_ssim(first, first, weights).tolist() == pytest.approx([1, 1, 1])
    assert (together >= 0).all() and (together <= 1 + 1e-12).all()


# Pixel distance


def test_pixel_distance_is_the_root_mean_square() -> None:
    first, second = pictures(2, 0), pictures(2, 1)
    differences = (first.double() - second.double()).numpy()
    expected = [float(np.sqrt(np.mean(d**2))) for d in differences]
    assert pixel_distance(first, second).tolist() == pytest.approx(expected)
    black = torch.zeros(1, 3, 4, 4)
    assert pixel_distance(black, black + 1).item() == 1
    assert pixel_distance(black, black + 0.25).item() == 0.25


# What the metric gives


def test_each_image_is_compared_with_its_nearest_original_and_its_own_twin() -> None:
    originals = pictures(2, 0)
    images = torch.cat([near(originals[1:], 0.1), near(originals[:1], 0.3)])
    twins = near(images, 0.2, seed=5)
    (values,) = prepared().measure([generation(images, originals, twins)])
    found = by_name(values)
    weights = weights_for(SIDE, SIDE)
    own = originals.flip(0)
    assert found["ms_ssim_original"] == pytest.approx(ms_ssim(images, own, weights).tolist())
    assert found["pixel_distance_original"] == pytest.approx(pixel_distance(images, own).tolist())
    assert found["ms_ssim_twin"] == pytest.approx(ms_ssim(images, twins, weights).tolist())
    assert found["pixel_distance_twin"] == pytest.approx(pixel_distance(images, twins).tolist())
    assert set(found) == set(ImageSimilarity.quantities)
    assert [value.seed for value in values if value.metric == "ms_ssim_twin"] == [0, 1]


def test_a_copy_is_at_one_and_at_no_distance() -> None:
    originals = pictures(1, 0)
    (values,) = prepared().measure([generation(originals, originals, originals)])
    found = by_name(values)
    assert found["ms_ssim_original"] == found["ms_ssim_twin"] == [pytest.approx(1)]
    assert found["pixel_distance_original"] == found["pixel_distance_twin"] == [0]


def test_without_originals_or_twins_nothing_is_said_of_them() -> None:
    images = pictures(2, 0)
    nothing, with_twins = prepared().measure(
        [generation(images, images[:0]), generation(images, images[:0], images)]
    )
    assert list(nothing) == []
    assert set(by_name(with_twins)) == {"ms_ssim_twin", "pixel_distance_twin"}


def test_stack_states_the_settings_that_the_size_gave() -> None:
    stack = prepared(64, 64).stack()
    assert stack["ms_ssim_scales"] == 3
    assert stack["ms_ssim_weights"] == "0.0710618, 0.453019, 0.476019"
    assert prepared(512, 512).stack()["ms_ssim_scales"] == 5


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(DoribError, match="images of 8 x 64 px are smaller than MS-SSIM's window"):
        prepared(8, 64)


def test_prepare_comes_first() -> None:
    with pytest.raises(RuntimeError, match="prepare comes before"):
        ImageSimilarity(ImageSimilarityParams()).stack()
