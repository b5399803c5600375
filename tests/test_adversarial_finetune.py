"""Adversarial fine-tuning: what it trains towards, what it leaves alone, going on when killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import (
    SHARED_WORK,
    Attack,
    Checkpoints,
    DefenderView,
    DoribError,
    Edit,
    GeneralPair,
    GeneralPrompt,
    Ledger,
    MethodSpec,
    Mitigation,
    Order,
    Params,
    ReplaceWeights,
    Seeds,
    Target,
    TargetModel,
    Training,
    Trigger,
    copy_threshold,
    correlation,
    draw_pictures,
    general_pictures,
    training,
)
from dorib.contracts.edits import MaskWeights
from dorib.host.configure import configure
from dorib.host.registry import discover
from dorib_adversarial_finetune import AdversarialFinetuneParams
from dorib_adversarial_finetune.lessons import (
    Found,
    Lesson,
    Pictures,
    Shares,
    asked_with,
    lesson,
    losses,
)
from dorib_adversarial_finetune.surrogates import surrogates
from fixtures.killed_fits import check_killed_and_run_again

MakeModel = Callable[..., TargetModel]
SEEDS = Seeds(3, ("fit", "adversarial-finetune"))
CAPTIONS = ("a red star", "small blue ring", "cat on a mat")
GENERAL = ("one tree", "two green cubes", "some sand", "the sea at night")
SMALL: dict[str, Any] = {
    "search": "dori:start=random,pairs=1",
    "search_budget": 3,
    "surrogate": "wanda:sparsity=0.1,timesteps=1",
    "surrogates": 2,
    "similarity_threshold": 0.9,
    "general_images": 3,
    "epochs": 1,
    "batch_size": 2,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def small_model(make_model: MakeModel) -> TargetModel:
    """Shared by the tests of this file: one step, no guidance."""
    return make_model(steps=1, guidance_scale=1.0)


REGISTRY = discover()


def mitigation(**params: Any) -> Mitigation[Any]:
    """Configured as the host does it."""
    spec = MethodSpec(name="adversarial-finetune", params={**SMALL, **params})
    return configure(REGISTRY, "mitigation", spec).mitigation


def view_of(model: TargetModel, scratch: Path | None = None) -> DefenderView:
    noise = torch.Generator().manual_seed(0)
    size = model.sampling.height, model.sampling.width
    targets = [
        Target(f"s{i}", i, caption, torch.rand(3, *size, generator=noise), GENERAL)
        for i, caption in enumerate(CAPTIONS)
    ]
    return DefenderView(targets, GENERAL, scratch=scratch)


def fit(
    model: TargetModel,
    method: Mitigation[Any] | None = None,
    ledger: Ledger | None = None,
    scratch: Path | None = None,
    view: DefenderView | None = None,
    **params: Any,
) -> Edit:
    ledger = ledger or Ledger()
    with model.counting(ledger):
        method = method or mitigation(**params)
        return method.fit(model, view or view_of(model, scratch), SEEDS, ledger)


def weights_of(edit: Edit) -> dict[str, Tensor]:
    assert isinstance(edit.change, ReplaceWeights)
    return dict(edit.change.weights)


def same(one: Edit, other: Edit) -> bool:
    first, second = weights_of(one), weights_of(other)
    return all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_all_weights_change_and_the_model_is_as_it_was(either_model: TargetModel) -> None:
    unet = either_model.unet
    before = dict(unet.named_parameters())
    bits = {name: weight.detach().clone() for name, weight in before.items()}
    ledger = Ledger()
    edit = fit(either_model, ledger=ledger, epochs=2, gradient_checkpointing=True)
    after = dict(unet.named_parameters())
    for name, weight in after.items():
        assert weight is before[name]
        assert torch.equal(weight, bits[name])
        assert weight.grad is None
        assert not weight.requires_grad
    assert not either_model.pipeline.unet.is_gradient_checkpointing
    changed = weights_of(edit)
    assert set(changed) == set(after)
    # A timestep of the first layers' own makes every weight matter to the loss.
    assert all(not torch.equal(weight, bits[name]) for name, weight in changed.items())
    with either_model.edited(edit):
        assert all(torch.equal(w, changed[n]) for n, w in unet.named_parameters())
    searched = 2 * 3  # epochs, budget
    own = [ledger.work_of(index) for index in range(3)]
    drawn = 2 * either_model.sampling.steps * 2  # surrogates, steps, guidance halves
    made = drawn + 1 * 2  # the maker looks at one timestep
    trained = 2 * 3
    assert own == [made + searched + trained] * 3
    general = 3 * either_model.sampling.steps * 2 + 2  # pictures; the maker's baseline
    assert ledger.work_of(SHARED_WORK) == general + 2 * 3 * 3


def test_the_model_survives_a_failure(small_model: TargetModel) -> None:
    before = dict(small_model.unet.named_parameters())
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        fit(small_model, learning_rate=1e30, weight_decay=0, epochs=5)
    for name, weight in small_model.unet.named_parameters():
        assert weight is before[name]
        assert not weight.requires_grad


@torch.no_grad()
def mean_loss(model: TargetModel, latents: Tensor, captions: Sequence[str]) -> float:
    """Of fixed timesteps and noise, so that before and after compare."""
    drawn = torch.Generator().manual_seed(5)
    embeddings, samples = model.encode_prompt(captions), torch.zeros(len(captions)).long()
    total = 0.0
    for _ in range(8):
        noise = torch.randn(latents.shape, generator=drawn)
        times = torch.randint(model.timesteps, (len(latents),), generator=drawn)
        total += model.denoising_loss(latents, noise, times, embeddings, samples).mean().item() / 8
    return total


def test_prompts_learn_to_give_surrogates_and_general_pictures(small_model: TargetModel) -> None:
    options = {"search": "none", "epochs": 10, "batch_size": 3, "learning_rate": 3e-3}
    method, drawn = mitigation(**options), {}
    monitored = surrogates(small_model, view_of(small_model).memorized, 1, 1.1, SEEDS, 3)
    drawn["memorized"] = torch.cat(monitored), CAPTIONS
    orders = [Order(caption, SEEDS.generator(caption), SHARED_WORK) for caption in GENERAL]
    drawn["general"] = draw_pictures(small_model, orders, 4), GENERAL
    before = {name: mean_loss(small_model, *pairs) for name, pairs in drawn.items()}
    edit = fit(small_model, method)
    assert len(edit.notes["losses"]) == 10
    with small_model.edited(edit):
        after = {name: mean_loss(small_model, *pairs) for name, pairs in drawn.items()}
    assert all(after[name] < 0.95 * before[name] for name in drawn), (before, after)


ABLATIONS: dict[str, dict[str, Any]] = {
    "as published": {},
    "no search": {"search": "none"},
    "start at the prompt": {"search": "dori:start=prompt,pairs=1"},
    "start elsewhere": {"search": "dori:start=other,pairs=1"},
    "no surrogates": {"target": "empty_prompt"},
    "no utility loss": {"utility_weight": 0},
    "a heavier utility loss": {"utility_weight": 8.0},
    "standard normal starts": {"search": "dori:start=normal,pairs=1"},
    "several embeddings an image": {"embeddings_per_image": 2},
    "lessons between": {"found_share": 0},
    "lessons mixed": {"prompt_share": 0.5, "found_share": 0.25},
    "several steps a search": {"steps_per_search": 2},
    "accumulated": {"gradient_accumulation": 2},
}


def test_every_ablation_is_another_training(small_model: TargetModel) -> None:
    edits = {name: fit(small_model, **params) for name, params in ABLATIONS.items()}
    names = list(edits)
    for place, name in enumerate(names):
        assert not any(same(edits[name], edits[other]) for other in names[:place]), name
    assert same(edits["as published"], fit(small_model))
    # Whatever was found, lessons at the prompt alone are plain fine-tuning.
    assert same(edits["no search"], fit(small_model, prompt_share=1, found_share=0))
    assert "surrogates_kept" not in edits["no surrogates"].notes
    assert all(row["general"] == 0 for row in edits["no utility loss"].notes["losses"])


def test_noise_is_fresh_in_every_epoch_step_and_batch(small_model: TargetModel) -> None:
    """At a step size of next to nothing only the noise tells one lesson from the next."""
    still = {"search": "none", "batch_size": 3, "surrogates": 1, "learning_rate": 1e-12}

    def memorized(**params: Any) -> list[float]:
        edit = fit(small_model, weight_decay=0, **still, **params)
        return [row["memorized"] for row in edit.notes["losses"]]

    first, second = memorized(epochs=2)
    assert first != pytest.approx(second, rel=1e-3)
    for more in ({"steps_per_search": 2}, {"gradient_accumulation": 2}):
        # The mean of two of its kind, the first of which is the same.
        assert memorized(epochs=1, **more) != pytest.approx([first], rel=1e-3)


def test_the_order_of_images_is_drawn_for_each_epoch(small_model: TargetModel) -> None:
    method, spy = mitigation(epochs=4, batch_size=1, target="empty_prompt"), Spy()
    method.methods = {**method.methods, "search": spy}
    fit(small_model, method)
    seen = [sample for search in spy.seen for sample in search["samples"]]
    orders = {tuple(seen[start : start + 3]) for start in range(0, 12, 3)}
    assert all(sorted(order) == ["s0", "s1", "s2"] for order in orders)
    assert len(orders) > 1


@pytest.mark.parametrize("max_norm", [1e-7, 1e6])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_a_step_is_adamws_on_the_clipped_mean_gradient(
    make_model: MakeModel, max_norm: float, weight_decay: float
) -> None:
    model = make_model(steps=1, guidance_scale=1.0)
    params = AdversarialFinetuneParams(
        gradient_accumulation=2,
        learning_rate=1e-2,
        weight_decay=weight_decay,
        max_gradient_norm=max_norm,
    )
    with training(model, params, SEEDS, "mitigation adversarial-finetune") as trained:
        before = {name: weight.clone() for name, weight in trained.weights.items()}
        # A gradient of 1 and one of 3 for every weight.
        trained.step(lambda batch: sum(w.sum() for w in trained.weights.values()) * (1 + 2 * batch))
        count = sum(weight.numel() for weight in before.values())
        gradient = 2 * min(1.0, max_norm / (2 * count**0.5))
        moved = 1e-2 * gradient / (gradient + 1e-8)
        for name, weight in trained.weights.items():
            wanted = before[name] * (1 - 1e-2 * weight_decay) - moved
            torch.testing.assert_close(weight, wanted, atol=1e-5, rtol=1e-3)


def memorized_and_general(model: TargetModel, kept: int) -> Pictures:
    """Of each of three images `kept` surrogates; two general pictures."""
    noise = torch.Generator().manual_seed(2)

    def some(count: int) -> Tensor:
        return torch.randn(count, *model.latent_shape, generator=noise)

    general = model.encode_prompt(GENERAL[:2])["prompt_embeds"]
    return Pictures(
        [some(kept) for _ in CAPTIONS], some(3), some(2), [{"prompt_embeds": e} for e in general]
    )


def lesson_of(model: TargetModel, pictures: Pictures, number: int = 0, first: int = 0) -> Lesson:
    """Of the images from the `first` on."""
    prompts = [{"prompt_embeds": e} for e in model.encode_prompt(CAPTIONS)["prompt_embeds"]]
    found = [
        Found(target, 0, prompt, prompt)
        for target, prompt in zip(view_of(model).memorized, prompts, strict=True)
    ]
    return lesson(model, pictures, found[first:], Shares(0, 1), SEEDS.child(number))


def test_a_lesson_has_pictures_noise_and_captions_of_its_own(small_model: TargetModel) -> None:
    pictures = memorized_and_general(small_model, kept=2)
    chosen: list[set[int]] = [set(), set(), set()]
    for number in range(12):
        drawn = lesson_of(small_model, pictures, number)
        assert drawn.memorized == 3
        assert not drawn.blank.any()
        assert drawn.samples.tolist() == [0, 1, 2] + [SHARED_WORK] * 3
        assert len({tuple(noise.flatten().tolist()) for noise in drawn.pairs.noise}) == 6
        for row, latents in enumerate(drawn.latents[:3]):
            [place] = [i for i in range(2) if torch.equal(latents, pictures.surrogates[row][i])]
            chosen[row].add(place)
        for row, latents in enumerate(drawn.latents[3:], start=3):
            [place] = [i for i in range(2) if torch.equal(latents, pictures.general[i])]
            caption = pictures.general_embeddings[place]["prompt_embeds"]
            assert torch.equal(drawn.embeddings["prompt_embeds"][row], caption)
    assert chosen == [{0, 1}] * 3
    # Whatever else is in the lesson.
    together, alone = (lesson_of(small_model, pictures, first=first) for first in (0, 2))
    assert torch.equal(alone.pairs.noise[0], together.pairs.noise[2])
    assert torch.equal(alone.latents[0], together.latents[2])


@torch.no_grad()
def test_without_a_surrogate_the_lesson_is_what_no_prompt_predicts(
    small_model: TargetModel,
) -> None:
    pictures = memorized_and_general(small_model, kept=0)
    drawn = lesson_of(small_model, pictures)
    assert drawn.blank.tolist() == [True] * 3 + [False] * 3
    assert torch.equal(drawn.latents[:3], pictures.originals)
    times, noise = drawn.pairs.timesteps, drawn.pairs.noise
    noisy = small_model.pipeline.scheduler.add_noise(drawn.latents, noise, times)
    nothing = small_model.encode_prompt([""] * 3)
    towards = small_model.training_target(drawn.latents, noise, times)
    towards[:3] = small_model.predict(noisy[:3], times[:3], nothing, drawn.samples[:3])
    given = small_model.predict(noisy, times, drawn.embeddings, drawn.samples)
    wanted = (given - towards).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses(small_model, drawn), wanted)


def test_general_pictures_of_one_caption_differ(small_model: TargetModel) -> None:
    prompts = [GeneralPrompt(GENERAL[0], None)] * 2
    one, other = general_pictures(small_model, prompts, SEEDS, 2)
    assert not torch.allclose(one, other, atol=1e-2)


def test_without_surrogates_none_is_made() -> None:
    assert set(mitigation(target="empty_prompt").methods) == {"search"}
    assert set(mitigation().methods) == {"search", "surrogate"}


def test_by_default_it_is_the_published_variant() -> None:
    params = AdversarialFinetuneParams()
    search = configure(REGISTRY, "attack", params.search).attack
    steps = params.search_budget // search.cost().step
    assert (params.search.name, steps, params.epochs) == ("dori", 50, 5)
    assert (params.prompt_share, params.found_share, params.utility_weight) == (0, 1, 1)
    assert params.general == "auto"


def asked_of(shares: Shares, count: int = 400) -> Tensor:
    """Where lessons ask between the prompt (0) and what was found (1), by embedding."""
    prompt, found = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 5.0])
    target = Target("s", 0, "a", torch.zeros(3, 4, 4))
    one = Found(target, 0, {"prompt_embeds": prompt}, {"prompt_embeds": found})
    branches = (SEEDS.child(number) for number in range(count))
    asked = [asked_with(one, shares, seeds)["prompt_embeds"] for seeds in branches]
    assert all(embedding[1] == 5 for embedding in asked)
    return torch.stack(asked)[:, 0].sub(1).div(2)


def test_lessons_stand_where_the_shares_say() -> None:
    assert (asked_of(Shares(prompt=0, found=1)) == 1).all()
    assert (asked_of(Shares(prompt=1, found=0)) == 0).all()
    between = asked_of(Shares(prompt=0, found=0))
    assert ((between > 0) & (between < 1)).all()
    # Uniform: within five standard errors of the mean, and in every tenth.
    assert abs(between.mean() - 0.5) < 5 / (12 * len(between)) ** 0.5
    assert torch.histc(between, 10, 0, 1).min() > 0
    mixed = asked_of(Shares(prompt=0.25, found=0.5))
    for end, share in ((0, 0.25), (1, 0.5)):
        error = 5 * (share * (1 - share) / len(mixed)) ** 0.5
        assert abs((mixed == end).float().mean() - share) < error
    assert ((mixed > 0) & (mixed < 1)).any()


def test_shares_over_one_are_refused() -> None:
    with pytest.raises(DoribError, match="more than all lessons; lower one") as caught:
        mitigation(prompt_share=0.25)
    assert "\n" not in str(caught.value)


def pairs_of(model: TargetModel, value: float | None = None) -> list[GeneralPair]:
    """Two pairs; of flat pictures where a value is given."""
    noise = torch.Generator().manual_seed(1)
    size = (3, model.sampling.height, model.sampling.width)
    images = [
        torch.rand(size, generator=noise) if value is None else torch.full(size, value)
        for _ in range(2)
    ]
    return [
        GeneralPair(caption, lambda image=image: image)
        for caption, image in zip(GENERAL[:2], images, strict=True)
    ]


def test_real_pairs_are_trained_on_where_there_are_any(small_model: TargetModel) -> None:
    view = replace(view_of(small_model), general_pairs=pairs_of(small_model))
    ledger = Ledger()
    real = fit(small_model, view=view, ledger=ledger)
    assert real.notes["general_pairs_are"] == "real"
    assert real.notes["general_pairs"] == 2
    # No picture is drawn: what is left is the surrogate maker's baseline and training.
    assert ledger.work_of(SHARED_WORK) == 1 + 3 * 3
    assert same(real, fit(small_model, view=view, general="real"))
    drawn = fit(small_model, view=view, general="drawn")
    assert drawn.notes["general_pairs_are"] == "drawn"
    assert drawn.notes["general_pairs"] == 3
    assert same(drawn, fit(small_model))
    assert not same(drawn, real)
    other = replace(view, general_pairs=pairs_of(small_model, 0.5))
    assert not same(real, fit(small_model, view=other))
    with pytest.raises(DoribError, match="general=real, but no general caption"):
        fit(small_model, general="real")


def test_general_captions_learn_to_give_their_real_pictures(small_model: TargetModel) -> None:
    view = replace(view_of(small_model), general_pairs=pairs_of(small_model, 0.5))
    images = torch.stack([pair.read() for pair in view.general_pairs])
    latents, captions = small_model.encode_image(images), GENERAL[:2]
    before = mean_loss(small_model, latents, captions)
    options = {"search": "none", "epochs": 10, "batch_size": 3, "learning_rate": 3e-3}
    with small_model.edited(fit(small_model, view=view, **options)):
        assert mean_loss(small_model, latents, captions) < 0.95 * before


class Spy(Attack[Params]):
    """Notes what it is called with, and finds the prompt's embedding."""

    knows = frozenset({"prompt"})

    def __init__(self) -> None:
        super().__init__(Params())
        self.seen: list[dict[str, Any]] = []

    def search(self, model, targets, budgets, seeds, ledger) -> Iterator[Trigger]:
        self.seen.append(
            {
                "samples": [target.sample for target in targets],
                "budgets": tuple(budgets),
                "weights": [w.detach().clone() for w in model.unet.parameters()],
                "frozen": not any(w.requires_grad for w in model.unet.parameters()),
                "scope": seeds.scope,
                "work": ledger.work,
            }
        )
        found = model.encode_targets(targets)["prompt_embeds"].cpu()
        for row, target in enumerate(targets):
            for restart, loss in enumerate([2.0, 1.0]):
                wanted = found[row] if restart else torch.full_like(found[row], float("nan"))
                yield Trigger(target.sample, 3, restart, {"prompt_embeds": wanted}, loss=loss)


def test_each_search_meets_the_current_weights_from_a_fresh_start(small_model: TargetModel) -> None:
    method, spy = mitigation(epochs=2), Spy()
    method.methods = {**method.methods, "search": spy}
    # Its first restart would spoil the weights: of several the one of lowest loss is taken.
    fit(small_model, method)
    assert [len(search["samples"]) for search in spy.seen] == [2, 1, 2, 1]
    first, second = spy.seen[:2], spy.seen[2:]
    for epoch in (first, second):
        assert sorted(sample for search in epoch for sample in search["samples"]) == [
            "s0",
            "s1",
            "s2",
        ]
    assert first[0]["scope"] == first[1]["scope"] != second[0]["scope"]
    assert all(search["frozen"] and search["budgets"] == (3,) for search in spy.seen)
    assert all(search["work"] == 0 for search in spy.seen)
    for one, other in zip(spy.seen, spy.seen[1:], strict=False):
        pairs = zip(one["weights"], other["weights"], strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs)


def test_several_embeddings_of_an_image_are_of_searches_of_their_own(
    small_model: TargetModel,
) -> None:
    method, spy, ledger = mitigation(embeddings_per_image=3), Spy(), Ledger()
    method.methods = {**method.methods, "search": spy}
    fit(small_model, method, ledger=ledger)
    # Two rounds, of two images and of one; each searches three times before its one step.
    assert [len(search["samples"]) for search in spy.seen] == [2, 2, 2, 1, 1, 1]
    scopes = [search["scope"] for search in spy.seen]
    assert len(set(scopes)) == 3
    assert scopes[:3] == scopes[3:]
    for first, again in ((0, 1), (1, 2), (3, 4), (4, 5)):
        weights = zip(spy.seen[first]["weights"], spy.seen[again]["weights"], strict=True)
        assert all(torch.equal(one, other) for one, other in weights)
    made = 2 * small_model.sampling.steps + 1  # two surrogates, and the maker's look
    assert ledger.work_of(0) == made + 3 * 3  # three lessons, forward and backward


def test_a_surrogate_that_is_a_copy_is_dropped(small_model: TargetModel) -> None:
    targets = view_of(small_model).memorized
    drawn = surrogates(small_model, targets, 2, 1.1, SEEDS, 4)
    assert [len(latents) for latents in drawn] == [2, 2, 2]
    copied = small_model.decode(drawn[1][:1])[0]
    originals = [targets[0].original, copied * 0.7 + 0.1, targets[2].original]
    changed = [
        Target(target.sample, target.index, target.caption, original)
        for target, original in zip(targets, originals, strict=True)
    ]
    kept = surrogates(small_model, changed, 2, 0.99, SEEDS, 3)
    assert [len(latents) for latents in kept] == [2, 1, 2]
    assert torch.allclose(kept[1][0], drawn[1][1], atol=1e-4)
    # From the threshold on it is a copy.
    (single,) = surrogates(small_model, targets[:1], 1, 1.1, SEEDS, 1)
    likeness = correlation(small_model.decode(single), targets[0].original[None]).item()
    assert not len(surrogates(small_model, targets[:1], 1, likeness, SEEDS, 1)[0])


def test_images_without_surrogate_are_named_and_taught_to_be_blank(
    small_model: TargetModel,
) -> None:
    edit = fit(small_model, similarity_threshold=-0.99)
    assert edit.notes["surrogates_kept"] == 0
    assert edit.notes["surrogates_drawn"] == 6
    assert edit.notes["samples_without_surrogate"] == ["s0", "s1", "s2"]
    assert same(edit, fit(small_model, target="empty_prompt"))


def test_correlation_sees_through_light_and_blur_alone() -> None:
    noise = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 32, 32, generator=noise)
    tinted = images * torch.tensor([0.5, 0.3, 0.2]).view(3, 1, 1) + 0.2
    assert torch.allclose(correlation(images[:1], images[:1]), torch.ones(1, 1))
    assert correlation(images, tinted).diagonal().min() > 0.9
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    assert correlation(images, blurred).diagonal().min() > 0.4
    others = correlation(images, images)[~torch.eye(4, dtype=torch.bool)]
    assert others.abs().max() < 0.2
    assert correlation(images[:1], torch.full((1, 3, 32, 32), 0.5)).item() == 0
    pairs = [correlation(images[[i]], images[[j]]).item() for j in range(4) for i in range(j)]
    wanted = float(torch.tensor(pairs).quantile(0.95))
    assert (
        copy_threshold(images, "mitigation adversarial-finetune")
        == pytest.approx(wanted, abs=1e-5)
        != max(pairs)
    )


def test_mixed_precision_trains_float32_copies(make_model: MakeModel) -> None:
    model = make_model(steps=1, guidance_scale=1.0)
    plain, mixed = fit(model), fit(model, mixed_precision="bf16")
    assert not same(plain, mixed)
    params = AdversarialFinetuneParams(mixed_precision="bf16")
    with training(model, params, SEEDS, "mitigation adversarial-finetune") as trained:
        assert all(weight.dtype == torch.float32 for weight in trained.weights.values())
        embeddings = model.encode_prompt(["a"])
        with trained.autocast(), torch.no_grad():
            latents = torch.zeros(1, *model.latent_shape)
            times = torch.zeros(1, dtype=torch.long)
            assert model.predict(latents, times, embeddings, times).dtype == torch.bfloat16


def test_bad_settings_are_one_clear_line(small_model: TargetModel) -> None:
    with pytest.raises(DoribError, match="set mixed_precision=bf16"):
        fit(small_model, mixed_precision="fp16")
    with pytest.raises(DoribError, match="buys no step"):
        fit(small_model, search_budget=2)
    with pytest.raises(DoribError, match="as its search, unknown attack 'ghost'"):
        fit(small_model, search="ghost")
    view = DefenderView(view_of(small_model).memorized[:1], GENERAL)
    with pytest.raises(DoribError, match="set similarity_threshold") as caught:
        mitigation(similarity_threshold=None).fit(small_model, view, SEEDS, Ledger())
    assert "\n" not in str(caught.value)
    view = DefenderView(view_of(small_model).memorized, ())
    with pytest.raises(DoribError, match="no general captions"):
        mitigation().fit(small_model, view, SEEDS, Ledger())


class Stopped(BaseException):
    """Stands for a kill."""


def test_a_fit_cut_short_goes_on_from_its_checkpoint(
    small_model: TargetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 2, "checkpoint_every": 2}
    whole, ledger = fit(small_model, ledger=(counted := Ledger()), **options), Ledger()
    steps = 0
    step = Training.step

    def stopping(self: Training, loss: Callable[[int], Tensor]) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Stopped
        step(self, loss)

    monkeypatch.setattr(Training, "step", stopping)
    with pytest.raises(Stopped):
        fit(small_model, scratch=tmp_path / "scratch", **options)
    resumed = fit(small_model, ledger=ledger, scratch=tmp_path / "scratch", **options)
    assert steps == 4 + 2  # two of four rounds were safe
    assert same(resumed, whole)
    assert resumed.notes == whole.notes
    assert ledger == counted


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"torn",
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[: len(content) // 2] + b"x" + content[len(content) // 2 + 1 :],
    ],
)
def test_a_damaged_checkpoint_is_warned_of_and_the_fit_starts_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    state = {
        "rounds": 2,
        "trace": [[0, 0.1, 1 / 3]],
        "weights": {"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3).bfloat16()},
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "betas": (0.9, 0.999)},
        "scaler": None,
    }
    ledger = Ledger()
    ledger.forward_items[3] = 7
    Checkpoints(tmp_path, ledger).save("training", state)
    [path] = tmp_path.iterdir()
    later = Ledger()
    found = Checkpoints(tmp_path, later).load("training")
    assert found is not None
    assert later.forward_items == {3: 7}
    assert found["trace"] == state["trace"]
    assert found["optimizer"]["state"][0]["step"] == 2.0
    assert found["optimizer"]["betas"] == [0.9, 0.999]
    assert found["scaler"] is None
    for name, tensor in state["weights"].items():
        assert torch.equal(found["weights"][name], tensor)
        assert found["weights"][name].dtype == tensor.dtype
    path.write_bytes(damage(path.read_bytes()))
    later = Ledger()
    with pytest.warns(UserWarning, match=r"damaged .*; the fit starts from its beginning"):
        assert Checkpoints(tmp_path, later).load("training") is None
    assert later == Ledger()
    Checkpoints(tmp_path, ledger).save("training", state)
    assert Checkpoints(tmp_path, later).load("training") is not None


def test_killed_and_run_again_it_stores_the_same_bytes(
    tiny_suite_folder: Path, tmp_path: Path
) -> None:
    check_killed_and_run_again(
        "adversarial-finetune",
        {**SMALL, "epochs": 2, "checkpoint_every": 1},
        tiny_suite_folder,
        tmp_path,
        step="step",
        last=3,
    )


def test_the_surrogate_maker_acts_while_surrogates_are_drawn(small_model: TargetModel) -> None:
    """Under an edit of another strength other pictures come out, and other weights."""
    method = mitigation()

    class Halved(Mitigation[Params]):
        def fit(self, model, view, seeds, ledger) -> Edit:
            layers = model.feed_forward_layers()
            return Edit(MaskWeights({n: (torch.arange(1),) for n in layers}))

    method.methods = {**method.methods, "surrogate": Halved(Params())}
    assert not same(fit(small_model, method), fit(small_model))
