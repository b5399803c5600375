"""A second descriptor beside the suite's: an ONNX export of the suite's own, and others."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_cohen_kappa

from dorib import DoribError, Generation, Suite, cohens_kappa
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_sscd import SscdAgreementParams
from dorib_sscd.agreement import SscdAgreement
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from dorib_sscd.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fixtures.suites import SIDE, manifest

THRESHOLD = 0.9999
"""High, since a random network finds all images alike; a copy is at 1 within float32."""
PIXELS = 288
"""The suite's descriptor takes what the ONNX back end resizes to, so that both see the same."""


class Export(nn.Module):
    """The suite's descriptor behind the preprocessing of the official weights."""

    def __init__(self, network: DescriptorNetwork) -> None:
        super().__init__()
        self.network = network
        self.mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD).view(3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.std + self.mean)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite's descriptor, and its export."""
    root = tmp_path_factory.mktemp("suite")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        small = DescriptorConfig(input_size=PIXELS, widths=(8, 16), dimensions=12)
        DescriptorNetwork(small).save_pretrained(root / "descriptor")
    network = DescriptorNetwork.from_pretrained(root / "descriptor")
    torch.onnx.export(
        Export(network).eval(),
        (torch.zeros(1, 3, PIXELS, PIXELS),),
        str(root / "export.onnx"),
        dynamo=False,
    )
    return root


def prepared(folder: Path, threshold: float = THRESHOLD, **params) -> SscdAgreement:
    descriptor = {"path": "descriptor", "threshold": THRESHOLD, "false_positive_rate": 0.001}
    suite = Suite(folder, Manifest.model_validate(manifest() | {"descriptor": descriptor}))
    content = {"backend": "onnx", "path": folder / "export.onnx", "threshold": threshold}
    metric = SscdAgreement(SscdAgreementParams.model_validate(content | params))
    metric.prepare(suite_view(suite), torch.device("cpu"))
    return metric


def generation(sample: str, copies: bool) -> Generation:
    """Two images: copies of the original, or its negatives."""
    draw = torch.Generator().manual_seed(len(sample))
    original = (
        torch.rand(1, 3, SIDE, SIDE, generator=draw) * torch.tensor([1, 0.6, 0.2])[:, None, None]
    )
    image = original if copies else 1 - original
    return Generation(sample, "a picture", (0, 1), image.expand(2, -1, -1, -1), original)


def values_of(metric: SscdAgreement, shown: list[Generation]) -> dict[str, float]:
    return {value.metric: value.value for value in metric.measure_cell(iter(shown))}


def test_an_export_of_the_suite_s_own_descriptor_agrees_in_everything(folder: Path) -> None:
    metric = prepared(folder)
    shown = [generation("a", copies=True), generation("bb", copies=False)]
    for values, copies in zip(metric.measure(shown), (1.0, 0.0), strict=True):
        assert {v.metric for v in values} == {"sscd_original_other", "replicates_other"}
        assert [v.value for v in values if v.metric == "replicates_other"] == [copies, copies]
    assert values_of(metric, shown) == {"descriptor_agreement": 1, "descriptor_kappa": 1}


def test_another_threshold_agrees_less(folder: Path) -> None:
    """What is below every cosine calls everything a replica: right in half, by chance."""
    shown = [generation("a", copies=True), generation("bb", copies=False)]
    found = values_of(prepared(folder, threshold=-0.999), shown)
    assert found == {"descriptor_agreement": 0.5, "descriptor_kappa": 0}


def test_kappa_is_left_out_where_it_is_not_defined(folder: Path) -> None:
    metric = prepared(folder)
    assert values_of(metric, [generation("a", copies=True)]) == {"descriptor_agreement": 1}
    assert values_of(metric, []) == {}


def test_stack_names_both_descriptors(folder: Path) -> None:
    stack = prepared(folder, threshold=0.7).stack()
    assert (stack["suite_backend"], stack["other_backend"]) == ("suite", "onnx")
    assert (stack["suite_threshold"], stack["other_threshold"]) == (THRESHOLD, 0.7)
    assert stack["suite_weights_sha256"] != stack["other_weights_sha256"]


def test_a_missing_export_is_named(folder: Path) -> None:
    with pytest.raises(DoribError, match=r"absent\.onnx cannot be read"):
        prepared(folder, path=folder / "absent.onnx")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Field required"),
        ({"backend": "suite"}, "'torchscript' or 'onnx'"),
        ({"backend": "onnx", "path": "a.onnx"}, "state threshold"),
    ],
)
def test_the_second_descriptor_must_be_stated(params: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SscdAgreementParams.model_validate(params)


# Cohen's kappa


def test_kappa_of_a_worked_example() -> None:
    """20 yes-yes, 15 no-no, 5 and 10 apart: (0.7 - 0.5) / (1 - 0.5)."""
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_kappa_is_torchmetrics_own(verdicts: list[tuple[bool, bool]]) -> None:
    first, second = map(list, zip(*verdicts, strict=True))
    kappa = cohens_kappa(first, second)
    if kappa is None:
        assert len({*first, *second}) == 1
    else:
        expected = binary_cohen_kappa(torch.tensor(first).int(), torch.tensor(second).int())
        assert kappa == pytest.approx(float(expected), abs=1e-5)
        assert kappa == cohens_kappa(second, first)


def test_verdicts_on_different_items_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 and 1 verdicts"):
        cohens_kappa([True, False], [True])
