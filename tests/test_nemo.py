from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dorib import DefenderView, DoribError, Edit, Ledger, ScaleOutputs, Seeds, Target, TargetModel
from dorib.contracts.edit_files import load_edit, save_edit
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from dorib.testing.pipelines import TEXT_WIDTH, Prediction, pipeline
from dorib_nemo import NemoParams
from dorib_nemo.judge import Judge
from dorib_nemo.localisation import Round, refine, schedule, select
from dorib_nemo.mitigation import Nemo
from dorib_nemo.picks import Picks, Statistics, without_neuron
from dorib_nemo.similarity import Similarity

WORDS = "red blue cat dog tree moon ring star sand sea mat box fox owl key cup map sun bee ant"
CAPTIONS = [
    f"{a} {b}" for a, b in zip(WORDS.split(), WORDS.split()[7:] + WORDS.split()[:7], strict=True)
]
GENERAL = [f"{word[::-1]}{WORDS.split()[3 * i % 20]}" for i, word in enumerate(WORDS.split())]
SEEDS = Seeds(7, ("fit", "nemo"))
THRESHOLD = 0.84


def prompt_bound_model(side: int, prediction: Prediction = "epsilon") -> TargetModel:
    """Random weights that hear the prompt more than the noise, as for a memorized prompt.

    `side` x `side` latents; three value layers of 16 neurons down to the middle.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=side,
            in_channels=4,
            out_channels=4,
            block_out_channels=(4, 16, 16),
            layers_per_block=1,
            norm_num_groups=2,
            attention_head_dim=2,
            cross_attention_dim=TEXT_WIDTH,
            # Self-attention over 64 x 64 latents would take nearly all of the time.
            only_cross_attention=True,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        )
    with torch.no_grad():
        unet.conv_in.weight *= 0.001
        unet.conv_out.weight *= 30
        unet.conv_out.bias *= 0
        for name, module in unet.named_modules():
            if name.endswith("attn2.to_v"):
                module.weight *= 0.1 if name.startswith("up") else 3
            elif name.endswith("attn2.to_q"):
                module.weight *= 5
            elif name.endswith("attn1.to_out.0"):
                module.weight *= 0
                module.bias *= 0
    parts = pipeline(prediction)
    parts.register_modules(unet=unet)
    sampling = SamplingSettings(height=4 * side, width=4 * side, steps=50, guidance_scale=1.0)
    return DiffusersModel(parts, sampling)


@pytest.fixture(scope="module")
def large() -> TargetModel:
    """64 x 64 latents, as Stable Diffusion's."""
    return prompt_bound_model(64)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def small(request: pytest.FixtureRequest) -> TargetModel:
    """16 x 16 latents."""
    return prompt_bound_model(16, request.param)


def view_of(
    model: TargetModel, captions: Sequence[str] = CAPTIONS[:3], general: Sequence[str] = GENERAL
) -> DefenderView:
    original = torch.zeros(3, model.sampling.height, model.sampling.width)
    targets = [Target(f"s{i}", i, caption, original) for i, caption in enumerate(captions)]
    return DefenderView(targets, general)


def fit(
    model: TargetModel, view: DefenderView | None = None, ledger: Ledger | None = None, **params
) -> Edit:
    ledger = ledger or Ledger()
    nemo = Nemo(NemoParams(**{"seeds": 3, "threshold": THRESHOLD, **params}))
    with model.counting(ledger):
        return nemo.fit(model, view or view_of(model), SEEDS, ledger)


def value_layers(model: TargetModel) -> list[torch.nn.Linear]:
    return [
        layer
        for name, layer in model.cross_attention_value_layers().items()
        if not name.startswith("up")
    ]


Lists = list[list[int]]


@dataclass
class PublishedProcedure:
    """The published steps one after the other, one set of neurons a forward, nothing remembered."""

    model: TargetModel
    seeds: int
    threshold: float = THRESHOLD
    timestep: int = 2
    raw: bool = False

    def difference(self, caption: str, blocked: Lists | None = None) -> Tensor:
        """All seeds at one of the sampling timesteps, on noise that no step has touched."""
        unet = self.model.pipeline.unet
        scheduler = type(self.model.pipeline.scheduler).from_config(
            self.model.pipeline.scheduler.config
        )
        scheduler.set_timesteps(self.model.sampling.steps)
        latents = torch.stack(
            [
                torch.randn(self.model.latent_shape, generator=SEEDS.generator("noise", seed))
                for seed in range(self.seeds)
            ]
        )
        prompt = self.model.encode_prompt([caption] * self.seeds)["prompt_embeds"]
        handles = []
        for layer, neurons in zip(value_layers(self.model), blocked or [], strict=bool(blocked)):

            def silence(module: Any, arguments: Any, output: Tensor, neurons=neurons) -> Tensor:
                output[:, :, neurons] *= 0
                return output

            handles.append(layer.register_forward_hook(silence))
        timestep = scheduler.timesteps[self.timestep - 1]
        shown = scheduler.scale_model_input(latents * scheduler.init_noise_sigma, timestep)
        with torch.no_grad():
            output = unet(shown, timestep, prompt).sample
        for handle in handles:
            handle.remove()
        difference = output if self.raw else output - latents
        low = difference.flatten(2).min(dim=2).values[:, :, None, None]
        high = difference.flatten(2).max(dim=2).values[:, :, None, None]
        return (difference - low) / (high - low)

    @staticmethod
    def ms_ssim(one: Tensor, other: Tensor) -> Tensor:
        """As published for 64 x 64; the window shrinks with the latent."""
        sigma, window = {64: (1.5, 11), 16: (0.375, 3)}[one.shape[-1]]
        return multiscale_structural_similarity_index_measure(
            one,
            other,
            reduction="none",
            sigma=sigma,
            kernel_size=window,
            betas=(0.33, 0.33, 0.33),
        )

    def activation(self, caption: str) -> list[Tensor]:
        (prompt,) = self.model.encode_prompt([caption])["prompt_embeds"]
        return [(prompt @ layer.weight.T).abs().mean(dim=0) for layer in value_layers(self.model)]

    def choose(self, caption: str, theta: float, k: int) -> Lists:
        general = [self.activation(other) for other in GENERAL]
        chosen = []
        for layer, own in enumerate(self.activation(caption)):
            others = torch.stack([activation[layer] for activation in general])
            z = (own - others.mean(dim=0)).abs() / others.std(dim=0)
            neurons = [neuron for neuron in range(len(own)) if z[neuron] > theta]
            chosen.append(neurons + torch.topk(own, min(k, len(own))).indices.tolist())
        return chosen

    def closest(self, difference: Tensor) -> list[float]:
        """How like each seed the one most like it is."""
        pairs = [(i, j) for i in range(self.seeds) for j in range(i + 1, self.seeds)]
        similarity = self.ms_ssim(
            torch.stack([difference[i] for i, _ in pairs]),
            torch.stack([difference[j] for _, j in pairs]),
        )
        return [
            max(s.item() for s, pair in zip(similarity, pairs, strict=True) if seed in pair)
            for seed in range(self.seeds)
        ]

    def kept(self, difference: Tensor) -> list[int]:
        return [seed for seed, own in enumerate(self.closest(difference)) if own > self.threshold]

    def __call__(self, caption: str) -> tuple[list[int], Lists, Lists]:
        """The kept seeds, the initial neurons and the refined ones."""
        nothing: Lists = [[] for _ in value_layers(self.model)]
        every = self.difference(caption)
        kept = self.kept(every)
        if not kept:
            return [], nothing, nothing

        def largest(blocked: Lists) -> float:
            return self.ms_ssim(every[kept], self.difference(caption, blocked)[kept]).max().item()

        theta, k, similarity, needed = 5.0, 0, 1.0, self.threshold
        picks = nothing
        while similarity > self.threshold:
            picks = self.choose(caption, theta, k)
            similarity = largest(picks)
            if similarity > self.threshold:
                if theta > 1:
                    theta -= 0.25
                k += 1
            if theta == 1 or k >= 1280:
                needed = similarity
                break
        initial = [list(layer) for layer in picks]
        for layer in reversed(range(len(picks))):
            if picks[layer]:
                tried = [list(neurons) for neurons in picks]
                tried[layer] = []
                if largest(tried) < needed:
                    picks = tried
        for layer in reversed(range(len(picks))):
            for neuron in list(picks[layer]):
                tried = [list(neurons) for neurons in picks]
                tried[layer].remove(neuron)
                if largest(tried) < needed:
                    picks = tried
        return kept, initial, picks


def assert_as_published(
    model: TargetModel, captions: Sequence[str], seeds: int, threshold: float = THRESHOLD
) -> list[Lists]:
    """Compare decision for decision; the initial neurons, prompt by prompt, are returned."""
    view = view_of(model, captions)
    edit = fit(model, view, mode="compat", seeds=seeds, threshold=threshold)
    published = PublishedProcedure(model, seeds, threshold)
    initials = []
    for note, caption in zip(edit.notes["samples"].values(), captions, strict=True):
        kept, initial, refined = published(caption)
        assert note["kept_seeds"] == kept
        assert [list(layer) for layer in note.get("initial_picks", refined)] == initial
        assert [list(layer) for layer in note["picks"]] == refined
        initials.append(initial)
    return initials


def test_compat_is_the_published_procedure(large: TargetModel) -> None:
    (initial,) = assert_as_published(large, CAPTIONS[:1], seeds=2)
    assert any(initial)


@pytest.mark.slow
def test_compat_is_the_published_procedure_on_twenty_prompts(large: TargetModel) -> None:
    assert len(CAPTIONS) == 20
    initials = assert_as_published(large, CAPTIONS, seeds=10)
    assert sum(any(initial) for initial in initials) >= 10


def test_compat_where_no_round_is_accepted(small: TargetModel) -> None:
    """The last similarity is what the refinement goes by, and neurons are listed twice."""
    (initial,) = assert_as_published(small, CAPTIONS[2:3], seeds=2, threshold=0.5)
    assert any(len(layer) > len(set(layer)) for layer in initial)


def test_only_seeds_that_were_kept_are_looked_at(small: TargetModel) -> None:
    """A caption of which the first seed is unlike the others, and a threshold between."""
    published = PublishedProcedure(small, 4)
    closest = {caption: published.closest(published.difference(caption)) for caption in CAPTIONS}
    caption, similarity = max(closest.items(), key=lambda own: max(own[1]) - own[1][0])
    assert max(similarity) > similarity[0] + 0.001
    threshold = (max(similarity) + similarity[0]) / 2
    assert 0 not in PublishedProcedure(small, 4, threshold).kept(published.difference(caption))
    assert_as_published(small, [caption], seeds=4, threshold=threshold)


@pytest.fixture(scope="module")
def located(small: TargetModel) -> Edit:
    """What is found for three prompts."""
    return fit(small)


def decisions(edit: Edit) -> dict[str, tuple[Any, ...]]:
    return {
        sample: tuple(note.get(key) for key in ("kept_seeds", "theta", "initial_picks", "picks"))
        for sample, note in edit.notes["samples"].items()
    }


@pytest.mark.parametrize("threshold", [0.84, 0.7])
def test_shared_forwards_decide_as_one_candidate_a_forward(
    small: TargetModel, threshold: float
) -> None:
    view = view_of(small, CAPTIONS[:2])
    shared = fit(small, view, batch_size=48, threshold=threshold)
    alone = fit(small, view, batch_size=1, threshold=threshold)
    assert decisions(shared) == decisions(alone)
    notes = alone.notes["samples"].values()
    assert all(note["items"]["speculative"] == 0 for note in notes)
    assert any(any(note["picks"]) for note in notes)
    assert {note["accepted"] for note in notes} == {threshold == 0.84}


def test_work_is_within_the_bound_and_what_is_beyond_it_is_listed(small: TargetModel) -> None:
    view = view_of(small, CAPTIONS[:2])
    for batch_size in (3, 48):
        ledger = Ledger()
        edit = fit(small, view, ledger, batch_size=batch_size)
        for index, note in enumerate(edit.notes["samples"].values()):
            layers = sum(1 for layer in note["initial_picks"] if layer)
            neurons = sum(len(layer) for layer in note["initial_picks"])
            assert note["items"]["needed"] <= 3 * (1 + note["rounds"] + layers + neurons)
            assert sum(note["items"].values()) == ledger.work_of(index)
        assert ledger.work == sum(ledger.work_of(index) for index in range(2))
        assert not ledger.backward_items


def test_a_prompt_alone_is_what_it_is_among_others(small: TargetModel, located: Edit) -> None:
    together = decisions(located)
    view = view_of(small)
    alone = DefenderView([replace(view.memorized[2], index=0)], view.general_captions)
    assert decisions(fit(small, alone)) == {"s2": together["s2"]}


def test_a_trigger_stands_in_for_the_caption(small: TargetModel, located: Edit) -> None:
    triggers = small.encode_prompt(CAPTIONS[:3])["prompt_embeds"]
    view = view_of(small, ["not", "looked", "at"])
    targets = [
        replace(target, embeddings={"prompt_embeds": trigger})
        for target, trigger in zip(view.memorized, triggers, strict=True)
    ]
    assert decisions(fit(small, DefenderView(targets, GENERAL))) == decisions(located)


def test_the_edit_silences_the_picked_neurons_alone(
    small: TargetModel, located: Edit, tmp_path: Path
) -> None:
    save_edit(located, tmp_path)
    edit = load_edit(tmp_path)
    assert isinstance(edit.change, ScaleOutputs)
    assert edit.samples == ("s0", "s1", "s2")
    names = [name for name in small.cross_attention_value_layers() if not name.startswith("up")]
    assert len(names) == 3
    assert list(edit.notes["layers"]) == names
    assert set(edit.change.scales) == set(names)
    for row, note in enumerate(edit.notes["samples"].values()):
        for name, picks in zip(names, note["picks"], strict=True):
            expected = torch.ones(16)
            expected[list(picks)] = 0
            assert torch.equal(edit.change.scales[name][row], expected)
    union = fit(small, scope="global")
    assert isinstance(union.change, ScaleOutputs)
    assert union.scope == "global"
    for name, scale in union.change.scales.items():
        assert torch.equal(scale, edit.change.scales[name].prod(dim=0))
    assert 0 < sum(scale.sum() for scale in union.change.scales.values()) < 48


def corrected_differences(model: TargetModel, timestep: int = 1) -> PublishedProcedure:
    """The first timestep by default; the raw output unless that is the noise."""
    raw = model.prediction_type != "epsilon"
    return PublishedProcedure(model, seeds=3, timestep=timestep, raw=raw)


def test_the_edit_leaves_the_similarity_that_is_noted(small: TargetModel, located: Edit) -> None:
    plain, similarity = corrected_differences(small), Similarity.for_latents(16, 16, 1.0)
    for row, note in enumerate(located.notes["samples"].values()):
        unblocked = plain.difference(CAPTIONS[row])
        blocked = plain.difference(CAPTIONS[row], [list(layer) for layer in note["picks"]])
        assert note["similarity"] == pytest.approx(
            similarity(unblocked, blocked).max().item(), abs=1e-5
        )
        assert note["similarity"] <= (THRESHOLD if note["accepted"] else note["initial_similarity"])
        chosen = plain.choose(CAPTIONS[row], note["theta"], note["k"])
        assert note["initial_picks"] == tuple(tuple(dict.fromkeys(layer)) for layer in chosen)


def plain_threshold(model: TargetModel, captions: Sequence[str], timestep: int = 1) -> float:
    """Mean and standard deviation of how like its closest each of three seeds is."""
    plain = corrected_differences(model, timestep)
    similarity = Similarity.for_latents(16, 16, 1.0)
    closest = []
    for caption in captions:
        one, two, three = plain.difference(caption)
        ab, ac, bc = similarity(torch.stack([one, one, two]), torch.stack([two, three, three]))
        closest += [max(ab, ac), max(ab, bc), max(ac, bc)]
    values = torch.stack(closest)
    return (values.mean() + values.std()).item()


def test_threshold_is_of_prompts_that_are_not_memorized(small: TargetModel) -> None:
    ledger = Ledger()
    edit = fit(small, ledger=ledger, threshold=None, threshold_captions=20)
    assert edit.notes["threshold"] == pytest.approx(plain_threshold(small, GENERAL), abs=1e-5)
    assert ledger.work_of(-1) == 20 * 3


def test_the_thresholds_captions_are_drawn_by_lot(small: TargetModel) -> None:
    found = fit(small, threshold=None, threshold_captions=2).notes["threshold"]
    assert found != pytest.approx(plain_threshold(small, GENERAL[:2]), abs=1e-5)
    assert found == fit(small, threshold=None, threshold_captions=2).notes["threshold"]


def test_noise_is_scaled_as_the_scheduler_asks() -> None:
    model = prompt_bound_model(16)
    model.pipeline.scheduler = EulerDiscreteScheduler.from_config(model.pipeline.scheduler.config)
    view = view_of(model, general=GENERAL[:3])
    # Late, where the scheduler's scale is far from 1.
    found = fit(model, view, threshold=None, timestep=40).notes["threshold"]
    assert found == pytest.approx(plain_threshold(model, GENERAL[:3], timestep=40), abs=1e-5)


def test_a_prompt_exactly_at_the_threshold_is_not_memorized(small: TargetModel) -> None:
    """The threshold of two seeds of one caption is that caption's own similarity."""
    view = view_of(small, CAPTIONS[:1], general=CAPTIONS[:1] * 2)
    edit = fit(small, view, threshold=None, seeds=2)
    assert edit.notes["samples"]["s0"]["kept_seeds"] == []
    below = fit(small, view, threshold=edit.notes["threshold"] - 1e-6, seeds=2)
    assert below.notes["samples"]["s0"]["kept_seeds"] == [0, 1]


def test_not_memorized_by_the_criterion_is_an_empty_pick(small: TargetModel) -> None:
    ledger = Ledger()
    edit = fit(small, ledger=ledger, threshold=0.9999)
    assert isinstance(edit.change, ScaleOutputs)
    assert all(bool((scale == 1).all()) for scale in edit.change.scales.values())
    assert [note["memorized"] for note in edit.notes["samples"].values()] == [False] * 3
    assert ledger.work == 3 * 3


def test_notes_say_what_was_compared(small: TargetModel, located: Edit) -> None:
    corrected, compat = located, fit(small, view_of(small, CAPTIONS[:1]), mode="compat")
    raw = small.prediction_type == "v_prediction"
    assert corrected.notes["difference"] == ("raw output" if raw else "output - noise")
    assert compat.notes["difference"] == "output - noise"
    assert (corrected.notes["timestep"], compat.notes["timestep"]) == (1, 2)
    assert corrected.notes["ms_ssim"]["data_range"] == 1
    assert compat.notes["ms_ssim"]["data_range"] is None


def test_rounds() -> None:
    compat = list(schedule(5, 0.25, 1, widest=1280, compat=True))
    assert compat == [Round(5 - 0.25 * i, i) for i in range(16)]
    corrected = list(schedule(5, 0.25, 1, widest=1280, compat=False))
    assert corrected == [*compat, Round(1, 16)]
    # Compared by equality, 1 is never met in steps of 0.3: k grows up to the widest layer.
    assert len(list(schedule(5, 0.3, 1, widest=32, compat=True))) == 32
    assert list(schedule(2, 0.3, 1, widest=32, compat=False))[-1] == Round(1, 4)


def test_a_neuron_listed_twice_stays_blocked_until_both_are_gone() -> None:
    statistics = Statistics([torch.zeros(4)], [torch.ones(4)])
    activation = [torch.tensor([3.0, 0.5, 9.0, 0.1])]
    twice = statistics.picks(activation, theta=2, k=2, repeat=True)
    assert twice == ((0, 2, 2, 0),)
    assert statistics.picks(activation, theta=2, k=3, repeat=False) == ((0, 2, 1),)
    assert without_neuron(twice, 0, 2) == ((0, 2, 0),)
    assert without_neuron(twice, 0, 0) == ((2, 2, 0),)


def test_a_neuron_is_unusual_beyond_theta_on_either_side() -> None:
    statistics = Statistics([torch.full((4,), 2.0)], [torch.full((4,), 0.5)])
    activation = [torch.tensor([3.0, 3.5, 0.5, 1.0])]
    assert statistics.picks(activation, theta=2, k=0, repeat=False) == ((1, 2),)


def scripted_judge(alone: Callable[[Picks], float], drift: float, batch_size: int = 8) -> Judge:
    """A judge of invented similarities: in a shared forward they come out `drift` too high.

    The second of two seeds is 0.05 behind the first.
    """

    class Invented(Similarity):
        def each(self, reference: Tensor, others: Tensor) -> Tensor:
            return others

    def look(candidates: Sequence[Picks], seeds: Sequence[int]) -> Tensor:
        off = drift if len(candidates) > 1 else 0
        return torch.tensor(
            [[alone(picks) + off - 0.05 * seed for seed in seeds] for picks in candidates],
            dtype=torch.float64,
        )

    similarity = Invented(1.5, 11, (1.0,), 1.0)
    return Judge(look, similarity, torch.ones(2, 1), batch_size, tolerance=1e-3)


def test_near_ties_are_decided_alone() -> None:
    def similarity(picks: Picks) -> float:
        return 0.5 if 3 in picks[0] else 0.9

    picks: Picks = (tuple(range(6)),)
    # Strictly below the threshold stays unblocked; 0.4999 is, 0.5 is not.
    judge = scripted_judge(lambda p: similarity(p) - 1e-4, drift=5e-4)
    assert refine(judge, picks, threshold=0.5) == ((3,),)
    assert judge.items()["repeated"] > 0
    judge = scripted_judge(similarity, drift=-5e-4)
    assert refine(judge, picks, threshold=0.5) == picks
    rounds = [Round(2, 0), Round(1, 1)]
    judge = scripted_judge(similarity, drift=5e-4)
    selection = select(judge, rounds, lambda one: picks, threshold=0.5)
    assert (selection.rounds, selection.accepted) == (1, True)


def test_where_no_round_is_accepted_the_last_one_counts() -> None:
    rounds = [Round(2 - index, index) for index in range(3)]
    judge = scripted_judge(lambda picks: 0.9 - 0.01 * len(picks[0]), drift=0.0)
    selection = select(judge, rounds, lambda one: (tuple(range(one.k)),), threshold=0.5)
    assert (selection.round, selection.rounds, selection.accepted) == (rounds[2], 3, False)
    assert selection.picks == ((0, 1),)
    assert selection.threshold == pytest.approx(0.88)


@pytest.mark.parametrize(
    ("picks", "refined"), [(((0,), (1,)), ((0,), ())), (((0, 1), (2, 3)), ((0, 1), (3,)))]
)
def test_unblocked_from_the_last_layer_to_the_first(picks: Picks, refined: Picks) -> None:
    """One layer of two, or one neuron of four, may go, whichever is tried first."""
    fewest = sum(map(len, picks)) - 1
    judge = scripted_judge(lambda p: 0.4 if sum(map(len, p)) >= fewest else 0.9, drift=0.0)
    assert refine(judge, picks, threshold=0.5) == refined


def test_the_seed_that_was_most_similar_is_looked_at_first() -> None:
    """It alone refuses six neurons; only the first look is at both. A layer less blocks nothing."""
    judge = scripted_judge(lambda picks: 0.52, drift=0.0)
    picks: Picks = (tuple(range(6)),)
    assert judge.exactly(picks) == 0.52
    assert refine(judge, picks, threshold=0.5) == picks
    assert judge.items()["needed"] == 2 + 6


def test_looking_ahead_decides_as_looking_singly_whatever_comes_out() -> None:
    """Similarities that follow no rule, so that expectations fail at every turn."""

    def similarity(picks: Picks) -> float:
        return Seeds(0).integer(str(picks)) / 2**63

    in_vain = 0
    for count in range(1, 12):
        picks = (tuple(range(count)), (7, 7, 3), ())
        ends = set()
        for batch_size in (2, 4, 9, 64):
            judge = scripted_judge(similarity, drift=0.0, batch_size=batch_size)
            ends.add(refine(judge, picks, threshold=0.5))
            assert judge.items()["needed"] <= 2 * (2 + count + 3)
            in_vain += judge.items()["speculative"]
        assert len(ends) == 1
    assert in_vain


def test_similarity_settings_follow_the_latent() -> None:
    as_published = Similarity(1.5, 11, (0.33, 0.33, 0.33), None)
    assert Similarity.for_latents(64, 64, None) == as_published
    assert Similarity.for_latents(96, 64, None) == as_published
    for side in (8, 12, 16, 24, 32, 44, 128):
        similarity = Similarity.for_latents(side, 2 * side, 1.0)
        assert sum(similarity.betas) == pytest.approx(0.99)
        image = torch.rand(2, 4, side, 2 * side, generator=SEEDS.generator("image", side))
        torch.testing.assert_close(similarity(image, image), torch.ones(2))
        assert similarity(image, 1 - image).max() < 0.5
    with pytest.raises(DoribError, match="too small to compare"):
        Similarity.for_latents(2, 2, 1.0)


def test_only_compat_scores_depend_on_the_rest_of_the_batch() -> None:
    others = torch.rand(3, 2, 4, 16, 16, generator=SEEDS.generator("others"))
    others[2] *= 4
    reference = torch.rand(2, 4, 16, 16, generator=SEEDS.generator("reference"))
    for data_range in (1.0, None):
        similarity = Similarity.for_latents(16, 16, data_range)
        singly = [similarity(reference, other) for other in others]
        torch.testing.assert_close(similarity.each(reference, others), torch.stack(singly))
        pair = similarity(reference[:1], others[0, :1]).item()
        among = similarity(reference.repeat(2, 1, 1, 1), torch.cat([others[0], others[2]]))
        assert (among[0].item() == pytest.approx(pair, abs=1e-6)) == (data_range == 1.0)
        closest = similarity.closest(others[0].repeat_interleave(2, dim=0))
        torch.testing.assert_close(closest, torch.ones(4))


def test_the_model_is_left_as_it_was_even_after_a_failure(small: TargetModel) -> None:
    before = {name: value.clone() for name, value in small.unet.state_dict().items()}
    layers = list(small.cross_attention_value_layers().values())

    def fail(module: Any, arguments: Any, output: Any) -> None:
        raise ArithmeticError("as if out of memory")

    handle = layers[-1].register_forward_hook(fail)
    with pytest.raises(ArithmeticError):
        fit(small)
    handle.remove()
    fit(small)
    assert not any(layer._forward_hooks for layer in layers)
    after = small.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_bad_settings_are_one_clear_line(small: TargetModel) -> None:
    ledger = Ledger()
    with pytest.raises(DoribError, match="set timestep to that or less"):
        fit(small, ledger=ledger, timestep=51)
    with pytest.raises(DoribError, match="at least 2 general captions, the suite has 1"):
        fit(small, view_of(small, general=GENERAL[:1]), ledger)
    assert ledger.work == 0
