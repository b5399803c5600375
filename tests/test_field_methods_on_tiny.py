"""Eleven kinds of published method, each on the embedded suite and on SDXL, reduced."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dorib import DoribError, TargetModel, load_model
from dorib.config import make_config
from dorib.contracts.registration import MethodKind
from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry
from dorib.runner import run
from fixtures.adapters import save

EXAMPLES = Path(__file__).parents[1] / "examples"
LORA = "a LoRA of the pipeline"


@dataclass(frozen=True)
class Field:
    """A kind of method, and how it is asked for here."""

    kind: MethodKind
    spec: str
    rule_works: bool = False
    """Whether it asks the U-Net while the model samples."""


FIELD: Mapping[str, Field] = {
    "embedding descent (Wen)": Field(
        "mitigation", "embedding-descent:steps=2,captions=4", rule_works=True
    ),
    "attention scaling (Ren)": Field("mitigation", "attention"),
    "guidance delay (Jain)": Field("mitigation", "guidance"),
    "noise descent (Han)": Field("mitigation", "noise-descent:steps=2,captions=4", rule_works=True),
    "textual inversion": Field("attack", "inversion:pairs=1"),
    "token search": Field("attack", "tokens:tokens=2,pairs=1,judging_pairs=1"),
    "image start": Field("attack", "image-start"),
    "relearning": Field("attack", "relearn"),
    "LoRA checkpoint": Field("mitigation", f"checkpoint:path={LORA}"),
    "changed text encoder": Field("mitigation", "forget-words"),
    "two-step mitigation": Field("mitigation", "quantize:base=forget-words,bits=8"),
}
LONGEST = 150
"""Lines that the module of a method's class may have."""


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """What is installed, and the two examples."""
    with pytest.MonkeyPatch.context() as patch:
        points = list(entry_points(group="dorib"))
        for name in ("image-start", "forget-words"):
            patch.syspath_prepend(EXAMPLES / name)
            points.append(EntryPoint(name, f"dorib_{name.replace('-', '_')}", "dorib"))
        yield discover(points)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder, so that the reference lines are computed once a suite."""
    return tmp_path_factory.mktemp("out")


def lora(model: TargetModel, path: Path) -> Path:
    """Takes two directions from what each cross-attention value layer reads."""
    tensors: dict[str, Tensor] = {}
    for name, layer in model.cross_attention_value_layers().items():
        left, size, right = torch.linalg.svd(layer.weight.detach().float(), full_matrices=False)
        tensors[f"unet.{name}.lora_A.weight"] = right[:2]
        tensors[f"unet.{name}.lora_B.weight"] = -left[:, :2] * size[:2]
    return save(tensors, path)


def entry_of(field: Field, suite: str, metric: str, out: Path, registry: Registry) -> Entry:
    spec = field.spec
    if LORA in spec:
        path = lora(load_model(suite, device="cpu"), out / "lora.safetensors")
        spec = spec.replace(LORA, str(path))
    options = {
        "suite": suite,
        "out": str(out),
        "metric": [metric],
        "budgets": [24],
        "limit": 1,
        "seeds": 1,
        field.kind: [spec],
        "device": "cpu",
    }
    result = run(make_config(options), registry)
    assert not result.failed
    entries = {(one.mitigation.name, one.attack.name): one for one in result.entries}
    name = field.spec.partition(":")[0]
    return entries[(name, "none") if field.kind == "mitigation" else ("none", name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_it_runs_on_the_embedded_suite(
    name: str, out: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    field = FIELD[name]
    started = time.process_time()
    entry = entry_of(field, "tiny", "sscd", out / "tiny", registry)
    seconds = time.process_time() - started
    assert entry.errors == 0
    assert entry.not_applicable is None
    assert entry.memorization_rate is not None
    assert (entry.work.rule > 0) == field.rule_works
    assert entry.searches == (entry.work.search_mean_memorized > 0)
    with capsys.disabled():
        similarity = entry.summaries.memorized["sscd_original"].mean
        print(
            f"\n{name} | {field.spec} | similarity {similarity:.2f} | rate "
            f"{entry.memorization_rate.rate:.0f} | search {entry.work.search_mean_memorized:.0f} | "
            f"fit {entry.work.fit} | rule {entry.work.rule:.0f} | {seconds:.0f} s CPU"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_it_runs_on_sdxl_or_says_why_not(
    name: str,
    random_sdxl_suite: str,
    out: Path,
    registry: Registry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    field = FIELD[name]
    try:
        entry = entry_of(field, random_sdxl_suite, "clip", out / "sdxl", registry)
    except DoribError as refusal:
        said = str(refusal)
        assert "\n" not in said
        assert field.spec.partition(":")[0] in said
    else:
        said = "runs"
        assert entry.errors == 0
    with capsys.disabled():
        print(f"\n{name} on SDXL: {said}")


@pytest.mark.parametrize("name", FIELD)
def test_its_class_stands_in_a_short_module(name: str, registry: Registry) -> None:
    field = FIELD[name]
    registration = registry.get(field.kind, field.spec.partition(":")[0])
    rule = registry.registrations.get(("rule", registration.name))
    for one in (registration, rule):
        if one is not None:
            found = importlib.util.find_spec(one.target.partition(":")[0])
            assert found is not None and found.origin is not None
            assert len(Path(found.origin).read_text().splitlines()) <= LONGEST
