"""What holds for each of the field's attacks, on each kind of model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib import Attack, DoribError, Ledger
from dorib.contracts.suite_view import SamplingSettings
from dorib.host.admission import admit_trigger, embedding_shapes
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl
from dorib_inversion import InversionParams
from dorib_inversion.attack import Inversion
from dorib_prompt_walk import PromptWalkParams
from dorib_prompt_walk.attack import PromptWalk
from dorib_relearn import RelearnParams
from dorib_relearn.attack import Relearn
from dorib_seeds import SeedsParams
from dorib_seeds.attack import FreshSeeds
from dorib_tokens import TokensParams
from dorib_tokens.attack import TokenSearch
from fixtures.edits import per_sample_edit, row_as_global
from fixtures.searches import SEEDS, assert_same, search, targets_of

Make = Callable[[], Attack[Any]]
ATTACKS: dict[str, Make] = {
    "seeds": lambda: FreshSeeds(SeedsParams()),
    "simplex": lambda: TokenSearch(TokensParams(tokens=3, pairs=1, judging_pairs=1)),
    "projection": lambda: TokenSearch(
        TokensParams(optimiser="projection", tokens=3, pairs=1, judging_pairs=1, beside="nothing")
    ),
    "inversion": lambda: Inversion(InversionParams(pairs=2, restarts=2)),
    "relearn": lambda: Relearn(RelearnParams(learning_rate=0.01)),
    "relearn others": lambda: Relearn(RelearnParams(on="others", pairs=2)),
    "relearn unrelated": lambda: Relearn(RelearnParams(on="unrelated")),
    "walk": lambda: PromptWalk(PromptWalkParams(restarts=2)),
    "walk one step": lambda: PromptWalk(PromptWalkParams(score="one-step", noises=1)),
}
STEP = {"simplex": 4, "projection": 4, "inversion": 12, "relearn others": 6, "walk": 8}
"""U-Net items of a step; those left out, 3 where they train, 2 for the walk."""


KINDS = ["epsilon", "v_prediction", "no guidance", "bfloat16", "sdxl"]


@pytest.fixture(scope="module", params=KINDS)
def model(
    request: pytest.FixtureRequest,
    make_model: Callable[..., DiffusersModel],
    tiny_pipeline_folder: Path,
) -> DiffusersModel:
    settings = SamplingSettings(height=32, width=32, steps=4, guidance_scale=3.0)
    if request.param == "sdxl":
        return DiffusersModel(sdxl.pipeline("epsilon"), settings)
    if request.param == "bfloat16":
        cpu = torch.device("cpu")
        half = load_pipeline(str(tiny_pipeline_folder), cpu, torch.bfloat16)
        return DiffusersModel(half, settings)
    if request.param == "no guidance":
        return make_model("v_prediction", guidance_scale=1.0)
    return make_model(request.param)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_budget_is_spent_to_the_last_step_and_not_beyond(
    name: str, model: DiffusersModel
) -> None:
    guided = model.sampling.guidance_scale > 1
    step = 4 * (1 + guided) if name == "seeds" else STEP.get(name, 2 if "walk" in name else 3)
    targets, ledger, attack = targets_of(model)[:2], Ledger(), ATTACKS[name]()
    budgets = [3 * step + 1, 4 * step]
    shapes = embedding_shapes(model)
    with model.counting(ledger):
        for trigger in attack.search(model, targets, budgets, SEEDS, ledger):
            spent = ledger.work_of(int(trigger.sample[1:]))
            assert trigger.work == spent
            assert trigger.budget - step < spent <= trigger.budget
            admitted = admit_trigger(trigger, model, shapes, ["s0", "s1"], budgets)
            assert admitted.encodes_back
    assert not model.weights()["conv_in.weight"].requires_grad


@pytest.mark.parametrize("name", ATTACKS)
def test_a_target_alone_under_its_own_edit_is_what_it_is_in_a_batch(
    name: str, tiny_model: DiffusersModel
) -> None:
    targets, attack = targets_of(tiny_model), ATTACKS[name]()
    edit = per_sample_edit(tiny_model, "scale", 3)
    with tiny_model.edited(edit):
        together = search(attack, tiny_model, targets, [32])
    with tiny_model.edited(row_as_global(edit, 2)):
        alone = search(attack, tiny_model, [replace(targets[2], index=0)], [32])
    same = [trigger for trigger in together if trigger.sample == "s2"]
    assert len(same) == len(alone) > 0
    for one, other in zip(alone, same, strict=True):
        assert_same(one, other)
    # The edit's other rows lead elsewhere.
    with tiny_model.edited(row_as_global(edit, 0)):
        elsewhere = search(attack, tiny_model, [replace(targets[2], index=0)], [32])
    assert elsewhere[0].loss != pytest.approx(alone[0].loss, rel=1e-4)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_budget_that_buys_nothing_is_refused_in_one_line(
    name: str, tiny_model: DiffusersModel
) -> None:
    ledger = Ledger()
    with pytest.raises(DoribError, match="a budget of 1 buys no") as error:
        search(ATTACKS[name](), tiny_model, targets_of(tiny_model), [1], ledger)
    assert "\n" not in str(error.value)
    assert ledger.work == 0


def test_the_walk_and_the_seeds_never_look_at_the_original(tiny_model: DiffusersModel) -> None:
    targets = targets_of(tiny_model)
    blind = [replace(target, original=torch.rand(3, 32, 32)) for target in targets]
    for name in ("seeds", "walk", "walk one step"):
        attack = ATTACKS[name]()
        assert "original image" not in attack.knows
        found, again = (search(attack, tiny_model, some, [32]) for some in (targets, blind))
        for one, other in zip(found, again, strict=True):
            assert_same(one, other)
