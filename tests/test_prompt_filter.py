"""The filter: known prompts get another image, everything else passes it by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib import DefenderView, DoribError, Edit, Ledger, SamplingRule, Seeds, Target, TargetModel
from dorib.config import make_config
from dorib.contracts.edit_files import load_edit, save_edit
from dorib.host.registry import discover
from dorib.runner import RunResult, run
from dorib_prompt_filter import PromptFilterParams
from dorib_prompt_filter.mitigation import PromptFilter

KNOWN = ("a red star", "small blue ring", "cat on a mat")
GENERAL = ("one tree", "two green cubes", "some sand", "the sea at night")
OTHERS = ("a red stars", "star red a", "", "one tree", "dog on a mat")
SEEDS = Seeds(7, ("fit", "prompt-filter"))


def view_of(
    model: TargetModel, captions: Sequence[str] = KNOWN, general: Sequence[str] = GENERAL
) -> DefenderView:
    original = torch.zeros(3, model.sampling.height, model.sampling.width)
    targets = [Target(caption, i, caption, original) for i, caption in enumerate(captions)]
    return DefenderView(targets, general)


def fit(model: TargetModel, view: DefenderView | None = None) -> Edit:
    ledger = Ledger()
    with model.counting(ledger):
        edit = PromptFilter(PromptFilterParams()).fit(model, view or view_of(model), SEEDS, ledger)
    assert ledger.work == 0
    return edit


def substitutes(edit: Edit) -> dict[str, str]:
    assert isinstance(edit.change, SamplingRule)
    found: dict[str, str] = edit.change.params["substitutes"]
    return found


def requested(model: TargetModel, prompts: Sequence[str]) -> Tensor:
    generators = [torch.Generator() for _ in prompts]
    return model.encode_request(prompts, generators)["prompt_embeds"]


def encoded(model: TargetModel, prompts: Sequence[str]) -> Tensor:
    return model.encode_prompt(prompts)["prompt_embeds"]


def test_each_known_prompt_has_a_general_caption_of_its_own_lot(tiny_model: TargetModel) -> None:
    edit = fit(tiny_model)
    assert edit.scope == "global"
    assert set(substitutes(edit)) == set(KNOWN)
    assert set(substitutes(edit).values()) <= set(GENERAL)
    alone = fit(tiny_model, view_of(tiny_model, KNOWN[1:2]))
    assert substitutes(alone) == {KNOWN[1]: substitutes(edit)[KNOWN[1]]}


def test_no_memorized_prompt_stands_in_for_another(tiny_model: TargetModel) -> None:
    general = ("A  RED star", "small blue ring", "one tree")
    edit = fit(tiny_model, view_of(tiny_model, general=general))
    assert set(substitutes(edit).values()) == {"one tree"}
    with pytest.raises(DoribError, match="no general caption"):
        fit(tiny_model, view_of(tiny_model, general=general[:2]))


@given(prompts=st.lists(st.sampled_from([*KNOWN, *OTHERS]), min_size=1, max_size=6))
@settings(max_examples=20)
def test_known_and_unknown_prompts_share_a_batch(
    tiny_model: TargetModel, prompts: list[str]
) -> None:
    edit = fit(tiny_model)
    instead = [substitutes(edit).get(prompt, prompt) for prompt in prompts]
    with tiny_model.edited(edit):
        together = requested(tiny_model, prompts)
    assert torch.equal(together, encoded(tiny_model, instead))
    for prompt, row in zip(prompts, together, strict=True):
        known = prompt in KNOWN
        own = torch.allclose(row, encoded(tiny_model, [prompt])[0], atol=1e-5)
        assert own != known


@pytest.mark.parametrize("written", ["A RED STAR", "  a red\tstar ", "A red  Star"])
def test_case_and_spaces_are_no_way_around_it(tiny_model: TargetModel, written: str) -> None:
    with tiny_model.edited(fit(tiny_model)):
        assert torch.equal(requested(tiny_model, [written]), requested(tiny_model, [KNOWN[0]]))


def test_out_of_force_it_does_nothing(tiny_model: TargetModel) -> None:
    plain = encoded(tiny_model, KNOWN)
    with tiny_model.edited(fit(tiny_model)):
        assert not torch.allclose(requested(tiny_model, KNOWN), plain, atol=1e-3)
        # The text encoder by itself is not filtered: a search may start from its embedding.
        assert torch.equal(encoded(tiny_model, KNOWN), plain)
    assert torch.equal(requested(tiny_model, KNOWN), plain)


def test_embeddings_pass_it_by_with_their_gradients(tiny_model: TargetModel) -> None:
    latents = torch.randn((1, *tiny_model.latent_shape), generator=SEEDS.generator("latents"))

    def results() -> tuple[Tensor, Tensor]:
        prompt = encoded(tiny_model, KNOWN[:1]).clone().requires_grad_()
        embeddings = {"prompt_embeds": prompt}
        index = torch.zeros(1, dtype=torch.int64)
        loss = tiny_model.denoising_loss(latents, latents, index + 500, embeddings, index)
        (gradient,) = torch.autograd.grad(loss.sum(), prompt)
        return gradient, tiny_model.sample(embeddings, [SEEDS.generator("image")], index)

    before = results()
    with tiny_model.edited(fit(tiny_model)):
        under_the_filter = results()
    assert all(torch.equal(a, b) for a, b in zip(before, under_the_filter, strict=True))
    assert before[0].abs().max() > 0


def test_the_edit_is_the_same_after_the_disk(tiny_model: TargetModel, tmp_path: Path) -> None:
    edit = fit(tiny_model)
    save_edit(edit, tmp_path)
    assert load_edit(tmp_path) == edit
    with tiny_model.edited(load_edit(tmp_path)):
        assert torch.equal(
            requested(tiny_model, KNOWN),
            encoded(tiny_model, list(substitutes(edit).values())),
        )


@pytest.fixture(scope="module")
def result(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path_factory.mktemp("filtered")),
        "mitigation": ["prompt-filter"],
        "attack": ["dori"],
        "metric": ["sscd", "clip"],
    }
    return run(make_config(config), discover())


def values(
    result: RunResult, mitigation: str, attack: str | None, role: str, metric: str
) -> list[float]:
    lines = [json.loads(line) for line in result.records.read_text().splitlines()]
    wanted = {"mitigation": mitigation, "attack": attack, "role": role, "metric": metric}
    return [line["value"] for line in lines if wanted.items() <= line.items()]


def test_a_run_filters_own_prompts_and_nothing_else(result: RunResult) -> None:
    def likeness(mitigation: str, role: str) -> list[float]:
        return values(result, mitigation, "none", role, "sscd_original")

    # A memorized sample's prompt is answered with another image, a control's is not.
    for unmitigated, filtered in zip(
        likeness("none", "memorized"), likeness("prompt-filter", "memorized"), strict=True
    ):
        assert filtered != unmitigated
    assert likeness("prompt-filter", "control") == likeness("none", "control") != []
    aligned = values(result, "none", None, "utility", "clip_alignment")
    assert values(result, "prompt-filter", None, "utility", "clip_alignment") == aligned != []


def test_what_goes_around_the_filter_is_scored_and_flagged(result: RunResult) -> None:
    entries = {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}
    flagged = {cell for cell, entry in entries.items() if entry.bypass}
    assert flagged == {("prompt-filter", "dori")}
    bypassing, unmitigated = entries["prompt-filter", "dori"], entries["none", "dori"]
    # The weights hold what they held: the same search finds the same, and draws the same.
    assert bypassing.digests.triggers == unmitigated.digests.triggers
    assert bypassing.digests.images == unmitigated.digests.images
    assert bypassing.not_applicable is None
    assert bypassing.memorization_rate == unmitigated.memorization_rate
