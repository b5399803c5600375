from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dorib import DefenderView, DoribError, Edit, Ledger, MaskWeights, Seeds, Target, TargetModel
from dorib.contracts.edit_files import load_edit, save_edit
from dorib.contracts.edits import single_edits
from dorib_wanda import WandaParams
from dorib_wanda.mitigation import Wanda
from dorib_wanda.selection import selected_weights

CAPTIONS = ("a red star", "small blue ring", "cat on a mat")
GENERAL = ("one tree", "two green cubes", "some sand", "the sea at night")
MakeModel = Callable[..., TargetModel]
SEEDS = Seeds(7, ("fit", "wanda"))


def view_of(model: TargetModel, captions: Sequence[str] = CAPTIONS) -> DefenderView:
    original = torch.zeros(3, model.sampling.height, model.sampling.width)
    targets = [Target(f"s{i}", i, caption, original) for i, caption in enumerate(captions)]
    return DefenderView(targets, GENERAL)


def fit(
    model: TargetModel, captions: Sequence[str] = CAPTIONS, ledger: Ledger | None = None, **params
) -> Edit:
    ledger = ledger or Ledger()
    wanda = Wanda(WandaParams(**{"sparsity": 0.1, "timesteps": 2, **params}))
    with model.counting(ledger):
        return wanda.fit(model, view_of(model, captions), SEEDS, ledger)


def masks_of(edit: Edit) -> dict[str, list[set[int]]]:
    assert isinstance(edit.change, MaskWeights)
    return {name: [set(r.tolist()) for r in rows] for name, rows in edit.change.indices.items()}


def disagreements(edit: Edit, expected: Sequence[dict[str, set[int]]]) -> dict[str, list[int]]:
    """For each layer where masks differ, the number of weights that only one side masks."""
    masks = masks_of(edit)
    assert set(masks) == set(expected[0])
    counts = {
        name: [len(row ^ mask[name]) for row, mask in zip(rows, expected, strict=True)]
        for name, rows in masks.items()
    }
    return {name: count for name, count in counts.items() if any(count)}


class PublishedRule:
    """The rule as its authors run it: prompt by prompt, half by half, the baseline every time."""

    def __init__(self, model: TargetModel, tau: int) -> None:
        self.model, self.tau = model, tau

    def norms(self, captions: Sequence[str], images: int = 1) -> list[dict[str, np.ndarray]]:
        """For each timestep and layer, the column norms over all rows of all captions."""
        rows: list[dict[str, list[np.ndarray]]] = [{} for _ in range(self.tau)]
        for caption in captions:
            for image in range(images):
                self._observe(caption, image, rows)
        norms = []
        for step in rows:
            stacked = {name: np.concatenate(parts) for name, parts in step.items()}
            norms.append({name: np.linalg.norm(s, axis=0) for name, s in stacked.items()})
        return norms

    def _observe(self, caption: str, image: int, rows: list[dict[str, list[np.ndarray]]]) -> None:
        pipeline, guidance = self.model.pipeline, self.model.sampling.guidance_scale
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(self.model.sampling.steps)
        noise = torch.randn(
            (1, *self.model.latent_shape), generator=SEEDS.generator("noise", image)
        )
        latents = noise * scheduler.init_noise_sigma
        conditional = self.model.encode_prompt([caption])["prompt_embeds"]
        unconditional = self.model.encode_prompt([""])["prompt_embeds"]
        current: dict[str, list[np.ndarray]] = {}

        def record(name: str):
            def hook(module, arguments, output):
                for row in output.detach().double().numpy().reshape(-1, output.shape[-1]):
                    current.setdefault(name, []).append(row[None] / np.linalg.norm(row))

            return hook

        # The activation before the layer, rather than the layer's own input.
        handles = [
            module.register_forward_hook(record(name.replace(".net.0", ".net.2")))
            for name, module in pipeline.unet.named_modules()
            if name.endswith(".ff.net.0")
        ]
        for step, timestep in enumerate(scheduler.timesteps[: self.tau]):
            current = rows[step]
            with torch.no_grad():
                inputs = scheduler.scale_model_input(latents, timestep)
                output = pipeline.unet(inputs, timestep, conditional).sample
                if guidance > 1:
                    base = pipeline.unet(inputs, timestep, unconditional).sample
                    output = base + guidance * (output - base)
            latents = scheduler.step(output, timestep, latents).prev_sample
        for handle in handles:
            handle.remove()

    def mask(
        self,
        target: list[dict[str, np.ndarray]],
        baseline: list[dict[str, np.ndarray]],
        sparsity: float,
        select_ratio: float,
    ) -> dict[str, set[int]]:
        masks: dict[str, set[int]] = {}
        for name, layer in self.model.feed_forward_layers().items():
            weight = np.abs(layer.weight.detach().double().numpy())
            d_out, d_in = weight.shape
            chosen: Counter[int] = Counter()
            for step in range(self.tau):
                for i in range(d_out):
                    own = weight[i] * target[step][name]
                    other = weight[i] * baseline[step][name]
                    for j in sorted(range(d_in), key=lambda j: -own[j])[: int(sparsity * d_in)]:
                        if own[j] > other[j]:
                            chosen[i * d_in + j] += 1
            masks[name] = {w for w, count in chosen.items() if count > select_ratio * self.tau}
        return masks


@pytest.mark.parametrize(("prediction", "guidance_scale"), [("epsilon", 1.0), ("v_prediction", 3)])
@pytest.mark.parametrize(("select_ratio", "images"), [(0.0, 1), (0.5, 2)])
def test_global_mask_is_the_published_rule(
    make_model: MakeModel, prediction: str, guidance_scale: float, select_ratio: float, images: int
) -> None:
    model = make_model(prediction, guidance_scale=guidance_scale)
    edit = fit(model, select_ratio=select_ratio, images_per_prompt=images, batch_size=2)
    rule = PublishedRule(model, tau=2)
    target = rule.norms(CAPTIONS, images)
    # One identical baseline prompt beside each target prompt.
    baseline = rule.norms([""] * len(CAPTIONS), images)
    expected = rule.mask(target, baseline, 0.1, select_ratio)
    assert all(expected.values())
    assert disagreements(edit, [expected]) == {}


def test_per_sample_masks_are_the_published_rule_for_each_prompt(tiny_model: TargetModel) -> None:
    edit = fit(tiny_model, scope="per_sample")
    assert edit.samples == ("s0", "s1", "s2")
    rule = PublishedRule(tiny_model, tau=2)
    baseline = rule.norms([""])
    expected = [rule.mask(rule.norms([c]), baseline, 0.1, 0.0) for c in CAPTIONS]
    assert disagreements(edit, expected) == {}
    assert expected[0] != expected[1]


def test_a_targets_own_embeddings_stand_in_for_its_caption(tiny_model: TargetModel) -> None:
    view = view_of(tiny_model)
    trigger = tiny_model.encode_prompt([CAPTIONS[2]])["prompt_embeds"][0]
    asked = replace(view.memorized[0], embeddings={"prompt_embeds": trigger})
    params = WandaParams(sparsity=0.1, timesteps=2, scope="per_sample")
    mixed = DefenderView([asked, view.memorized[1]], GENERAL)
    edit = Wanda(params).fit(tiny_model, mixed, SEEDS, Ledger())
    by_caption = masks_of(fit(tiny_model, scope="per_sample"))
    expected = [{name: rows[i] for name, rows in by_caption.items()} for i in (2, 1)]
    assert disagreements(edit, expected) == {}
    assert expected[0] != {name: rows[0] for name, rows in by_caption.items()}


def test_general_baseline_weighs_as_much_as_the_targets(tiny_model: TargetModel) -> None:
    """Means are compared, so that four baseline captions do not outweigh two targets."""
    edit = fit(tiny_model, CAPTIONS[:2], baseline="general", baseline_captions=4)
    rule = PublishedRule(tiny_model, tau=2)
    target, baseline = rule.norms(CAPTIONS[:2] * 2), rule.norms(GENERAL)
    expected = rule.mask(target, baseline, 0.1, 0.0)
    assert disagreements(edit, [expected]) == {}


def test_general_captions_are_drawn_by_lot_and_as_many_as_asked_for(
    tiny_model: TargetModel,
) -> None:
    ledger = Ledger()
    edit = fit(tiny_model, CAPTIONS[:1], ledger=ledger, baseline="general", baseline_captions=1)
    rule = PublishedRule(tiny_model, tau=2)
    target = rule.norms(CAPTIONS[:1])
    drawn = [
        caption
        for caption in GENERAL
        if not disagreements(edit, [rule.mask(target, rule.norms([caption]), 0.1, 0.0)])
    ]
    assert len(drawn) == 1
    assert drawn != list(GENERAL[:1])
    assert ledger.work_of(-1) == ledger.work_of(0)


def test_batches_do_not_change_the_masks(tiny_model: TargetModel) -> None:
    edit = fit(tiny_model, scope="per_sample", batch_size=1)
    one_by_one = [{name: rows[i] for name, rows in masks_of(edit).items()} for i in range(3)]
    together = fit(tiny_model, scope="per_sample", batch_size=8)
    assert disagreements(together, one_by_one) == {}
    alone = fit(tiny_model, CAPTIONS[:1], scope="per_sample")
    assert disagreements(alone, one_by_one[:1]) == {}


def test_the_baseline_itself_loses_nothing(tiny_model: TargetModel) -> None:
    edit = fit(tiny_model, [""])
    assert disagreements(edit, [{name: set() for name in tiny_model.feed_forward_layers()}]) == {}


def test_only_the_work_that_is_needed(tiny_model: TargetModel) -> None:
    ledger = Ledger()
    fit(tiny_model, ledger=ledger, images_per_prompt=2, batch_size=4)
    halves = 2 if tiny_model.sampling.guidance_scale > 1 else 1
    prompt = 2 * 2 * halves  # images, timesteps, guidance halves
    assert [ledger.work_of(index) for index in range(3)] == [prompt] * 3
    assert ledger.work == prompt * (3 + 1)  # the baseline once
    assert not ledger.backward_items


def test_a_fifth_of_the_steps_by_default(make_model: MakeModel) -> None:
    model, ledger = make_model(steps=15, guidance_scale=1.0), Ledger()
    fit(model, CAPTIONS[:1], ledger=ledger, timesteps=None)
    assert ledger.work_of(0) == 3


def test_the_edit_zeroes_the_chosen_weights_alone(tiny_model: TargetModel, tmp_path: Path) -> None:
    save_edit(fit(tiny_model), tmp_path)
    edit = load_edit(tmp_path)
    assert isinstance(edit.change, MaskWeights)
    before = {n: layer.weight.clone() for n, layer in tiny_model.feed_forward_layers().items()}
    with tiny_model.edited(edit):
        for name, layer in tiny_model.feed_forward_layers().items():
            expected = before[name].flatten()
            chosen = edit.change.indices[name][0]
            expected[chosen] = 0
            assert torch.equal(layer.weight.flatten(), expected)
            share = len(chosen) / layer.weight.numel()
            assert edit.notes["masked_share"][name] == pytest.approx(share)
            assert 0 < share <= 0.2


def test_a_mask_of_its_own_comes_with_its_own_share(tiny_model: TargetModel) -> None:
    edit = fit(tiny_model, scope="per_sample")
    layers = tiny_model.feed_forward_layers()
    shares = []
    for sample, alone in single_edits(edit).items():
        assert isinstance(alone.change, MaskWeights)
        noted = alone.notes["samples"]
        assert list(noted) == [sample]
        share = noted[sample]["masked_share"]
        for name, layer in layers.items():
            assert share[name] == len(alone.change.indices[name][0]) / layer.weight.numel()
        shares.append(share)
    assert any(share != shares[0] for share in shares[1:])


def test_the_model_is_left_as_it_was_even_after_a_failure(tiny_model: TargetModel) -> None:
    before = {name: value.clone() for name, value in tiny_model.unet.state_dict().items()}
    last = list(tiny_model.feed_forward_layers().values())[-1]

    def fail(module, arguments, output):
        raise ArithmeticError("as if out of memory")

    handle = last.register_forward_hook(fail)
    with pytest.raises(ArithmeticError):
        fit(tiny_model)
    handle.remove()
    fit(tiny_model)
    for name, layer in tiny_model.feed_forward_layers().items():
        assert not layer._forward_pre_hooks, name
        assert not layer._forward_hooks, name
    after = tiny_model.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_sparsity_that_masks_nothing_names_one_that_does(tiny_model: TargetModel) -> None:
    ledger = Ledger()
    with pytest.raises(DoribError, match="set sparsity to") as caught:
        fit(tiny_model, ledger=ledger, sparsity=1e-4)
    assert ledger.work == 0
    named = float(str(caught.value).split("set sparsity to ")[1].split()[0])
    narrowest = min(layer.in_features for layer in tiny_model.feed_forward_layers().values())
    assert int(named * narrowest) == 1
    fit(tiny_model, sparsity=named)


def test_bad_settings_are_one_clear_line(tiny_model: TargetModel) -> None:
    steps = tiny_model.sampling.steps
    with pytest.raises(DoribError, match=f"set timesteps to {steps} or less"):
        fit(tiny_model, timesteps=steps + 1)
    view = DefenderView(view_of(tiny_model).memorized, ())
    with pytest.raises(DoribError, match="no general captions"):
        Wanda(WandaParams(sparsity=0.1, baseline="general")).fit(tiny_model, view, SEEDS, Ledger())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    per_row=st.integers(1, 5),
    timesteps=st.integers(1, 5),
    ratio=st.floats(0, 0.9),
)
def test_selection_properties(seed: int, per_row: int, timesteps: int, ratio: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 5, generator=generator)
    target = torch.rand(timesteps, 5, generator=generator) + 0.1
    baseline = torch.rand(timesteps, 5, generator=generator) + 0.1

    def select(target: torch.Tensor, baseline: torch.Tensor, ratio: float) -> set[int]:
        return set(selected_weights(weight, target, baseline, per_row, ratio).tolist())

    union = select(target, baseline, 0.0)
    assert select(target, baseline, ratio) <= union
    assert select(4 * target, 4 * baseline, ratio) == select(target, baseline, ratio)
    assert select(target, target, 0.0) == set()
    # With nothing to exceed, one timestep chooses exactly `per_row` weights of each row.
    alone = select(target[:1], torch.zeros(1, 5), 0.0)
    assert Counter(index // 5 for index in alone) == {row: per_row for row in range(4)}
    # The union over timesteps is what they choose one by one.
    singly = [select(target[t : t + 1], baseline[t : t + 1], 0.0) for t in range(timesteps)]
    assert union == set().union(*singly)
