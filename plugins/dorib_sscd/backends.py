"""The backends: the suite's own network, a TorchScript file, an ONNX export."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dorib import DoribError, SuiteView, one_line
from dorib_sscd import OFFICIAL_SHA256, SscdParams, network, weights
from dorib_sscd.descriptors import Describe, Descriptor
from dorib_sscd.preprocessing import NORMALISATION, Resize, preprocess

OFFICIAL_THRESHOLD = 0.7
"""As in Kowalczuk et al., arXiv 2507.16880, and in the labels of Hintersdorf et al., 2406.02366."""
DEFAULT_RESIZE: Resize = "short-edge-288"


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


def _load_suite(params: SscdParams, suite: SuiteView, device: torch.device) -> Descriptor:
    settings = suite.descriptor
    if settings is None:
        raise DoribError(
            f"metric sscd: suite {suite.name} has no descriptor; choose sscd:backend=torchscript "
            "or backend=onnx, or add one to its suite.yaml"
        )
    if settings.path is None:
        threshold = settings.threshold if params.threshold is None else params.threshold
        official = params.model_copy(update={"backend": "torchscript", "threshold": threshold})
        return _load_torchscript(official, device)
    folder = Path(suite.component(settings.path))
    model = network.DescriptorNetwork.from_pretrained(folder).to(device)
    calibrated = params.threshold in (None, settings.threshold)

    @torch.no_grad()
    def describe(images: Tensor) -> Tensor:
        descriptors: Tensor = model(images.to(device))
        return descriptors.cpu()

    return Descriptor(
        describe=describe,
        backend="suite",
        weights_sha256=weights.file(folder / network.WEIGHTS, None).read()[1],
        resize=f"{network.RESIZE_RULE}: {model.config.input_size} px",
        normalisation=network.NORMALISATION,
        threshold=settings.threshold if params.threshold is None else params.threshold,
        false_positive_rate=settings.false_positive_rate if calibrated else None,
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
    try:
        import onnxruntime
    except ImportError as error:
        raise DoribError(
            "metric sscd: backend=onnx needs onnxruntime; install it with "
            "`pip install 'dorib[onnx]'`"
        ) from error
    assert params.path is not None
    path = params.path.expanduser()
    content, sha256 = weights.file(path, params.sha256).read()
    # onnxruntime's errors share no narrower base class.
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DoribError(
            f"metric sscd: {path} cannot be loaded as ONNX ({one_line(error)}); give an export "
            "in one file, its weights included"
        ) from error
    rule = params.resize or DEFAULT_RESIZE
    first = session.get_inputs()[0]

    def describe(images: Tensor) -> Tensor:
        found = session.run(None, {first.name: preprocess(images, rule).numpy()})[0]
        return torch.from_numpy(found).float()

    # Many exports have the batch of the image they were traced with.
    largest = first.shape[0] if first.shape and isinstance(first.shape[0], int) else None
    return _external(params, describe, sha256, rule, largest_batch=largest)


def _external(
    params: SscdParams,
    describe: Describe,
    sha256: str,
    rule: Resize,
    largest_batch: int | None = None,
) -> Descriptor:
    return Descriptor(
        describe=describe,
        backend=params.backend,
        weights_sha256=sha256,
        resize=f"{rule}, bilinear, antialiased",
        normalisation=NORMALISATION,
        threshold=OFFICIAL_THRESHOLD if params.threshold is None else params.threshold,
        largest_batch=largest_batch,
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
        f"{descriptor.resize} ({problem}); it must take float32 images [1, 3, height, width] and "
        "give descriptors [1, D]"
    )
