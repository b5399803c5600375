"""What is whole is taken: shards, half precision, links of the hub's cache, files beside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.target.loading import load_pipeline, load_unet_weights
from dorib.verbs.context import RunContext
from dorib.verbs.preparation.readiness import require_ready
from fixtures.planted import (
    Damage,
    configuration,
    half_precision,
    half_precision_shards,
    holding,
    hub_snapshot,
    index,
    linked_within,
    scheduler,
    shards,
    with_tensors,
)
from fixtures.suites import write_manifest

TEXT = "pipeline/text_encoder"
PARTS = {"pipeline/unet": "unet", "pipeline/vae": "vae", TEXT: "text_encoder"}


def old_buffer(tensors: dict[str, torch.Tensor]) -> None:
    """As files that transformers wrote before version 4.31 hold it."""
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]


def old_names(suite: Path) -> None:
    """As files that transformers wrote before version 5.6 name them."""
    path = suite / TEXT / "model.safetensors"
    named = {f"text_model.{name}": value for name, value in load_file(path).items()}
    save_file(named, path, metadata={"format": "pt"})


def unread_beside(suite: Path) -> None:
    folder = suite / "pipeline" / "unet"
    torch.save({"a": torch.zeros(1)}, folder / "diffusion_pytorch_model.bin")
    (folder / "mine.py").write_text("raise SystemExit")
    (folder / "model.onnx").write_bytes(b"")


def broken_half_precision_beside(suite: Path) -> None:
    """Whole weights are preferred to a variant."""
    (suite / "pipeline/unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"broken")


def named_but_absent(suite: Path) -> None:
    index(
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )(suite)


EXACT: dict[str, Damage] = {
    **{f"shards: {part}": shards(part) for part in PARTS},
    "shards: three": shards("pipeline/unet", 3),
    "links of the hub's cache": hub_snapshot("pipeline"),
    "a link within the component": linked_within(f"{TEXT}/model.safetensors"),
    "an old buffer": with_tensors(TEXT, old_buffer),
    "old names": old_names,
    "files beside that nobody reads": unread_beside,
    "half precision beside": broken_half_precision_beside,
    "a safety checker that is not there": named_but_absent,
    "torch's own attention": configuration(TEXT, attn_implementation="sdpa"),
    "a configuration that asks for nothing": configuration(
        TEXT, auto_map=None, quantization_config=None, attn_implementation=None
    ),
}
HALVED: dict[str, Damage] = {
    **{f"half precision: {part}": half_precision(part) for part in PARTS},
    **{f"half precision, shards: {part}": half_precision_shards(part) for part in PARTS},
}


def loaded(suite_folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    suite = Suite.load(suite_folder)
    pipeline = load_pipeline(
        suite.component(suite.manifest.pipeline),
        torch.device("cpu"),
        torch.float32,
        configuration=suite.pipeline_configuration,
    )
    return {name: getattr(pipeline, name).state_dict() for name in PARTS.values()}


@pytest.fixture(scope="module")
def expected(tiny_suite_folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return loaded(tiny_suite_folder)


def halved(case: str, value: torch.Tensor) -> torch.Tensor:
    """Rounded to half precision, where the case is about that."""
    return value.half().to(value) if case in HALVED else value


@pytest.mark.parametrize("case", [*EXACT, *HALVED])
def test_every_tensor_is_what_it_was(
    case: str, suite_copy: Path, expected: dict[str, dict[str, torch.Tensor]]
) -> None:
    (EXACT | HALVED)[case](suite_copy)
    for part, tensors in loaded(suite_copy).items():
        assert tensors.keys() == expected[part].keys()
        for name, value in tensors.items():
            wanted = expected[part][name]
            assert value.dtype == wanted.dtype
            assert torch.equal(value, wanted) or torch.equal(value, halved(case, wanted)), name


@pytest.mark.parametrize("form", [shards, half_precision, half_precision_shards])
def test_an_oracle_in_shards_or_half_precision(
    form: Callable[[str], Damage], suite_copy: Path
) -> None:
    before = load_unet_weights(suite_copy / "oracle")
    form("oracle")(suite_copy)
    after = load_unet_weights(suite_copy / "oracle")
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert value.dtype == torch.float32
        rounded = before[name] if form is shards else before[name].half().float()
        assert torch.equal(value, rounded)


@pytest.mark.parametrize("form", [shards, half_precision, half_precision_shards])
def test_a_clip_in_shards_or_half_precision(
    form: Callable[[str], Damage], suite_copy: Path
) -> None:
    from dorib import load_clip

    before = load_clip(str(suite_copy / "clip"), torch.device("cpu"), "clip").state_dict()
    form("clip")(suite_copy)
    after = load_clip(str(suite_copy / "clip"), torch.device("cpu"), "clip").state_dict()
    assert after.keys() == before.keys()
    for name, value in after.items():
        floating = before[name].is_floating_point() and form is not shards
        rounded = before[name].half().float() if floating else before[name]
        assert value.dtype == before[name].dtype
        assert torch.equal(value, rounded), name


def ready(suite_folder: Path, store: Path) -> RunContext:
    suite = Suite.load(suite_folder)
    context = RunContext(
        suite, make_config({}), suite.manifest.quick, Store(store), registry=discover()
    )
    require_ready(context)
    return context


SCHEDULERS = ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "HeunDiscreteScheduler"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_other_schedulers_are_taken(name: str, suite_copy: Path, tmp_path: Path) -> None:
    scheduler(name, prediction_type="epsilon")(suite_copy)
    ready(suite_copy, tmp_path / "store")


def test_components_by_absolute_paths(suite_copy: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    for part in ("pipeline", "oracle", "clip"):
        shutil.move(suite_copy / part, tmp_path / "away" / part)
        content[part] = str(tmp_path / "away" / part)
    write_manifest(suite_copy, content)
    context = ready(suite_copy, tmp_path / "store")
    assert context.suite.component(context.suite.manifest.pipeline) == content["pipeline"]
    before = context.suite.digest()
    holding("elsewhere", "")(tmp_path)
    (tmp_path / "away" / "oracle" / "more").write_text("")
    assert Suite.load(suite_copy).digest() != before


def test_a_whole_model_is_looked_at_once(
    suite_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(suite_copy, tmp_path / "store")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("loaded again")

    with monkeypatch.context() as patch:
        patch.setattr("dorib.verbs.preparation.suite_model.load_pipeline", refuse)
        patch.setattr("dorib.verbs.preparation.readiness.load_unet_weights", refuse)
        ready(suite_copy, tmp_path / "store")
        with_tensors("oracle", lambda tensors: tensors["conv_in.bias"].add_(1))(suite_copy)
        with pytest.raises(AssertionError, match="loaded again"):
            ready(suite_copy, tmp_path / "store")
    ready(suite_copy, tmp_path / "store")
