"""ESD and concept ablation: what they train towards and leave alone, going on when killed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from dorib import AddLowRank, DoribError, Edit, Ledger, ReplaceWeights, Seeds, TargetModel, Training
from dorib.config import make_config
from dorib.contracts.suite_view import SamplingSettings
from dorib.host.registry import discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl
from dorib_concept import ConceptParams
from dorib_concept.lessons import Lessons, draw, erased, lessons
from dorib_concept.mitigation import Concept
from test_concept import ERASED, view_of

SEEDS = Seeds(4)
ESD: dict[str, Any] = {"method": "esd", "pictures": 2, "steps_per_caption": 2}
ABLATION: dict[str, Any] = {"method": "ablation", "pictures": 2, "steps_per_caption": 2}
EITHER = pytest.mark.parametrize("options", [ESD, ABLATION], ids=["esd", "ablation"])


def fit(
    model: TargetModel,
    captions: tuple[str, ...] = ERASED,
    scratch: Path | None = None,
    ledger: Ledger | None = None,
    **params: Any,
) -> Edit:
    ledger, view = ledger or Ledger(), replace(view_of(model, captions), scratch=scratch)
    method = Concept(ConceptParams.model_validate(params))
    with model.counting(ledger):
        return method.fit(model, view, SEEDS, ledger)


def weights_of(edit: Edit) -> Mapping[str, Tensor]:
    assert isinstance(edit.change, ReplaceWeights)
    return edit.change.weights


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# Against plain autograd: one caption, one step of two noised pictures.


def first_lessons(model: DiffusersModel, drawn: str, anchor: str) -> tuple[Lessons, Tensor]:
    """And what the U-Net is shown, noised by the scheduler itself."""
    targets = view_of(model, ERASED[:1]).memorized
    pictures = draw(model, targets, [drawn], 2, SEEDS.child("pictures"), 8)
    batch = lessons(model, erased(model, targets, [anchor], pictures), range(2), SEEDS)
    pairs = batch.pairs
    noised = model.pipeline.scheduler.add_noise(batch.latents, pairs.noise, pairs.timesteps)
    return batch, noised


def after_one_step(
    model: DiffusersModel, loss: Callable[[Any], Tensor], optimiser: type[Any], **settings: Any
) -> dict[str, Tensor]:
    """What plain autograd and an optimiser leave of a copy's weights; `loss` is asked of it."""
    unet = copy.deepcopy(model.unet).requires_grad_(True)
    for hooks in [module._forward_hooks for module in unet.modules()]:
        hooks.clear()
    loss(unet).backward()
    if settings.get("weight_decay"):
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimiser(unet.parameters(), **settings).step()
    return {name: weight.detach() for name, weight in unet.named_parameters()}


def test_a_step_of_esd_is_the_published_one(either_model: DiffusersModel) -> None:
    """`e_new(c)` towards `e(c) - 2 (e(c) - e(0))`, by Adam."""
    batch, x = first_lessons(either_model, ERASED[0], "")
    t, c = batch.pairs.timesteps, batch.prompts["prompt_embeds"]
    nothing = either_model.encode_prompt(["", ""])["prompt_embeds"]
    with torch.no_grad():
        given = either_model.unet(x, t, c).sample
        towards = given - 2 * (given - either_model.unet(x, t, nothing).sample)

    def loss(unet: Any) -> Tensor:
        return ((unet(x, t, c).sample - towards) ** 2).mean()

    wanted = after_one_step(either_model, loss, torch.optim.Adam, lr=1e-3)
    options = ESD | {"steps_per_caption": 1, "batch_size": 2, "learning_rate": 1e-3}
    edit = fit(either_model, ERASED[:1], **options, trainable="all")
    assert edit.notes["losses"][0]["erased"] == pytest.approx(float(loss(either_model.unet)))
    moved = furthest(wanted, dict(either_model.unet.named_parameters()))
    # Adam's first step has one length for all weights, and where a gradient is about 0, no sign.
    distance = torch.cat([(weights_of(edit)[n] - wanted[n]).flatten() for n in wanted]).abs()
    assert float(distance.quantile(0.99)) < 1e-2 * moved
    assert float((distance > 0.1 * moved).float().mean()) < 1e-3


def test_a_step_of_ablation_is_the_published_one(either_model: DiffusersModel) -> None:
    """`e(c)` towards the model's own `e(anchor)`, and the anchor's denoising loss, by AdamW."""
    batch, x = first_lessons(either_model, "", "")
    t, noise = batch.pairs.timesteps, batch.pairs.noise
    c, anchor = batch.prompts["prompt_embeds"], batch.anchors["prompt_embeds"]
    clean = either_model.training_target(batch.latents, noise, t)

    def loss(unet: Any) -> Tensor:
        anchored = unet(x, t, anchor).sample
        own = ((unet(x, t, c).sample - anchored.detach()) ** 2).mean()
        return own + 0.5 * ((anchored - clean) ** 2).mean()

    wanted = after_one_step(either_model, loss, torch.optim.AdamW, lr=1e-3, weight_decay=0.01)
    options = ABLATION | {"steps_per_caption": 1, "batch_size": 2, "learning_rate": 1e-3}
    edit = fit(either_model, ERASED[:1], **options, anchor="empty", prior_weight=0.5)
    terms = edit.notes["losses"][0]
    assert sum(terms.values()) == pytest.approx(float(loss(either_model.unet)), rel=1e-5)
    moved = furthest(wanted, dict(either_model.unet.named_parameters()))
    distance = torch.cat([(weights_of(edit)[n] - wanted[n]).flatten() for n in wanted]).abs()
    assert float(distance.quantile(0.99)) < 1e-2 * moved
    assert float((distance > 0.1 * moved).float().mean()) < 1e-3


# What holds of both.


@pytest.fixture(scope="module", params=["v_prediction", "sdxl"])
def model(request: pytest.FixtureRequest, make_model: Any) -> DiffusersModel:
    if request.param != "sdxl":
        made: DiffusersModel = make_model(request.param)
        return made
    settings = SamplingSettings(height=32, width=48, steps=3, guidance_scale=3.0)
    return DiffusersModel(sdxl.pipeline(), settings)


@pytest.mark.parametrize(
    ("options", "asked", "trained"),
    # Both halves of guidance for what is trained towards; then forward and backward.
    [(ESD, 2, 3), (ABLATION, 0, 6), (ABLATION | {"prior_weight": 0}, 0, 4)],
    ids=["esd", "ablation", "without anchors' loss"],
)
def test_the_model_is_as_it_was_and_all_work_is_counted(
    model: DiffusersModel, options: dict[str, Any], asked: int, trained: int
) -> None:
    before = dict(model.unet.named_parameters())
    bits = {name: weight.clone() for name, weight in before.items()}
    ledger = Ledger()
    weights = weights_of(fit(model, ledger=ledger, **options))
    for name, weight in model.unet.named_parameters():
        assert weight is before[name] and torch.equal(weight, bits[name])
    changed = {name for name, weight in weights.items() if not torch.equal(weight, bits[name])}
    assert changed == weights.keys()
    if options["method"] == "esd":
        assert all(".attn2." in name for name in weights)
    else:
        assert weights.keys() == before.keys()
    drawn = 2 * model.sampling.steps * 2  # pictures, steps, guidance halves
    lessons_of_each = 2 * (1 if options["method"] == "esd" else 4)
    work = drawn + lessons_of_each * (asked + trained)
    assert [ledger.work_of(index) for index in range(len(ERASED))] == [work] * len(ERASED)


@EITHER
def test_low_rank_additions_may_be_trained(
    tiny_model: DiffusersModel, options: dict[str, Any]
) -> None:
    change = fit(tiny_model, **options, trainable="lora", rank=2).change
    assert isinstance(change, AddLowRank)
    assert any(bool((up != 0).any()) for up, _ in change.factors.values())


@EITHER
def test_no_lesson_depends_on_its_batch(
    tiny_model: DiffusersModel, options: dict[str, Any]
) -> None:
    # At a rate at which Adam's signs of gradients about 0 do not matter.
    one = {"batch_size": 4, "drawn_together": 8, "gradient_accumulation": 1}
    other = {"batch_size": 1, "drawn_together": 1, "gradient_accumulation": 4}
    edits = [fit(tiny_model, **options | how | {"learning_rate": 1e-6}) for how in (one, other)]
    for first, second in zip(*(edit.notes["losses"] for edit in edits), strict=True):
        assert first == pytest.approx(second, rel=1e-4)
    assert furthest(*map(weights_of, edits)) < 1e-5


class Stopped(BaseException):
    """Stands for a kill."""


@EITHER
def test_a_fit_cut_short_goes_on_from_its_checkpoint(
    tiny_model: DiffusersModel,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = options | {"checkpoint_every": 2}
    whole, ledger = fit(tiny_model, ledger=(counted := Ledger()), **options), Ledger()
    steps, step = 0, Training.step

    def stopping(self: Training, loss: Callable[[int], Tensor]) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Stopped
        step(self, loss)

    monkeypatch.setattr(Training, "step", stopping)
    with pytest.raises(Stopped):
        fit(tiny_model, scratch=tmp_path, **options)
    resumed = fit(tiny_model, scratch=tmp_path, ledger=ledger, **options)
    assert steps == 4 + 2  # two of four steps were safe
    assert furthest(weights_of(resumed), weights_of(whole)) == 0
    assert resumed.notes == whole.notes
    assert ledger == counted


def test_the_caption_adds_the_less_the_longer_esd_trains(tiny_model: DiffusersModel) -> None:
    """At strength 1, what is trained towards is the output without a prompt."""
    options = ESD | {"strength": 1, "steps_per_caption": 40, "learning_rate": 1e-3}
    passes = fit(tiny_model, ERASED[:1], **options | {"batch_size": 4}).notes["losses"]
    assert len(passes) == 40
    early, late = passes[:5], passes[-5:]
    assert sum(p["erased"] for p in late) < 0.5 * sum(p["erased"] for p in early)


def test_ablation_leads_the_caption_to_its_anchor(tiny_model: DiffusersModel) -> None:
    options = ABLATION | {"steps_per_caption": 40, "learning_rate": 1e-3, "anchor": "empty"}
    passes = fit(tiny_model, ERASED[:1], **options).notes["losses"]
    early, late = passes[:5], passes[-5:]
    assert sum(p["erased"] for p in late) < 0.5 * sum(p["erased"] for p in early)


def test_esd_of_no_strength_changes_nothing(tiny_model: DiffusersModel) -> None:
    before = dict(tiny_model.unet.named_parameters())
    # The same numbers twice, so that not even rounding has a gradient.
    edit = fit(tiny_model, **ESD | {"strength": 0, "drawn_together": 1})
    moved = [float((w - before[name]).abs().max()) for name, w in weights_of(edit).items()]
    assert max(moved) <= 4 * 5e-5


def test_general_anchors_need_general_captions(tiny_model: DiffusersModel) -> None:
    method = Concept(ConceptParams.model_validate(ABLATION))
    with pytest.raises(DoribError, match="no general captions; add some, or set anchor=empty"):
        method.fit(tiny_model, view_of(tiny_model, general=()), SEEDS, Ledger())


def test_what_is_not_given_is_as_published() -> None:
    esd, ablation = (ConceptParams.model_validate(o) for o in (ESD, ABLATION))
    assert (esd.trainable, esd.learning_rate, esd.weight_decay) == ("cross-attention", 5e-5, 0)
    assert (ablation.trainable, ablation.learning_rate, ablation.anchor) == ("all", 8e-6, "general")
    assert ConceptParams.model_validate(ESD | {"learning_rate": 1e-3}).learning_rate == 1e-3


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"strength": 1}, "strength"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        (ESD | {"preserve": 3}, "preserve"),
        (ESD | {"anchor": "general"}, "anchor"),
        (ABLATION | {"ridge": 1}, "ridge"),
    ],
)
def test_what_a_method_does_not_look_at_is_refused(given: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=f"does not look at {name}; leave it out"):
        ConceptParams.model_validate(given)


def test_a_whole_run(tiny_suite_folder: Path, tmp_path: Path) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": [{"name": "concept", **options} for options in (ESD, ABLATION)],
        "attack": ["none"],
        "metric": ["sscd"],
        "limit": 1,
    }
    result = run(make_config(config), discover())
    assert not result.failed
    assert all(entry.errors == 0 for entry in result.entries)
    labels = {entry.mitigation.label for entry in result.entries}
    assert "concept:method=esd,pictures=2,steps_per_caption=2" in labels
