import hashlib
import json
import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from scipy import linalg
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from transformers import CLIPImageProcessorPil, CLIPModel

from dorib import DoribError, Generation, Suite
from dorib.config import make_config
from dorib.host.registry import GROUP, discover
from dorib.runner import run
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_image_quality import ImageQualityParams, inception
from dorib_image_quality.distances import frechet_distance, kernel_distance
from dorib_image_quality.metric import ImageQuality
from fixtures import web
from fixtures.suites import SIDE, manifest, save_clip, write_manifest, write_noise

CPU = torch.device("cpu")


def normal(count: int, dimensions: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64)


def pictures(count: int, seed: int) -> Tensor:
    """8-bit values, as read back from a PNG."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE))
    return torch.from_numpy(values).float() / 255


def generations(count: int, seed: int = 0, twins_seed: int | None = 1) -> list[Generation]:
    images = pictures(count, seed)
    twins = None if twins_seed is None else pictures(count, twins_seed)
    return [
        Generation(
            sample=f"utility-{number}",
            caption="a picture",
            seeds=(0,),
            images=image[None],
            originals=image[None][:0],
            twins=None if twins is None else twins[number : number + 1],
        )
        for number, image in enumerate(images)
    ]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("suite") / "clip")


def suite_at(root: Path, clip: str | None = "clip") -> Suite:
    return Suite(root, Manifest.model_validate(manifest() | {"clip": clip}))


def prepared(clip_folder: Path, **params) -> ImageQuality:
    metric = ImageQuality(ImageQualityParams(**params))
    metric.prepare(suite_view(suite_at(clip_folder.parent)), CPU)
    return metric


def values_of(metric: ImageQuality, shown: list[Generation]) -> dict[str, float]:
    measured = list(metric.measure_cell(iter(shown)))
    assert all(value.seed is None for value in measured)
    return {value.metric: value.value for value in measured}


# The Fréchet distance


def plain_frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The published formula, with scipy's root of a matrix."""
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(shift @ shift + np.trace(one + two - 2 * linalg.sqrtm(one @ two).real))


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 70), (9, 9)])
def test_frechet_distance_is_the_published_formula(n: int, m: int) -> None:
    first, second = normal(n, 8, seed=0), 0.5 + 1.5 * normal(m, 8, seed=1)
    expected = plain_frechet(first.numpy(), second.numpy())
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [5, 17, 40])
def test_frechet_distance_is_torchmetrics_own(n: int) -> None:
    """Also where the covariances lack rank, which torchmetrics answers with half of the digits."""
    first, second = normal(n, 16, seed=0), normal(n, 16, seed=1) + 0.3
    extractor = nn.Identity()
    extractor.num_features = 16
    reference = FrechetInceptionDistance(feature=extractor)
    reference.update(first, real=True)
    reference.update(second, real=False)
    found = frechet_distance(first, second)
    assert found == pytest.approx(float(reference.compute()), rel=1e-6)


def test_frechet_distance_of_known_gaussians() -> None:
    """Means 3 and 4 apart in two axes, standard deviations 1 and 2: 9 + 16 + 2 (2 - 1)^2."""
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    unit = corners * (3 / 4) ** 0.5
    assert torch.cov(unit.T) == pytest.approx(torch.eye(2).double())
    moved = 2 * unit + torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert frechet_distance(unit, moved) == pytest.approx(27, rel=1e-12)


@settings(max_examples=30)
@given(n=st.integers(2, 20), dimensions=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_distances_have_the_properties_of_distances(n: int, dimensions: int, seed: int) -> None:
    first, second = normal(n, dimensions, seed), normal(n, dimensions, seed + 1) * 2
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    there, back = frechet_distance(first, second), frechet_distance(second, first)
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)
    assert there > 0
    assert frechet_distance(first, first[order]) == pytest.approx(0, abs=1e-11)
    assert frechet_distance(first[order], second) == pytest.approx(there, rel=1e-9)
    for paired in (True, False):
        kernel = kernel_distance(first, second, paired=paired)
        shuffled = kernel_distance(first[order], second[order], paired=paired)
        assert shuffled == pytest.approx(kernel, rel=1e-9, abs=1e-9)
    assert kernel_distance(first, first, paired=True) == 0


def test_frechet_distance_is_exact_where_images_are_fewer_than_features() -> None:
    features = normal(16, 512, seed=3)
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0, abs=1e-11)


# The kernel distance


def plain_kernel(first: Tensor, second: Tensor, paired: bool) -> float:
    """The mean over the terms of its definition, one by one."""

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    def mean(one: Tensor, two: Tensor, without_diagonal: bool) -> float:
        terms = [
            kernel(a, b)
            for i, a in enumerate(one)
            for j, b in enumerate(two)
            if not (without_diagonal and i == j)
        ]
        return sum(terms) / len(terms)

    return mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, paired)


@pytest.mark.parametrize(("n", "m", "paired"), [(6, 9, False), (7, 7, False), (7, 7, True)])
def test_kernel_distance_is_its_definition(n: int, m: int, paired: bool) -> None:
    first, second = normal(n, 4, seed=0), normal(m, 4, seed=1) + 1
    expected = plain_kernel(first, second, paired)
    assert kernel_distance(first, second, paired=paired) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_torchmetrics_own_with_all_images_as_one_subset() -> None:
    first, second = normal(20, 8, seed=0), normal(20, 8, seed=1) + 0.3
    reference = KernelInceptionDistance(feature=nn.Identity(), subsets=1, subset_size=20)
    reference.update(first, real=True)
    reference.update(second, real=False)
    mean, _ = reference.compute()
    assert kernel_distance(first, second, paired=False) == pytest.approx(float(mean), rel=1e-6)


def test_kernel_distance_does_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = normal(13, 4, seed=0), normal(13, 4, seed=1)
    whole = kernel_distance(first, second, paired=True)
    monkeypatch.setattr("dorib_image_quality.distances.BLOCK", 5)
    assert kernel_distance(first, second, paired=True) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_is_unbiased_for_pairs_too() -> None:
    """Over many draws of the same distribution its mean is 0, whether or not images are paired."""
    estimates = {True: [], False: []}
    for seed in range(400):
        first = normal(6, 3, seed=2 * seed)
        other = normal(6, 3, seed=2 * seed + 1)
        alike = 0.8 * first + 0.6 * other
        estimates[True].append(kernel_distance(first, alike, paired=True))
        estimates[False].append(kernel_distance(first, other, paired=False))
    for values in estimates.values():
        error = np.std(values) / len(values) ** 0.5
        assert abs(np.mean(values)) < 3 * error


def test_unequal_sets_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="3 and 4 images cannot be pairs"):
        kernel_distance(normal(3, 2, 0), normal(4, 2, 1), paired=True)


# What the metric gives


def test_drift_from_the_unmitigated_model_in_clip_features(clip_folder: Path) -> None:
    shown = generations(6)
    found = values_of(prepared(clip_folder), shown)
    features = [
        plain_clip_features(clip_folder, torch.cat(images))
        for images in ([g.images for g in shown], [g.twins for g in shown])
    ]
    assert found == {
        "clip_fid_to_unmitigated": pytest.approx(frechet_distance(*features), rel=1e-4),
        "clip_kid_to_unmitigated": pytest.approx(
            kernel_distance(*features, paired=True), rel=1e-3, abs=1e-7
        ),
        "images_compared": 6,
    }


@torch.no_grad()
def plain_clip_features(folder: Path, images: Tensor) -> Tensor:
    """With transformers' own processing and its own embedding of images."""
    model = CLIPModel.from_pretrained(folder).eval()
    arrays = [(image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for image in images]
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pixels = processor([Image.fromarray(array) for array in arrays], return_tensors="pt")
    pooled = model.vision_model(pixel_values=pixels["pixel_values"]).pooler_output
    return model.visual_projection(pooled).double()


def test_an_unchanged_model_has_not_drifted(clip_folder: Path) -> None:
    shown = [replace(g, twins=g.images) for g in generations(5)]
    found = values_of(prepared(clip_folder), shown)
    assert found["clip_kid_to_unmitigated"] == 0
    assert found["clip_fid_to_unmitigated"] == pytest.approx(0, abs=1e-11)


def test_batches_and_order_do_not_matter(clip_folder: Path) -> None:
    shown = generations(5)
    one = values_of(prepared(clip_folder), shown)
    other = values_of(prepared(clip_folder, batch_size=2), shown[::-1])
    assert other == {name: pytest.approx(value, rel=1e-4) for name, value in one.items()}


def test_real_images_as_the_reference(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "coco" / "more").mkdir(parents=True)
    for number in range(3):
        write_noise(tmp_path / "coco" / f"{number}.png", seed=number)
    write_noise(tmp_path / "coco" / "more" / "3.png", seed=3)
    metric = prepared(clip_folder, reference=tmp_path / "coco")
    found = values_of(metric, generations(6, twins_seed=None))
    real = torch.cat([read_back(path) for path in sorted((tmp_path / "coco").rglob("*.png"))])
    features = [plain_clip_features(clip_folder, images) for images in (pictures(6, 0), real)]
    assert found == {
        "clip_fid": pytest.approx(frechet_distance(*features), rel=1e-4),
        "clip_kid": pytest.approx(kernel_distance(*features, paired=False), rel=1e-3, abs=1e-7),
        "images_compared": 6,
    }
    assert metric.stack()["reference_images"] == 4
    before = metric.stack()["reference_sha256"]
    write_noise(tmp_path / "coco" / "0.png", seed=9)
    assert prepared(clip_folder, reference=tmp_path / "coco").stack()["reference_sha256"] != before


def read_back(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 255


def test_stack_names_the_feature_space(clip_folder: Path) -> None:
    stack = prepared(clip_folder).stack()
    assert (stack["features"], stack["model"], stack["feature_dimensions"]) == ("clip", "suite", 16)
    assert "unmitigated" in str(stack["reference"])
    assert len(str(stack["weights_sha256"])) == 64
    named = prepared(clip_folder, model=str(clip_folder)).stack()
    assert named["model"] == clip_folder.name
    assert named["weights_sha256"] == stack["weights_sha256"]


def test_it_judges_no_single_image(clip_folder: Path) -> None:
    assert [list(values) for values in prepared(clip_folder).measure(generations(2))] == [[], []]


# Inception


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 9, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean(dim=(2, 3))


class LikeInception(nn.Module):
    """Has its features where the published file has them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LikeInception]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        module = LikeInception().eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("inception") / inception.NAME
    torch.jit.script(module).save(str(path))
    return path, module


def plain_inception_features(module: LikeInception, images: Tensor) -> Tensor:
    """Each channel resized by Pillow in floating point, as clean-fid does it."""
    rows = []
    for image in images:
        channels = [
            np.asarray(
                Image.fromarray(c.numpy() * 255).resize((299, 299), Image.Resampling.BICUBIC)
            )
            for c in image
        ]
        resized = torch.from_numpy(np.stack(channels))[None]
        rows.append(module.layers((resized - 128) / 128))
    return torch.cat(rows).double()


def test_inception_features_are_clean_fid_s(
    network: tuple[Path, LikeInception], clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, module = network
    found_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception.load, "__defaults__", (found_hash,))
    metric = prepared(clip_folder, features="inception", weights=path)
    shown = generations(6)
    found = values_of(metric, shown)
    features = [
        plain_inception_features(module, torch.cat(images))
        for images in ([g.images for g in shown], [g.twins for g in shown])
    ]
    assert found == {
        "fid_to_unmitigated": pytest.approx(frechet_distance(*features), rel=1e-3),
        "kid_to_unmitigated": pytest.approx(kernel_distance(*features, paired=True), rel=1e-2),
        "images_compared": 6,
    }
    assert metric.stack()["weights_sha256"] == found_hash
    assert metric.stack()["feature_dimensions"] == 6


def test_missing_inception_says_how_to_get_it(clip_folder: Path, tmp_path: Path) -> None:
    message = (
        r"/absent\.pt cannot be read \(No such file.* Inception's weights.*curl .*features=clip"
    )
    with pytest.raises(DoribError, match=message) as error:
        prepared(clip_folder, features="inception", weights=tmp_path / "absent.pt")
    assert "\n" not in str(error.value)


def test_another_file_in_inception_s_place_is_not_opened(
    network: tuple[Path, LikeInception], clip_folder: Path
) -> None:
    with pytest.raises(DoribError, match="was not opened"):
        prepared(clip_folder, features="inception", weights=network[0])


# Bad inputs


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"features": "dino"}, "'clip' or 'inception'"),
        ({"features": "inception", "model": "openai/clip"}, "model does nothing"),
        ({"weights": "a.pt"}, "weights does nothing"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageQualityParams(**params)


def test_a_suite_without_clip_says_what_to_name(tmp_path: Path) -> None:
    metric = ImageQuality(ImageQualityParams())
    with pytest.raises(DoribError, match="has no CLIP; name one as image-quality:model="):
        metric.prepare(suite_view(suite_at(tmp_path, clip=None)), CPU)


def test_a_folder_that_is_no_clip_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DoribError, match=r"model\.safetensors is missing"):
        prepared(clip_folder, model=str(tmp_path))


def test_missing_weights_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    weights = load_file(copy / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DoribError, match="lacks 1 of the weights"):
        prepared(clip_folder, model=str(copy))


def test_damaged_weights_are_not_a_value(clip_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    weights = load_file(copy / "model.safetensors")
    weights["visual_projection.weight"][:] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DoribError, match=r"visual_projection\.weight is not finite"):
        prepared(clip_folder, model=str(copy))


@pytest.mark.parametrize("count", [0, 1])
def test_a_folder_with_too_few_images_is_refused(
    clip_folder: Path, tmp_path: Path, count: int
) -> None:
    for number in range(count):
        write_noise(tmp_path / f"{number}.png", seed=number)
    with pytest.raises(DoribError, match=f"holds {count} images; give reference="):
        prepared(clip_folder, reference=tmp_path)


@pytest.mark.parametrize("content", [b"no image", web.picture_with_a_broken_chunk()])
def test_a_broken_reference_image_is_named(
    clip_folder: Path, tmp_path: Path, content: bytes
) -> None:
    write_noise(tmp_path / "a.png", seed=0)
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(DoribError, match=r"b.png cannot be read as an image"):
        prepared(clip_folder, reference=tmp_path)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_generations_make_no_distribution(clip_folder: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} images make no distribution"):
        values_of(prepared(clip_folder), generations(count))


def test_generations_without_twins_are_an_error(clip_folder: Path) -> None:
    with pytest.raises(ValueError, match="utility-0 comes without the unmitigated model's images"):
        values_of(prepared(clip_folder), generations(3, twins_seed=None))


# In a run


def test_a_cell_s_values_are_records_and_summaries(tiny_suite_folder: Path, tmp_path: Path) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": ["wanda:sparsity=0.5"],
        "attack": ["none"],
        "metric": ["sscd", "image-quality"],
    }
    result = run(make_config(config), discover())
    by_mitigation = {entry.mitigation.label: entry for entry in result.entries}
    for label, entry in by_mitigation.items():
        assert entry.errors == 0
        assert not set(entry.summaries.memorized) & set(ImageQuality.quantities)
        drift = entry.summaries.utility["clip_fid_to_unmitigated"]
        assert (drift.n, drift.level, drift.direction) == (1, "cell", "lower is better")
        # For the unmitigated model itself it is 0 within rounding.
        assert (drift.mean > 1e-12) == (label != "none")
        assert entry.summaries.utility["images_compared"].mean == 4
        assert entry.stack["image-quality"]["features"] == "clip"
    (record,) = (
        record
        for record in map(dict_of, result.records.read_text().splitlines())
        if record["metric"] == "clip_kid_to_unmitigated" and record["mitigation"] == "none"
    )
    assert (record["sample"], record["seed"], record["role"]) == (None, None, "utility")
    assert (record["unit"], record["level"]) == ("squared maximum mean discrepancy", "cell")
    assert (record["judge"], record["value"]) == ("image-quality", 0)
    again = run(make_config(config), discover())
    assert again.reused
    assert again.records.read_bytes() == result.records.read_bytes()


def dict_of(line: str) -> dict[str, object]:
    return dict(json.loads(line))


def test_a_missing_image_is_an_error_of_the_whole_cell(
    suite_copy: Path, tmp_path: Path, built_in_plugins: list[EntryPoint]
) -> None:
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text()) | {"oracle": None}
    write_manifest(suite_copy, content)
    crashing = EntryPoint("crashing", "fixtures.crashing", GROUP)
    config = {
        "suite": str(suite_copy),
        "out": str(tmp_path / "out"),
        "mitigation": ["crashing"],
        "attack": ["none"],
        "metric": ["image-quality"],
    }
    result = run(make_config(config), discover([*built_in_plugins, crashing]))
    entry = next(e for e in result.entries if e.mitigation.name == "crashing")
    assert "clip_fid_to_unmitigated" not in entry.summaries.utility
    failed = [r for r in map(dict_of, result.records.read_text().splitlines()) if r["error"]]
    (record,) = (r for r in failed if r["metric"] == "image-quality")
    assert (record["sample"], record["value"], record["unit"]) == (None, None, None)
    assert str(record["error"]).startswith("4 of 4 lack an image: ")
    assert not entry.ranked
