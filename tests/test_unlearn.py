"""Data unlearning: the losses against plain transcriptions, what is drawn, kept and forgotten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    MethodSpec,
    Mitigation,
    ReplaceWeights,
    TargetModel,
    Training,
    training,
)
from dorib.host.configure import configure
from dorib.host.registry import discover
from dorib.target.model import DiffusersModel
from dorib_unlearn import UnlearnParams
from dorib_unlearn.draws import Drawing, draws
from dorib_unlearn.objectives import OBJECTIVES, Objective
from fixtures.unlearning import HOW, SEEDS, Reference, apart, batch_of, gradients_of, pools
from test_adversarial_finetune import GENERAL, MakeModel, pairs_of, view_of

REGISTRY = discover()
SMALL: dict[str, Any] = {
    "pictures": 2,
    "similarity_threshold": 0.9,
    "steps_per_image": 1,
    "gradient_accumulation": 1,
    "general_images": 3,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def small_model(make_model: MakeModel) -> DiffusersModel:
    """Shared by the tests of this file: one step, no guidance."""
    model: Any = make_model(steps=1, guidance_scale=1.0)
    return model  # type: ignore[no-any-return]


def mitigation(**params: Any) -> Mitigation[Any]:
    spec = MethodSpec(name="unlearn", params={**SMALL, **params})
    return configure(REGISTRY, "mitigation", spec).mitigation


def fit(
    model: TargetModel, view: DefenderView | None = None, ledger: Ledger | None = None, **p: Any
) -> Edit:
    ledger = ledger or Ledger()
    with model.counting(ledger):
        return mitigation(**p).fit(model, view or view_of(model), SEEDS, ledger)


def weights_of(edit: Edit) -> dict[str, Tensor]:
    assert isinstance(edit.change, ReplaceWeights)
    return dict(edit.change.weights)


def same(one: Edit, other: Edit) -> bool:
    return all(torch.equal(w, weights_of(other)[name]) for name, w in weights_of(one).items())


def objective(loss: str, **params: Any) -> Objective:
    return OBJECTIVES[loss](UnlearnParams(loss=loss, **params))


# What the papers write, by loss: from the reference to the gradient of a step.


def siss(reference: Reference) -> list[Tensor]:
    kept, forgotten = (reference.gradients(term) for term in reference.siss())
    lengths = [math.sqrt(sum(float((p**2).sum()) for p in g)) for g in (kept, forgotten)]
    share = 0.1 * lengths[0] / lengths[1]
    return [a - share * b for a, b in zip(kept, forgotten, strict=True)]


def retrack(reference: Reference) -> list[Tensor]:
    return reference.gradients(reference.retrack())


def naive(reference: Reference) -> list[Tensor]:
    return reference.gradients(reference.denoising(reference.kept))


def neggrad(reference: Reference) -> list[Tensor]:
    return reference.gradients(-reference.denoising(reference.forgotten))


def erasediff(reference: Reference) -> list[Tensor]:
    kept = reference.gradients(reference.denoising(reference.kept))
    noise = reference.gradients(reference.to_noise(reference.batch.normal))
    square = sum(float((p**2).sum()) for p in noise)
    agree = sum(float((a * b).sum()) for a, b in zip(kept, noise, strict=True))
    missing = 3.0 - agree / square
    assert missing > 0
    return [a + missing * b for a, b in zip(kept, noise, strict=True)]


@pytest.mark.parametrize("transcribed", [siss, retrack, naive, neggrad, erasediff])
def test_the_gradient_is_that_of_a_plain_transcription(
    either_model: DiffusersModel, transcribed: Any
) -> None:
    batch = batch_of(either_model)
    assert 0 < int(batch.from_forgotten.sum()) < len(batch.from_forgotten)
    one = objective(transcribed.__name__, balance=0.3, erase_rate=3.0)
    entries = math.prod(either_model.latent_shape)
    terms = gradients_of(either_model, lambda: one.losses(either_model, batch), entries)
    wanted = transcribed(Reference(either_model, batch, 0.3))
    assert apart(one.combined(terms), wanted) < 1e-5


def test_importance_weights_are_between_none_and_all(small_model: DiffusersModel) -> None:
    """Else the transcription of SISS would see one picture alone."""
    batch = batch_of(small_model)
    reference = Reference(small_model, batch, 0.5)
    off = (reference.gamma / reference.sigma * (reference.kept - reference.forgotten)) ** 2
    assert float(off.sum(dim=(1, 2, 3)).min()) < 4
    # And where the pictures are far apart the other one's weight is exactly 0.
    kept, forgotten = objective("siss").losses(small_model, batch_of(small_model, apart=50.0))
    early = batch.pairs.timesteps < 500
    assert early.any()
    for item in early.nonzero()[:, 0].tolist():
        zero, other = (kept, forgotten) if batch.from_forgotten[item] else (forgotten, kept)
        assert float(zero[item].detach()) == 0 < float(other[item].detach())


def test_at_the_last_timestep_siss_teaches_all_the_same(small_model: DiffusersModel) -> None:
    """With zero terminal SNR the two pictures cannot be told apart there."""
    batch = batch_of(small_model, Drawing(0.5, 3, last_timestep=True))
    assert batch.pairs.timesteps.tolist() == [small_model.timesteps - 1] * 6
    terms = gradients_of(small_model, lambda: objective("siss").losses(small_model, batch), 1)
    assert all(sum(float(part.abs().sum()) for part in term) > 0 for term in terms)
    assert apart(terms[0], terms[1]) > 1e-3


def test_the_noise_erased_to_is_as_asked(small_model: DiffusersModel) -> None:
    batch = batch_of(small_model)
    assert abs(float(batch.normal.mean())) < 0.1 < float(batch.normal.std())
    assert 0 <= float(batch.uniform.min()) < 0.1 < 0.9 < float(batch.uniform.max()) <= 1
    errors = {
        noise: objective("erasediff", erase_noise=noise).losses(small_model, batch)[1].detach()
        for noise in ("normal", "uniform")
    }
    assert not torch.allclose(errors["normal"], errors["uniform"], rtol=0.05)


def test_erasediff_lets_kept_pictures_be_where_they_forget_enough() -> None:
    kept, forgotten = [torch.tensor([3.0, 1.0])], [torch.tensor([2.0, 0.0])]
    # The forgetting loss falls by 6 along the one, and 4 are asked for.
    [step] = objective("erasediff", erase_rate=1.0).combined([kept, forgotten])
    assert step.tolist() == [3, 1]
    [step] = objective("erasediff", erase_rate=2.0).combined([kept, forgotten])
    assert step.tolist() == [4, 1]
    assert float(step @ forgotten[0]) == 2.0 * 4
    nothing = [torch.zeros(2)]
    for loss in ("erasediff", "siss"):
        assert objective(loss).combined([kept, nothing])[0].tolist() == [3, 1]


def test_a_draw_is_its_images_own(small_model: TargetModel) -> None:
    together = draws(small_model, pools(small_model), [7, 8, 9], HOW, SEEDS)
    alone = draws(small_model, pools(small_model)[2:], [9], HOW, SEEDS)
    for name in ("kept", "forgotten", "normal", "uniform", "samples", "from_forgotten"):
        assert torch.equal(getattr(alone, name)[0], getattr(together, name)[2]), name
    assert torch.equal(alone.neighbours[0], together.neighbours[2])
    assert torch.equal(alone.pairs.noise[0], together.pairs.noise[2])
    other = draws(small_model, pools(small_model)[2:], [10], HOW, SEEDS)
    assert not torch.equal(alone.pairs.noise, other.pairs.noise)


def test_neighbours_are_the_nearest_kept_pictures(small_model: TargetModel) -> None:
    batch = batch_of(small_model, apart=1.0)
    for item, near in enumerate(batch.neighbours):
        pool = pools(small_model, apart=1.0)[item % 3]
        distances = [float((kept - batch.forgotten[item]).norm()) for kept in pool.kept]
        wanted = sorted(range(5), key=distances.__getitem__)[:3]
        assert torch.equal(near, pool.kept[wanted])


def moved(edit: Edit, model: TargetModel) -> list[Tensor]:
    return [weights_of(edit)[name] - weight for name, weight in model.weights().items()]


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_batches_of_one_are_batches_of_many(small_model: TargetModel, loss: str) -> None:
    together = fit(small_model, loss=loss, batch_size=4)
    alone = fit(small_model, loss=loss, batch_size=1, gradient_accumulation=4)
    assert apart(moved(alone, small_model), moved(together, small_model)) < 0.02
    for one, other in zip(alone.notes["losses"], together.notes["losses"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_step_is_taken_on_what_is_made_of_the_mean_gradients(make_model: MakeModel) -> None:
    model = make_model(steps=1, guidance_scale=1.0)
    params = UnlearnParams(
        gradient_accumulation=2, learning_rate=1e-2, weight_decay=0, max_gradient_norm=1e-7
    )
    seen: list[Sequence[Sequence[Tensor]]] = []

    def losses(batch: int) -> list[Tensor]:
        whole = sum(weight.sum() for weight in trained.weights.values())
        # Gradients of 1 and 3, and of 2 and 4, for every weight.
        return [whole * (1 + 2 * batch), whole * (2 + 2 * batch)]

    def combined(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        seen.append(gradients)
        return [b - 2 * a for a, b in zip(*gradients, strict=True)]

    with training(model, params, SEEDS, "mitigation unlearn") as trained:
        before = {name: weight.clone() for name, weight in trained.weights.items()}
        trained.step_on_several(losses, combined)
        for gradient, mean in zip(seen[0], (2.0, 3.0), strict=True):
            assert all(torch.allclose(part, torch.full_like(part, mean)) for part in gradient)
        count = sum(weight.numel() for weight in before.values())
        clipped = 1e-7 / count**0.5
        for name, weight in trained.weights.items():
            # Against the gradient, which is -1 before its length is cut.
            wanted = before[name] + 1e-2 * clipped / (clipped + 1e-8)
            torch.testing.assert_close(weight, wanted, atol=1e-5, rtol=1e-3)
            assert not weight.requires_grad
    assert len(seen) == 1


def test_lengths_are_those_of_sums(small_model: TargetModel) -> None:
    """Errors summed over a latent are longer than 1, and cut to it, whatever their size."""
    lengths: list[float] = []
    step = Training.step_on_several

    def spying(self: Training, losses: Any, combined: Any) -> None:
        def looked_at(gradients: Any) -> Any:
            whole = combined(gradients)
            lengths.append(float(torch.nn.utils.get_total_norm(whole)))
            lengths.append(float(torch.nn.utils.get_total_norm(gradients[0])))
            return whole

        step(self, losses, looked_at)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Training, "step_on_several", spying)
        fit(small_model, loss="naive")
    entries = math.prod(small_model.latent_shape)
    assert lengths[0] == pytest.approx(entries * lengths[1], rel=1e-4)


VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "naive": {"loss": "naive"},
    "neggrad": {"loss": "neggrad"},
    # At random weights kept pictures alone lead to noise fast enough for the published rate.
    "erasediff": {"loss": "erasediff", "erase_rate": 3.0},
    "erasediff, uniform noise": {"loss": "erasediff", "erase_rate": 3.0, "erase_noise": "uniform"},
    "retrack": {"loss": "retrack"},
    "retrack, one neighbour": {"loss": "retrack", "neighbours": 1},
    "last timestep": {"timesteps": "last"},
    "balance": {"balance": 0.1},
    "forget more": {"forget_norm": 2.0},
    "general pictures": {"keep": "general"},
    "own pictures of a pruned model": {"keep_under": "wanda:sparsity=0.2,timesteps=1"},
    "more steps": {"steps_per_image": 2},
    "copies": {"similarity_threshold": 0.0},
}


def test_every_variant_is_another_training(small_model: TargetModel) -> None:
    edits = {name: fit(small_model, **params) for name, params in VARIANTS.items()}
    names = list(edits)
    for place, name in enumerate(names):
        assert not any(same(edits[name], edits[other]) for other in names[:place]), name
    assert same(edits["as published"], fit(small_model))
    assert len(edits["more steps"].notes["losses"]) == 2
    assert set(edits["retrack"].notes["losses"][0]) == {"weighted"}


def test_what_is_drawn_is_kept_unless_it_is_a_copy(small_model: TargetModel) -> None:
    """From the threshold on own pictures are forgotten; where none is left general ones serve."""
    kept = fit(small_model)
    assert kept.notes["own_pictures"] + kept.notes["copies"] == 2 * 3
    assert kept.notes["samples_without_own_pictures"] == []
    assert "general_pairs" not in kept.notes
    copies = fit(small_model, similarity_threshold=-0.99)
    assert copies.notes["copies"] == 6
    assert copies.notes["samples_without_own_pictures"] == ["s0", "s1", "s2"]
    assert (copies.notes["general_pairs"], copies.notes["general_pairs_are"]) == (3, "drawn")
    real = replace(view_of(small_model), general_pairs=pairs_of(small_model))
    assert fit(small_model, real, keep="general").notes["general_pairs_are"] == "real"
    none = fit(small_model, pictures=0)
    assert "copies" not in none.notes
    assert none.notes["general_pairs"] == 3
    # NegGrad keeps nothing, so that nothing need be there.
    bare = replace(view_of(small_model), general_captions=())
    assert "general_pairs" not in fit(small_model, bare, loss="neggrad", pictures=0).notes


def test_work_is_counted_for_each_image(small_model: TargetModel) -> None:
    ledger = Ledger()
    fit(small_model, ledger=ledger, batch_size=3)
    # Two pictures of a step each; three draws of one forward and the backward of two terms.
    assert [ledger.work_of(index) for index in range(3)] == [2 + 3 * (1 + 2 * 2)] * 3


def test_bad_settings_are_one_clear_line(small_model: TargetModel) -> None:
    bare = replace(view_of(small_model), general_captions=())
    alone = DefenderView(view_of(small_model).memorized[:1], GENERAL)
    cases: list[tuple[str, DefenderView | None, dict[str, Any]]] = [
        ("set mixed_precision=bf16", None, {"mixed_precision": "fp16"}),
        ("set similarity_threshold", alone, {"similarity_threshold": None}),
        ("no picture that is no copy; set keep=auto", None, {"keep": "own", "pictures": 0}),
        ("add some, or set keep=own", bare, {"keep": "general"}),
        ("general=real, but no", None, {"keep": "general", "general": "real"}),
        ("as its keep_under, unknown mitigation 'ghost'", None, {"keep_under": "ghost"}),
        ("balance", None, {"balance": 1}),
    ]
    for said, view, params in cases:
        with pytest.raises(DoribError, match=said) as caught:
            fit(small_model, view, **params)
        assert "\n" not in str(caught.value)


def test_the_model_is_as_it_was(small_model: DiffusersModel) -> None:
    before = dict(small_model.unet.named_parameters())
    bits = {name: weight.detach().clone() for name, weight in before.items()}
    edit = fit(small_model)
    for name, weight in small_model.unet.named_parameters():
        assert weight is before[name]
        assert torch.equal(weight, bits[name])
        assert not torch.equal(weights_of(edit)[name], bits[name])
        assert weight.grad is None
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        fit(small_model, learning_rate=1e30, weight_decay=0, steps_per_image=3)
    assert all(weight is before[name] for name, weight in small_model.unet.named_parameters())
