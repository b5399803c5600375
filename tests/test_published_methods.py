"""The published methods of `examples/methods`: as the built-in ones, in a hundred lines each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dorib import AddLowRank, DefenderView, DoribError, Edit, Ledger, MethodSpec, Seeds, first_step
from dorib.config import make_config
from dorib.contracts.registration import MethodKind
from dorib.contracts.suite_view import SamplingSettings
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry
from dorib.runner import run
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.testing.conformance.checks import CHECKS, check, found_by
from dorib.testing.conformance.workplace import Workplace
from dorib.testing.pipelines import Prediction
from fixtures.adapters import by_kohya, by_peft, factors_of, save
from fixtures.mitigating import CAPTIONS, SEEDS, fitted, sampled
from fixtures.searches import assert_same, search, targets_of
from fixtures.suites import SIDE

FILES = sorted((Path(__file__).parents[1] / "examples" / "methods").glob("*.py"))
LONGEST = 150
"""Lines that a method may have, all of them counted."""
TOLERANCE = 1e-4
"""How far apart pixels, in [0, 1], of the same image may be."""


@pytest.fixture(scope="module")
def registry(built_in_plugins: list[EntryPoint]) -> Registry:
    return discover(built_in_plugins, FILES)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def model(
    request: pytest.FixtureRequest, pipeline_folders: dict[Prediction, Path], registry: Registry
) -> DiffusersModel:
    """As `either_model`, with the rules of the files."""
    sampling = SamplingSettings(height=SIDE, width=SIDE, steps=4, guidance_scale=3.0)
    folder = str(pipeline_folders[request.param])
    return DiffusersModel(
        load_pipeline(folder, torch.device("cpu"), torch.float32), sampling, registry
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_method_is_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LONGEST


def test_there_is_one_of_each(registry: Registry) -> None:
    inline = {(one.kind, name) for (_, name), one in registry.registrations.items() if one.inline}
    assert inline == {
        ("mitigation", "ren-attention"),
        ("rule", "ren-attention"),
        ("mitigation", "wen-embeddings"),
        ("rule", "wen-embeddings"),
        ("mitigation", "han-noise"),
        ("rule", "han-noise"),
        ("attack", "pez-tokens"),
        ("mitigation", "lora-checkpoint"),
    }


def images(model: DiffusersModel, registry: Registry, spec: str = "none") -> Tensor:
    with torch.no_grad():
        if spec == "none":
            return model.decode(sampled(model))
        with model.edited(fitted(model, registry, spec)):
            return model.decode(sampled(model))


def agree(model: DiffusersModel, registry: Registry, mine: str, built_in: str) -> None:
    """The same images, and other ones than without a mitigation."""
    found = images(model, registry, mine)
    torch.testing.assert_close(found, images(model, registry, built_in), rtol=0, atol=TOLERANCE)
    assert (found - images(model, registry)).abs().max() > 20 * TOLERANCE


@pytest.mark.parametrize("setting", ["scale=1.25", "scale=0.5", "scale=3,mask_padding=false"])
def test_attention_is_that_of_the_built_in_rule(
    model: DiffusersModel, registry: Registry, setting: str
) -> None:
    built_in = f"attention:form=multiplicative,begin_{setting}"
    agree(model, registry, f"ren-attention:{setting}", built_in)


def middle_length(model: DiffusersModel) -> float:
    """Of the prompts' shares of the first output: half of the images are above it."""
    shape = model.latent_shape
    noise = [torch.randn(shape, generator=SEEDS.generator(n)) for n in range(len(CAPTIONS))]
    indices = torch.arange(len(CAPTIONS))
    first = first_step(model, torch.stack(noise), model.encode_prompt(CAPTIONS), indices)
    return float(first.magnitudes().quantile(0.5))


def test_embeddings_end_where_the_built_in_rule_leaves_them(
    model: DiffusersModel, registry: Registry
) -> None:
    # Without weight decay, which in the authors' code reaches the begin token.
    setting = f"threshold={middle_length(model)},steps=40,weight_decay=0"
    agree(model, registry, f"wen-embeddings:{setting}", f"embedding-descent:{setting}")


def test_the_begin_token_has_no_gradient_and_decays(
    model: DiffusersModel, registry: Registry
) -> None:
    params = {"threshold": 0.0, "steps": 3, "rate": 0.1, "weight_decay": 0.2}
    rule = configure(registry, "rule", MethodSpec(name="wen-embeddings", params=params)).method
    prompt = model.encode_prompt(CAPTIONS[:2])
    noise = torch.randn((2, *model.latent_shape), generator=SEEDS.generator("noise"))
    with torch.no_grad():
        found = rule.embed(model, prompt, noise, torch.arange(2))["prompt_embeds"]
    before = prompt["prompt_embeds"]
    torch.testing.assert_close(found[:, 0], before[:, 0] * (1 - 0.1 * 0.2) ** 3)
    assert ((found - before)[:, 1:].abs().amax(dim=2) > 0.1).all()


def test_noise_ends_where_the_built_in_rule_leaves_it(
    model: DiffusersModel, registry: Registry
) -> None:
    setting = f"threshold={middle_length(model)},steps=60,rate=0.015"
    agree(model, registry, f"han-noise:{setting}", f"noise-descent:{setting}")


def test_tokens_are_those_of_the_built_in_search(model: DiffusersModel, registry: Registry) -> None:
    shared = {"tokens": 4, "pairs": 1, "judging_pairs": 2, "weight_decay": 0.1, "restarts": 2}
    mine = {**shared, "rate": 0.5}
    theirs = {**shared, "learning_rate": 0.5, "optimiser": "projection", "beside": "nothing"}
    found, wanted = (
        search(
            configure(registry, "attack", MethodSpec(name=name, params=params)).attack,
            model,
            targets_of(model),
            [10, 100],
        )
        for name, params in (("pez-tokens", mine), ("tokens", theirs))
    )
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
        assert one.trace == pytest.approx(other.trace, rel=1e-3)
    # They move: what is found at the larger budget is another prompt for some.
    assert len({one.prompt for one in found}) > len(found) / 2


def edit_of(model: DiffusersModel, registry: Registry, name: str, path: Path) -> Edit:
    """Of a mitigation that is told nothing but a file."""
    spec = MethodSpec(name=name, params={"path": str(path)})
    mitigation = configure(registry, "mitigation", spec).mitigation
    mitigation.prepare(model)
    return mitigation.fit(model, DefenderView([], []), Seeds(3), Ledger())


def as_alpha_is_told(
    tensors: dict[str, Tensor], form: str
) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """Tensors and metadata with an alpha, as a file's writer may have put it."""
    match form:
        case "tensors":
            layers = [name.removesuffix(".lora_A.weight") for name in tensors if "lora_A" in name]
            return tensors | {f"{layer}.alpha": torch.tensor(0.5) for layer in layers}, None
        case "metadata":
            noted = {"unet.r": 2, "unet.lora_alpha": 8, "text_encoder.r": 2}
            noted["text_encoder.lora_alpha"] = 3
            return tensors, {"lora_adapter_metadata": json.dumps(noted)}
        case "wrapped":
            within = "text_encoder.encoder"
            return {
                n.replace(within, "text_encoder.text_model.encoder"): t for n, t in tensors.items()
            }, None
        case _:
            return tensors, None


@pytest.mark.parametrize("form", ["plain", "tensors", "metadata", "wrapped"])
def test_a_lora_is_the_edit_that_the_built_in_mitigation_reads(
    model: DiffusersModel, registry: Registry, tmp_path: Path, form: str
) -> None:
    tensors, metadata = as_alpha_is_told(by_peft(model, factors_of(model)), form)
    path = save(tensors, tmp_path / "lora.safetensors", metadata)
    found = edit_of(model, registry, "lora-checkpoint", path).change
    wanted = edit_of(model, registry, "checkpoint", path).change
    assert isinstance(found, AddLowRank) and isinstance(wanted, AddLowRank)
    assert found.factors.keys() == wanted.factors.keys()
    for name, pair in wanted.factors.items():
        for mine, theirs in zip(found.factors[name], pair, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("kohya", "is no tensor of a LoRA by diffusers' names"),
        ("half", "lacks lora_A or lora_B"),
        ("empty", "holds no tensor"),
        ("another model", "is for another model; edit:"),
        ("second encoder", "is for another model;"),
        ("patterns", "unet.alpha_pattern is set, which is not read; use `checkpoint`"),
        ("metadata", "its metadata is no JSON object"),
    ],
)
def test_what_is_no_such_lora_is_refused_before_the_run(
    model: DiffusersModel, registry: Registry, tmp_path: Path, change: str, complaint: str
) -> None:
    factors = factors_of(model)
    tensors, metadata = by_peft(model, factors), {"format": "pt"}
    first = min(tensors)
    match change:
        case "kohya":
            tensors = by_kohya(model, factors)
        case "half":
            del tensors[first]
        case "empty":
            tensors = {}
        case "another model":
            tensors = {name: torch.ones(3, 3) for name in tensors}
        case "second encoder":
            tensors = {n.replace("text_encoder", "text_encoder_2"): t for n, t in tensors.items()}
        case "patterns":
            metadata["lora_adapter_metadata"] = '{"unet.alpha_pattern": {"conv_in": 1}}'
        case _:
            metadata["lora_adapter_metadata"] = "[1]"
    path = save(tensors, tmp_path / "lora.safetensors", metadata)
    with pytest.raises(DoribError) as refusal:
        edit_of(model, registry, "lora-checkpoint", path)
    assert complaint in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


METHODS: Mapping[str, tuple[MethodKind, str]] = {
    "ren-attention": ("mitigation", ""),
    "wen-embeddings": ("mitigation", ":threshold=0,steps=2"),
    "han-noise": ("mitigation", ":threshold=0,steps=2"),
    "lora-checkpoint": ("mitigation", ":path={lora}"),
    "pez-tokens": ("attack", ":tokens=2,pairs=1,judging_pairs=1"),
}
RULES_THAT_WORK = ("wen-embeddings", "han-noise")
"""Those that ask the U-Net while the model samples."""


def lora(folder: Path, suite: str) -> Path:
    """Takes what the first two inputs add away from each cross-attention value layer."""
    from dorib import load_model

    tensors: dict[str, Tensor] = {}
    for name, layer in load_model(suite, device="cpu").cross_attention_value_layers().items():
        tensors[f"unet.{name}.lora_A.weight"] = torch.eye(2, layer.in_features)
        tensors[f"unet.{name}.lora_B.weight"] = -layer.weight.detach()[:, :2]
    return save(tensors, folder / "lora.safetensors")


def entries_of(suite: str, metric: str, folder: Path, registry: Registry) -> dict[str, Entry]:
    """Of all five in one run, by name."""
    options: dict[str, object] = {
        "suite": suite,
        "out": str(folder / "out"),
        "metric": [metric],
        "budgets": [24],
        "limit": 1,
        "seeds": 1,
        "device": "cpu",
    }
    asked: dict[str, list[str]] = {"mitigation": [], "attack": ["none"]}
    path = lora(folder, suite)
    for name, (kind, params) in METHODS.items():
        asked[kind].append(name + params.format(lora=path))
    result = run(make_config(options | asked), registry)
    assert not result.failed
    found = {(one.mitigation.name, one.attack.name): one for one in result.entries}
    return {
        name: found[(name, "none") if kind == "mitigation" else ("none", name)]
        for name, (kind, _) in METHODS.items()
    } | {
        f"{name} under attack": found[name, "pez-tokens"]
        for name in METHODS
        if name != "pez-tokens"
    }


def ran(entries: Mapping[str, Entry]) -> None:
    for name, entry in entries.items():
        assert entry.errors == 0, name
        assert entry.not_applicable is None, name
        assert entry.searches == (entry.work.search_mean_memorized > 0), name
        assert (entry.work.rule > 0) == name.startswith(RULES_THAT_WORK), name


@pytest.mark.slow
def test_each_runs_on_the_embedded_suite(tmp_path: Path, registry: Registry) -> None:
    ran(entries_of("tiny", "sscd", tmp_path, registry))


def test_each_runs_on_sdxl(random_sdxl_suite: str, tmp_path: Path, registry: Registry) -> None:
    ran(entries_of(random_sdxl_suite, "clip", tmp_path, registry))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_each_keeps_all_rules(
    name: str,
    tmp_path: Path,
    random_suite: str,
    registry: Registry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, params = METHODS[name]
    spec = MethodSpec.parse(name + params.format(lora=lora(tmp_path, random_suite)))
    started = time.perf_counter()
    report = check(Workplace(registry, kind, spec, tmp_path / "check", plugins=tuple(FILES)))
    with capsys.disabled():
        print(f"\n{name}: {time.perf_counter() - started:.0f} s, {report.refusals}")
    assert [found.said for found in report.findings] == []
    assert report.skipped == ()


def test_a_lora_of_another_model_is_a_refusal_and_no_fault(
    tmp_path: Path, random_suite: str, registry: Registry
) -> None:
    params = {"path": str(lora(tmp_path, random_suite))}
    spec = MethodSpec(name="lora-checkpoint", params=params)
    place = Workplace(registry, "mitigation", spec, tmp_path / "check", plugins=tuple(FILES))
    [sdxl] = [one for one in CHECKS if one.name == "sdxl"]
    assert found_by(sdxl, place) == []
    [refusal] = place.refusals
    assert "refused on SDXL" in refusal
    assert "is for another model" in refusal
