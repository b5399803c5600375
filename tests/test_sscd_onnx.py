"""ONNX exports of either form: float images, channels first, and 8-bit ones, channels last."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from dorib import DoribError, Generation, Suite
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_sscd import SscdAgreementParams, SscdParams
from dorib_sscd.agreement import SscdAgreement
from dorib_sscd.metric import Sscd
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from dorib_sscd.preprocessing import IMAGENET_MEAN, IMAGENET_STD, eight_bit
from fixtures.suites import SIDE, manifest

Shape = tuple[int | str, ...]
FIRST: Shape = ("n", 3, "h", "w")
LAST: Shape = ("n", "h", "w", 3)
GRID = 4
"""The descriptor is the mean of each square of a grid, for each channel, off its middle."""


def export(
    path: Path,
    shape: Shape,
    kind: int = TensorProto.UINT8,
    descriptors: int = TensorProto.FLOAT,
    inputs: int = 1,
) -> Path:
    """A network of mean colours, whichever images it takes; it normalises 8-bit ones itself."""
    nodes, found = [], "images"
    if kind != TensorProto.FLOAT:
        nodes += [
            helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["float", "scale"], ["shares"]),
        ]
        found = "shares"
    if shape[-1] == 3:
        nodes.append(helper.make_node("Transpose", [found], ["first"], perm=[0, 3, 1, 2]))
        found = "first"
    if kind != TensorProto.FLOAT:
        nodes += [
            helper.make_node("Sub", [found, "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normal"]),
        ]
        found = "normal"
    nodes += [
        helper.make_node(
            "AveragePool", [found], ["pooled"], kernel_shape=[288 // GRID] * 2, strides=[72] * 2
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["descriptors"], to=descriptors),
    ]
    constants = {
        "scale": np.array(255, np.float32),
        "mean": np.array(IMAGENET_MEAN, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(IMAGENET_STD, np.float32).reshape(1, 3, 1, 1),
    }
    used = {name for node in nodes for name in node.input}
    values = [helper.make_tensor_value_info("images", kind, shape)]
    values += [helper.make_tensor_value_info(f"other{n}", kind, shape) for n in range(1, inputs)]
    graph = helper.make_graph(
        nodes,
        "colours",
        values,
        [helper.make_tensor_value_info("descriptors", descriptors, (shape[0], 3 * GRID**2))],
        [numpy_helper.from_array(v, name) for name, v in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("suite")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        small = DescriptorConfig(input_size=32, widths=(8, 16), dimensions=12)
        DescriptorNetwork(small).save_pretrained(folder / "descriptor")
    settings = {"descriptor": {"path": "descriptor", "threshold": 0.5}}
    return Suite(folder, Manifest.model_validate(manifest() | settings))


def prepared(suite: Suite, path: Path) -> Sscd:
    metric = Sscd(SscdParams(backend="onnx", path=path, threshold=0.7))
    metric.prepare(suite_view(suite), torch.device("cpu"))
    return metric


def shown() -> Generation:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, SIDE, SIDE, generator=generator)
    return Generation("s", "", (0, 1, 2), images[:3], images[2:])


def likeness(metric: Sscd) -> list[float]:
    (values,) = metric.measure([shown()])
    return [value.value for value in values if value.metric == "sscd_original"]


def test_both_forms_of_one_network_see_the_same_up_to_rounding(
    suite: Suite, tmp_path: Path
) -> None:
    floats = prepared(suite, export(tmp_path / "float.onnx", FIRST, TensorProto.FLOAT))
    eight = prepared(suite, export(tmp_path / "eight.onnx", LAST))
    wanted = likeness(floats)
    assert wanted[2] == pytest.approx(1) and min(wanted) < 0.9
    assert likeness(eight) == pytest.approx(wanted, abs=1e-3)


def test_the_stack_says_which_form_it_is(suite: Suite, tmp_path: Path) -> None:
    path = export(tmp_path / "eight.onnx", LAST)
    stack = prepared(suite, path).stack()
    assert stack["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "8-bit" in str(stack["normalisation"])
    floats = prepared(suite, export(tmp_path / "float.onnx", FIRST, TensorProto.FLOAT)).stack()
    assert "ImageNet" in str(floats["normalisation"])


@pytest.mark.parametrize("shape", [(1, 288, 288, 3), (1, "h", "w", 3)])
def test_an_export_of_one_image_at_a_time_judges_all(
    suite: Suite, tmp_path: Path, shape: Shape
) -> None:
    alone = prepared(suite, export(tmp_path / "one.onnx", shape))
    together = prepared(suite, export(tmp_path / "all.onnx", LAST))
    assert likeness(alone) == pytest.approx(likeness(together), abs=1e-6)


def test_pixels_reach_the_network_as_they_are_stored() -> None:
    pixels = torch.randint(256, (2, 3, 288, 288), generator=torch.Generator().manual_seed(1))
    found = eight_bit(pixels / 255, "short-edge-288")
    assert found.dtype == torch.uint8 and found.is_contiguous()
    assert torch.equal(found, pixels.permute(0, 2, 3, 1).to(torch.uint8))


def test_the_agreement_metric_takes_either(suite: Suite, tmp_path: Path) -> None:
    verdicts: list[list[float]] = []
    for name, shape, kind in (("a", LAST, TensorProto.UINT8), ("b", FIRST, TensorProto.FLOAT)):
        path = export(tmp_path / f"{name}.onnx", shape, kind)
        params = SscdAgreementParams(backend="onnx", path=path, threshold=0.999)
        metric = SscdAgreement(params)
        metric.prepare(suite_view(suite), torch.device("cpu"))
        (values,) = metric.measure([shown()])
        verdicts.append([v.value for v in values if v.metric == "replicates_other"])
    assert verdicts == [[0, 0, 1]] * 2


@pytest.mark.parametrize(
    ("shape", "kind", "takes"),
    [
        (FIRST, TensorProto.UINT8, "tensor(uint8) of shape ['n', 3, 'h', 'w']"),
        (LAST, TensorProto.FLOAT, "tensor(float) of shape ['n', 'h', 'w', 3]"),
        (("n", "h", "w", "c"), TensorProto.UINT8, "tensor(uint8) of shape ['n', 'h', 'w', 'c']"),
        ((1, 3, 288, 3), TensorProto.UINT8, "tensor(uint8) of shape [1, 3, 288, 3]"),
        ((1, 3, 288, 3), TensorProto.FLOAT, "tensor(float) of shape [1, 3, 288, 3]"),
        (LAST, TensorProto.INT8, "tensor(int8) of shape ['n', 'h', 'w', 3]"),
        (("n", 3), TensorProto.UINT8, "tensor(uint8) of shape ['n', 3]"),
    ],
)
def test_an_export_of_any_other_form_is_refused_by_its_type_and_shape(
    suite: Suite, tmp_path: Path, shape: Shape, kind: int, takes: str
) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(_passes_on(shape, kind))
    with pytest.raises(DoribError) as caught:
        prepared(suite, path)
    message = str(caught.value)
    assert message.startswith(f"metric sscd: {path} takes {takes}; give an export that takes")
    assert "uint8 images [batch, height, width, 3]" in message and "\n" not in message


def test_an_export_of_two_inputs_is_refused(suite: Suite, tmp_path: Path) -> None:
    path = export(tmp_path / "two.onnx", LAST, inputs=2)
    with pytest.raises(DoribError, match=r"two\.onnx has 2 inputs; give an export"):
        prepared(suite, path)


def test_descriptors_of_unknown_scale_are_refused(suite: Suite, tmp_path: Path) -> None:
    path = export(tmp_path / "int.onnx", LAST, descriptors=TensorProto.INT8)
    with pytest.raises(DoribError, match=r"gives tensor\(int8\), whose scale nothing tells"):
        prepared(suite, path)


def _passes_on(shape: Shape, kind: int) -> bytes:
    """A network that gives what it takes, as floats."""
    node = helper.make_node("Cast", ["images"], ["descriptors"], to=TensorProto.FLOAT)
    graph = helper.make_graph(
        [node],
        "same",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_picture_of_another_shape_keeps_its_aspect_ratio() -> None:
    wide: Tensor = torch.rand(1, 3, 64, 96)
    assert eight_bit(wide, "short-edge-288").shape == (1, 288, 432, 3)
    assert eight_bit(wide, "square-320").shape == (1, 320, 320, 3)
