"""The backends: the suite's own network, a TorchScript file, an ONNX export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from dorib import DescriptorSettings, DoribError, SuiteView, one_line
from dorib_sscd import OFFICIAL_SHA256, SscdParams, weights
from dorib_sscd.descriptors import Describe, Descriptor
from dorib_sscd.efficientnet import FeatureConfig, FeatureDescriptor
from dorib_sscd.folders import WEIGHTS, DescriptorFolder
from dorib_sscd.network import DescriptorNetwork
from dorib_sscd.onnx_exports import read_export
from dorib_sscd.preprocessing import NORMALISATION, Resize, preprocess

OFFICIAL_THRESHOLD = 0.7
"""As in Kowalczuk et al., arXiv 2507.16880, and in the labels of Hintersdorf et al., 2406.02366."""
DEFAULT_RESIZE: Resize = "short-edge-288"


SuiteNetwork: TypeAlias = DescriptorNetwork | FeatureDescriptor


def load(params: SscdParams, suite: SuiteView, device: torch.device) -> Descriptor:
    """The descriptor that `params` ask for, tried on one image of the suite's size.

    Raises:
        DoribError: its file is missing, is another file, or cannot be used; or the suite has none.
    """
    match params.backend:
        case "suite":
            descriptor = _load_suite(params, suite, device)
        case "torchscript":
            descriptor = _load_torchscript(params, device)
        case "onnx":
            descriptor = _load_onnx(params)
    _try(descriptor, suite)
    return descriptor


def load_second(suite: SuiteView, device: torch.device) -> Descriptor | None:
    """The suite's second descriptor, tried on one image; None where it has none.

    It decides by its own threshold, whichever descriptor stands beside it.

    Raises:
        DoribError: its file is missing, is another file, or cannot be used.
    """
    settings = suite.second_descriptor
    if settings is None:
        return None
    descriptor = _load_settings(settings, suite, device)
    _try(descriptor, suite)
    return descriptor


def load_network(folder: Path) -> SuiteNetwork:
    """The network of a descriptor's folder; its `config.json` names the architecture.

    Raises:
        DoribError: a file is missing, broken or a link that leads elsewhere, or the architecture
            is unknown.
    """
    own = DescriptorFolder(folder)
    architecture = own.configuration().get("architecture")
    if architecture is None:
        return DescriptorNetwork.from_pretrained(folder)
    known = FeatureConfig().architecture
    if architecture != known:
        raise DoribError(
            f"{own.what}: config.json: architecture {one_line(repr(architecture), 80)} is unknown; "
            f"leave it out, or give {known}"
        )
    return FeatureDescriptor.from_pretrained(folder)


def _load_suite(params: SscdParams, suite: SuiteView, device: torch.device) -> Descriptor:
    settings = suite.descriptor
    if settings is None:
        raise DoribError(
            f"metric sscd: suite {suite.name} has no descriptor; choose sscd:backend=torchscript "
            "or backend=onnx, or add one to its suite.yaml"
        )
    if params.threshold not in (None, settings.threshold):
        # At another threshold nobody has calibrated it.
        changed = {"threshold": params.threshold, "false_positive_rate": None}
        settings = settings.model_copy(update=changed)
    return _load_settings(settings, suite, device)


def _load_settings(
    settings: DescriptorSettings, suite: SuiteView, device: torch.device
) -> Descriptor:
    if settings.path is None:
        official = {"backend": "torchscript", "threshold": settings.threshold}
        return _load_torchscript(SscdParams.model_validate(official), device)
    folder = Path(suite.component(settings.path))
    model = load_network(folder).to(device)

    @torch.no_grad()
    def describe(images: Tensor) -> Tensor:
        descriptors: Tensor = model(images.to(device))
        return descriptors.cpu()

    return Descriptor(
        describe=describe,
        backend="suite",
        weights_sha256=weights.file(folder / WEIGHTS, None).read()[1],
        resize=f"{model.resize_rule}: {model.config.input_size} px",
        normalisation=model.normalisation,
        threshold=settings.threshold,
        false_positive_rate=settings.false_positive_rate,
        views=model.config.views,
    )


def _load_torchscript(params: SscdParams, device: torch.device) -> Descriptor:
    path = weights.official_path() if params.path is None else params.path.expanduser()
    expected = params.sha256 or OFFICIAL_SHA256
    if params.official and not path.exists():
        if not params.download:
            raise DoribError(
                f"metric sscd: the official weights are not at {path}; {weights.advice(path)}, "
                "or set sscd:backend=torchscript,download=true"
            )
        weights.fetch_official(path, expected)
    module, sha256 = weights.file(path, expected).torchscript(device)
    rule = params.resize or DEFAULT_RESIZE

    @torch.no_grad()
    def describe(images: Tensor) -> Tensor:
        descriptors: Tensor = module(preprocess(images.to(device), rule))
        return descriptors.float().cpu()

    return _external(params, describe, sha256, rule)


def _load_onnx(params: SscdParams) -> Descriptor:
    assert params.path is not None
    rule = params.resize or DEFAULT_RESIZE
    export = read_export(weights.file(params.path.expanduser(), params.sha256), rule)
    described = _external(params, export.describe, export.sha256, rule)
    return replace(
        described, normalisation=export.normalisation, largest_batch=export.largest_batch
    )


def _external(params: SscdParams, describe: Describe, sha256: str, rule: Resize) -> Descriptor:
    return Descriptor(
        describe=describe,
        backend=params.backend,
        weights_sha256=sha256,
        resize=f"{rule}, bilinear, antialiased",
        normalisation=NORMALISATION,
        threshold=OFFICIAL_THRESHOLD if params.threshold is None else params.threshold,
        official=params.official,
    )


def _try(descriptor: Descriptor, suite: SuiteView) -> None:
    """Fail now rather than after hours of sampling."""
    sampling = suite.sampling
    blank = torch.full((1, 3, sampling.height, sampling.width), 0.5)
    try:
        shape = tuple(descriptor.describe(blank).shape)
    except Exception as error:  # noqa: BLE001 - a network from outside may fail in any way
        problem = one_line(error)
    else:
        if len(shape) == 2 and shape[0] == 1:
            return
        problem = f"its output has shape {list(shape)}"
    raise DoribError(
        f"metric sscd: the {descriptor.backend} descriptor fails on one image, resized by "
        f"{descriptor.resize} ({problem}); it must take one image of that size and "
        "give descriptors [1, D]"
    )
