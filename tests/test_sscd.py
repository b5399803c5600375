import hashlib
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from dorib import DoribError, Generation, Measured, Suite
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_sscd import OFFICIAL_SHA256, SscdParams, backends, preprocessing, weights
from dorib_sscd.descriptors import Describe, Descriptor
from dorib_sscd.metric import Sscd
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from fixtures.suites import SIDE, manifest

CPU = torch.device("cpu")
SEEDS = (3, 5, 8)
OF_THE_FIRST = {n: q for n, q in Sscd.quantities.items() if not n.endswith("_second")}
"""What a suite without a second descriptor has."""
SETTINGS = {"path": "descriptor", "threshold": 0.5, "false_positive_rate": 0.001}


def pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, SIDE, SIDE, generator=generator)


def generation(
    sample: str = "s", seed: int = 0, originals: int = 2, twins: bool = True, images: int = 3
) -> Generation:
    return Generation(
        sample=sample,
        caption="a picture",
        seeds=SEEDS[:images],
        images=pictures(images, seed),
        originals=pictures(originals, seed + 100),
        twins=pictures(images, seed + 200) if twins else None,
    )


def suite_at(folder: Path, descriptor: bool = True) -> Suite:
    extra = {"descriptor": SETTINGS} if descriptor else {}
    return Suite(folder, Manifest.model_validate(manifest() | extra))


@pytest.fixture(scope="module")
def network() -> DescriptorNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        small = DescriptorConfig(input_size=32, widths=(8, 16), dimensions=12)
        return DescriptorNetwork(small).half().float().eval()


@pytest.fixture(scope="module")
def suite(network: DescriptorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("suite")
    network.save_pretrained(folder / "descriptor")
    return suite_at(folder)


def prepared(suite: Suite, **params) -> Sscd:
    metric = Sscd(SscdParams(**params))
    metric.prepare(suite_view(suite), CPU)
    return metric


def by_name(values: list[Measured] | tuple[Measured, ...]) -> dict[str, list[float]]:
    table: dict[str, list[float]] = {}
    for measured in values:
        table.setdefault(measured.metric, []).append(measured.value)
    return table


def with_descriptor(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, describe: Describe, **params
) -> Sscd:
    fake = Descriptor(describe, "fake", "0" * 64, "none", "none", params.pop("at", 0.5))
    monkeypatch.setattr(backends, "load", lambda *_: fake)
    return prepared(suite, **params)


# What is measured


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_values_are_the_plain_cosines(suite: Suite, network: DescriptorNetwork, seed: int) -> None:
    shown = generation(seed=seed)
    own, originals, twins = (
        network(images).numpy() for images in (shown.images, shown.originals, shown.twins)
    )

    def cosine(a, b) -> float:
        return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))

    nearest = [max(cosine(image, original) for original in originals) for image in own]
    pairs = [cosine(own[i], own[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    threshold = sorted(nearest)[1]
    (values,) = prepared(suite, threshold=threshold - 1e-6).measure([shown])
    found = by_name(values)
    assert found.pop("replicates") == [float(value >= threshold) for value in nearest]
    expected = {
        "sscd_original": nearest,
        "sscd_original_max": [max(nearest)],
        "sscd_original_median": [median(nearest)],
        "sscd_twin": [cosine(a, b) for a, b in zip(own, twins, strict=True)],
        "diversity": [median(pairs)],
    }
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        assert found[name] == pytest.approx(wanted, abs=1e-6), name


def test_an_image_exactly_at_the_threshold_replicates(
    monkeypatch: pytest.MonkeyPatch, suite: Suite
) -> None:
    # Descriptors whose cosine with the original, (1, 0), is exactly 0.6.
    def describe(images: Tensor) -> Tensor:
        rows = [(1.0, 0.0) if image.mean() > 0.5 else (3.0, 4.0) for image in images]
        return torch.tensor(rows)

    dark, light = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 3, SIDE, SIDE)
    shown = Generation("s", "a picture", (0,), dark, originals=light)
    for threshold, replicates in ((0.6, [1.0]), (0.6 + 1e-9, [0.0])):
        metric = with_descriptor(monkeypatch, suite, describe, at=threshold)
        (values,) = metric.measure([shown])
        assert by_name(values)["sscd_original"] == [0.6]
        assert by_name(values)["replicates"] == replicates


def test_only_the_official_descriptor_is_said_to_be_official(
    monkeypatch: pytest.MonkeyPatch, suite: Suite
) -> None:
    def describe(images: Tensor) -> Tensor:
        return torch.ones(len(images), 2)

    assert "official" not in prepared(suite).stack()
    official = Descriptor(describe, "torchscript", "0" * 64, "none", "none", 0.7, official=True)
    monkeypatch.setattr(backends, "load", lambda *_: official)
    assert prepared(suite).stack()["official"] == "yes"


def test_every_value_is_of_a_declared_quantity_and_level(suite: Suite) -> None:
    (values,) = prepared(suite).measure([generation()])
    assert {value.metric for value in values} == set(OF_THE_FIRST)
    for name, quantity in OF_THE_FIRST.items():
        seeds = tuple(value.seed for value in values if value.metric == name)
        assert seeds == (SEEDS if quantity.level == "image" else (None,)), name


def test_what_is_not_there_is_not_measured(suite: Suite) -> None:
    metric = prepared(suite)
    without, alone = metric.measure(
        [generation("a", originals=0, twins=False), generation("b", images=1)]
    )
    assert {value.metric for value in without} == {"diversity"}
    assert {value.metric for value in alone} == set(OF_THE_FIRST) - {"diversity"}


def test_an_image_is_its_own_replica(suite: Suite) -> None:
    images = pictures(2, 7)
    shown = Generation("s", "a picture", (0, 1), images, originals=images, twins=images)
    (values,) = prepared(suite, threshold=1 - 1e-9).measure([shown])
    found = by_name(values)
    assert found["sscd_original"] == pytest.approx([1, 1], abs=1e-12)
    assert found["sscd_twin"] == pytest.approx([1, 1], abs=1e-12)
    assert found["replicates"] == [1, 1]


@settings(max_examples=25, deadline=None)
@given(threshold=st.floats(-0.99, 1), higher=st.floats(-0.99, 1), seed=st.integers(0, 1000))
def test_a_higher_threshold_never_finds_more(threshold: float, higher: float, seed: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        counts = []
        for at in sorted((threshold, higher)):
            metric = with_descriptor(monkeypatch, suite_at(Path()), _colours, at=at)
            (values,) = metric.measure([generation(seed=seed)])
            counts.append(sum(by_name(values)["replicates"]))
    assert counts[0] >= counts[1]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(3)), seed=st.integers(0, 1000))
def test_seeds_in_another_order_are_the_same_values(order: list[int], seed: int) -> None:
    shown = generation(seed=seed)
    shuffled = Generation(
        sample="s",
        caption=shown.caption,
        seeds=tuple(SEEDS[i] for i in order),
        images=shown.images[order],
        originals=shown.originals.flip(0),
        twins=shown.twins[order],
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        metric = with_descriptor(monkeypatch, suite_at(Path()), _colours)
        (straight,) = metric.measure([shown])
        metric.prepare(suite_view(suite_at(Path())), CPU)
        (other,) = metric.measure([shuffled])
    values = {(value.metric, value.seed): value.value for value in straight}
    assert {(value.metric, value.seed): value.value for value in other} == pytest.approx(values)


def _colours(images: Tensor) -> Tensor:
    """A stand-in: the mean colours of the four quarters, off their middle."""
    return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1) - 0.5


def test_values_do_not_depend_on_the_batch(suite: Suite) -> None:
    shown = [generation(f"s{i}", seed=i, originals=1 + i % 2, images=1 + i) for i in range(3)]
    together = [list(values) for values in prepared(suite).measure(shown)]
    apart = [
        list(values) for item in shown for values in prepared(suite, batch_size=1).measure([item])
    ]
    for values, others in zip(together, apart, strict=True):
        assert [v.value for v in values] == pytest.approx([v.value for v in others], abs=1e-6)


def test_originals_are_described_once(monkeypatch: pytest.MonkeyPatch, suite: Suite) -> None:
    described = []

    def describe(images: Tensor) -> Tensor:
        described.append(len(images))
        return _colours(images)

    metric = with_descriptor(monkeypatch, suite, describe)
    shown = generation(twins=False)
    first, again = (by_name(next(metric.measure([shown]))) for _ in range(2))
    assert sum(described) == 3 + 2 + 3
    assert first == again
    metric.prepare(suite_view(suite), CPU)
    list(metric.measure([shown]))
    assert sum(described) == 3 + 2 + 3 + 3 + 2


def test_a_damaged_descriptor_is_not_a_value(monkeypatch: pytest.MonkeyPatch, suite: Suite) -> None:
    metric = with_descriptor(monkeypatch, suite, lambda images: _colours(images) / 0)
    with pytest.raises(ValueError, match="not finite"):
        list(metric.measure([generation()]))


# What the values depend on


def test_stack_of_the_suite_descriptor(suite: Suite) -> None:
    stack = prepared(suite).stack()
    content = (suite.root / "descriptor" / "model.safetensors").read_bytes()
    assert stack["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert (stack["threshold"], stack["false_positive_rate"]) == (0.5, 0.001)
    assert stack["backend"] == "suite"
    assert "32 px" in str(stack["resize"])


@torch.no_grad()
def by_definition(network: DescriptorNetwork, images: Tensor) -> Tensor:
    """The descriptors of images of the network's own size, with its weights and torch's parts."""
    weights = network.state_dict()
    features = nn.functional.conv2d(
        (images - 0.5) / 0.25, weights["stem.weight"], weights["stem.bias"], 2, 2
    )
    for stage in range(2):
        own = {n.removeprefix(f"stages.{stage}."): w for n, w in weights.items()}
        stride = 1 + stage
        hidden = nn.functional.conv2d(features, own["first.weight"], None, stride, 1)
        hidden = nn.functional.group_norm(
            hidden, 8, own["first_norm.weight"], own["first_norm.bias"]
        ).relu()
        hidden = nn.functional.conv2d(hidden, own["second.weight"], None, 1, 1)
        hidden = nn.functional.group_norm(
            hidden, 8, own["second_norm.weight"], own["second_norm.bias"]
        )
        shortcut = nn.functional.conv2d(features, own["skip.weight"], own["skip.bias"], stride)
        features = (hidden + shortcut).relu()
    pooled = (features.clamp_min(1e-4) ** 3).mean(dim=(2, 3)) ** (1 / 3)
    found = pooled @ weights["head.weight"].T + weights["head.bias"]
    return found / found.norm(dim=1, keepdim=True)


def test_the_suites_network_by_its_definition(network: DescriptorNetwork) -> None:
    images = pictures(3, 5)
    torch.testing.assert_close(network(images), by_definition(network, images))


@pytest.mark.parametrize("side", [96, 20])
def test_the_suites_network_sees_other_sizes_as_pillow_resizes_them(
    network: DescriptorNetwork, side: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    resized = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    shown, wanted = (
        torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 255
        for p in (pixels, resized)
    )
    found = network(shown)
    assert (found * by_definition(network, wanted)).sum() > 0.9999
    unlike = nn.functional.interpolate(shown, (SIDE, SIDE), mode="bilinear")
    assert side < SIDE or (found * by_definition(network, unlike)).sum() < 0.9999


def test_another_threshold_has_no_known_false_positive_rate(suite: Suite) -> None:
    stack = prepared(suite, threshold=0.6).stack()
    assert (stack["threshold"], stack["false_positive_rate"]) == (0.6, None)


def test_a_suite_without_a_descriptor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DoribError, match="has no descriptor; choose sscd:backend=torchscript"):
        prepared(suite_at(tmp_path, descriptor=False))


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"backend": "onnx", "threshold": 0.7}, "needs path"),
        ({"backend": "onnx", "path": "a.onnx"}, "state threshold"),
        ({"backend": "torchscript", "path": "a.pt", "sha256": "0" * 64}, "state threshold"),
        ({"backend": "torchscript", "sha256": "abc"}, "64 hexadecimal"),
        ({"path": "a.pt"}, "path does nothing with backend=suite"),
        ({"resize": "square-320"}, "resize does nothing with backend=suite"),
        ({"download": True}, "official TorchScript file and nothing else"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"backend": "pickle"}, "'suite', 'torchscript' or 'onnx'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SscdParams(**params)


# Preprocessing


@pytest.mark.parametrize(
    ("rule", "shape", "size"),
    [
        ("short-edge-288", (64, 64), (288, 288)),
        ("short-edge-288", (512, 768), (288, 432)),
        ("short-edge-288", (601, 400), (432, 288)),
        ("square-320", (512, 768), (320, 320)),
    ],
)
def test_preprocessing_is_pillows_up_to_rounding(rule, shape, size) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = preprocessing.preprocess(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, rule
    )
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    wanted = (np.asarray(resized) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert found.shape == (1, 3, *size)
    difference = np.abs(found[0].permute(1, 2, 0).numpy() - wanted).max()
    assert difference <= 1.01 / 255 / 0.224


# TorchScript and ONNX: one small network, in both formats


class Pooled(nn.Module):
    """Its descriptors are not of unit length: the metric has to see to that."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 5, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.conv(images)).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Pooled().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def script(pooled: Pooled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "pooled.pt"
    torch.jit.trace(pooled, torch.zeros(1, 3, 288, 288)).save(str(path))
    return path


def save_onnx(pooled: Pooled, path: Path, shape: tuple[int | str, ...]) -> Path:
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c"], strides=[4, 4], kernel_shape=[5, 5]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["descriptors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, (shape[0], 6))],
        [
            numpy_helper.from_array(pooled.conv.weight.numpy(), "w"),
            numpy_helper.from_array(pooled.conv.bias.numpy(), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def likeness(pooled: Pooled, shown: Generation, rule: preprocessing.Resize) -> list[float]:
    """By definition, image by image."""

    def descriptor(image: Tensor) -> np.ndarray:
        found = pooled(preprocessing.preprocess(image[None], rule))[0].numpy()
        return found / np.linalg.norm(found)

    originals = [descriptor(original) for original in shown.originals]
    return [max(float(descriptor(i) @ original) for original in originals) for i in shown.images]


def test_torchscript(suite: Suite, pooled: Pooled, script: Path) -> None:
    metric = prepared(
        suite, backend="torchscript", path=script, sha256=sha256(script).upper(), threshold=0.8
    )
    shown = generation()
    found = by_name(next(metric.measure([shown])))["sscd_original"]
    assert found == pytest.approx(likeness(pooled, shown, "short-edge-288"), abs=1e-5)
    assert metric.stack() == {
        "backend": "torchscript",
        "weights_sha256": sha256(script),
        "resize": "short-edge-288, bilinear, antialiased",
        "normalisation": "ImageNet mean and standard deviation",
        "threshold": 0.8,
        "false_positive_rate": None,
    }


@pytest.mark.parametrize("batch", ["n", 1])
def test_onnx(suite: Suite, pooled: Pooled, tmp_path: Path, batch: int | str) -> None:
    path = save_onnx(pooled, tmp_path / "pooled.onnx", (batch, 3, "h", "w"))
    metric = prepared(suite, backend="onnx", path=path, threshold=0.7, resize="square-320")
    shown = [generation("a"), generation("b", seed=1, images=2, originals=1)]
    for item, values in zip(shown, metric.measure(shown), strict=True):
        found = by_name(values)["sscd_original"]
        assert found == pytest.approx(likeness(pooled, item, "square-320"), abs=1e-5)
    stack = metric.stack()
    assert (stack["backend"], stack["weights_sha256"]) == ("onnx", sha256(path))
    assert stack["resize"] == "square-320, bilinear, antialiased"


def test_the_resize_rule_matters(suite: Suite, pooled: Pooled, tmp_path: Path) -> None:
    path = save_onnx(pooled, tmp_path / "pooled.onnx", ("n", 3, "h", "w"))
    found = [
        by_name(next(metric.measure([generation()])))["sscd_original"]
        for metric in (
            prepared(suite, backend="onnx", path=path, threshold=0.7, resize=rule)
            for rule in ("short-edge-288", "square-320")
        )
    ]
    assert found[0] != pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize("expected", [None, "0" * 64])
def test_torchscript_of_another_hash_is_never_opened(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, script: Path, expected: str | None
) -> None:
    opened = []
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: opened.append(1))
    threshold = None if expected is None else 0.7
    with pytest.raises(DoribError, match=rf"has sha256 {sha256(script)}, not {expected or '9f2'}"):
        prepared(suite, backend="torchscript", path=script, sha256=expected, threshold=threshold)
    assert not opened


def test_missing_official_weights_say_how_they_are_had(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(DoribError) as caught:
        prepared(suite, backend="torchscript")
    path = tmp_path / ".cache" / "dorib" / "sscd" / weights.OFFICIAL_NAME
    assert f"curl --create-dirs -o {path} {weights.OFFICIAL_URL}" in str(caught.value)
    assert "download=true" in str(caught.value)
    assert not path.parent.exists()


def test_the_official_file_is_judged_at_seven_tenths(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, script: Path, tmp_path: Path
) -> None:
    """The true file is 99 MB: another stands in for it, under its own hash."""
    monkeypatch.setattr(weights, "official_path", lambda: tmp_path / "cache" / "official.pt")
    monkeypatch.setattr(backends, "OFFICIAL_SHA256", sha256(script))
    fetched = []

    def fetch(path: Path, expected: str) -> None:
        fetched.append(expected)
        real_fetch(path, expected, script.as_uri())

    real_fetch = weights.fetch_official
    monkeypatch.setattr(weights, "fetch_official", fetch)
    for _ in range(2):
        metric = prepared(suite, backend="torchscript", download=True)
        assert metric.stack()["threshold"] == 0.7
    assert fetched == [sha256(script)]


def test_a_file_given_by_path_must_exist(suite: Suite, tmp_path: Path) -> None:
    params = {"backend": "torchscript", "path": tmp_path / "no.pt", "threshold": 0.7}
    with pytest.raises(DoribError, match=r"no\.pt cannot be read \(No such file"):
        prepared(suite, sha256="0" * 64, **params)


@pytest.mark.parametrize("fault", ["another file", "no server"])
def test_a_download_is_whole_and_checked_or_leaves_nothing(
    script: Path, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "cache" / "official.pt"
    url = script.as_uri() if fault == "another file" else (tmp_path / "no.pt").as_uri()
    problem = "nothing was kept" if fault == "another file" else "could not be fetched"
    with pytest.raises(DoribError, match=problem):
        weights.fetch_official(path, OFFICIAL_SHA256, url)
    assert not list(path.parent.iterdir())


def test_a_file_that_is_no_torchscript_is_refused(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_text("no network")
    with pytest.raises(DoribError, match="cannot be loaded as TorchScript"):
        prepared(suite, backend="torchscript", path=path, sha256=sha256(path), threshold=0.7)


def test_a_file_that_is_no_onnx_is_refused(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no network")
    with pytest.raises(DoribError, match="cannot be loaded as ONNX"):
        prepared(suite, backend="onnx", path=path, threshold=0.7)


def test_onnx_of_another_hash_is_refused(suite: Suite, pooled: Pooled, tmp_path: Path) -> None:
    path = save_onnx(pooled, tmp_path / "pooled.onnx", ("n", 3, "h", "w"))
    with pytest.raises(DoribError, match="not 0000"):
        prepared(suite, backend="onnx", path=path, sha256="0" * 64, threshold=0.7)


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (4, 3, "h", "w")])
def test_an_export_for_other_images_fails_before_the_work(
    suite: Suite, pooled: Pooled, tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    path = save_onnx(pooled, tmp_path / "pooled.onnx", shape)
    with pytest.raises(DoribError, match="the onnx descriptor fails on one image"):
        prepared(suite, backend="onnx", path=path, threshold=0.7)


def test_an_export_of_another_number_of_channels_is_refused(suite: Suite, tmp_path: Path) -> None:
    path = save_onnx(_of_one_channel(), tmp_path / "pooled.onnx", (1, 1, "h", "w"))
    with pytest.raises(DoribError, match=r"takes tensor\(float\) of shape \[1, 1, 'h', 'w'\]"):
        prepared(suite, backend="onnx", path=path, threshold=0.7)


def test_a_network_of_another_output_fails_before_the_work(suite: Suite, tmp_path: Path) -> None:
    path = tmp_path / "maps.pt"
    maps = nn.Conv2d(3, 6, 5, stride=96).requires_grad_(False)
    torch.jit.trace(maps, torch.zeros(1, 3, 288, 288)).save(str(path))
    with pytest.raises(DoribError, match=r"its output has shape \[1, 6, 3, 3\]"):
        prepared(suite, backend="torchscript", path=path, sha256=sha256(path), threshold=0.7)


def _of_one_channel() -> Pooled:
    network = Pooled().requires_grad_(False)
    network.conv.weight = nn.Parameter(network.conv.weight[:, :1].clone(), requires_grad=False)
    return network


def test_onnx_without_onnxruntime_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, suite: Suite, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DoribError, match=r"pip install 'dorib\[onnx\]'"):
        prepared(suite, backend="onnx", path=tmp_path / "a.onnx", threshold=0.7)
