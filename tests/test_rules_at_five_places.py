"""Rules that act on embeddings, noise, attention and guidance: where, on what, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dorib import (
    DoribError,
    Edit,
    Embeddings,
    InFlight,
    Ledger,
    Params,
    Register,
    Rule,
    SamplingRule,
    Seeds,
    Step,
    TargetModel,
    hookimpl,
)
from dorib.host.registry import Registry, discover
from dorib.target.model import DiffusersModel

CAPTIONS = ["a red star", "small blue ring on a white ground", "a tree"]
SEEDS = Seeds(7)
dorib_contract = 2


class Shift(Params):
    by: float = 0.0


class ShiftEmbeddings(Rule[Shift]):
    acts_on = frozenset({"embeddings"})

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        # One pass of the U-Net, as a rule that looks at what is asked for would take.
        model.predict(noise, torch.full((len(noise),), 900), embeddings, samples)
        return {name: value + self.params.by for name, value in embeddings.items()}


class ShiftNoise(Rule[Shift]):
    acts_on = frozenset({"noise"})

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        return noise + self.params.by


class ShiftGuidance(Rule[Shift]):
    """The suite's guidance while an item's state says that it is its first step, else more."""

    acts_on = frozenset({"guidance"})

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        assert len(step.states) == len(step.samples) == len(step.latents)
        for state in step.states:
            assert state.setdefault("seen", step.index) == 0
        scale += self.params.by if step.index else 0
        return unconditional + scale * (conditional - unconditional)


class ScaleAttention(Rule[Shift]):
    """Adds to what cross-attention gives for the conditional items, by the length of the prompt."""

    acts_on = frozenset({"attention"})

    @contextmanager
    def attending(self, unet: nn.Module, in_flight: Callable[[], InFlight]) -> Iterator[None]:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            items = in_flight()
            assert len(items.conditional) == len(items.samples) == len(output)
            lengths = torch.ones(len(output)) if items.lengths is None else items.lengths
            more = self.params.by * lengths * items.conditional
            return output + more[:, None, None]

        layers = [m for name, m in unet.named_modules() if name.endswith("attn2")]
        handles = [layer.register_forward_hook(hook) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


RULES: dict[str, type[Rule[Any]]] = {
    "shift-embeddings": ShiftEmbeddings,
    "shift-noise": ShiftNoise,
    "shift-guidance": ShiftGuidance,
    "scale-attention": ScaleAttention,
}


@hookimpl
def register_rules(register: Register) -> None:
    for name, rule in RULES.items():
        register(name, f"{__name__}:{rule.__name__}", params=Shift)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib"), EntryPoint("five", __name__, "dorib")])


@pytest.fixture
def model(either_model: DiffusersModel, registry: Registry) -> DiffusersModel:
    return DiffusersModel(either_model.pipeline, either_model.sampling, registry)


def under(rule: str, by: float) -> Edit:
    return Edit(SamplingRule(rule, {"by": by}))


def images(model: TargetModel, places: Sequence[int] = (0, 1, 2)) -> Tensor:
    captions = [CAPTIONS[place] for place in places]
    generators = [SEEDS.generator(place) for place in places]
    lengths = model.tokenize(captions).lengths
    embeddings = model.encode_prompt(captions)
    return model.sample(embeddings, generators, torch.tensor(places), lengths)


def losses(model: TargetModel) -> tuple[Tensor, Tensor]:
    """Each item's denoising loss, and its gradient in the embeddings."""
    prompt = model.encode_prompt(CAPTIONS)["prompt_embeds"].clone().requires_grad_()
    shape = (len(CAPTIONS), *model.latent_shape)
    latents = torch.randn(shape, generator=SEEDS.generator("latents"))
    noise = torch.randn(shape, generator=SEEDS.generator("noise"))
    timesteps = torch.tensor([100, 500, 900])
    loss = model.denoising_loss(
        latents, noise, timesteps, {"prompt_embeds": prompt}, torch.arange(len(CAPTIONS))
    )
    (gradient,) = torch.autograd.grad(loss.sum(), prompt)
    return loss.detach(), gradient


@pytest.mark.parametrize("rule", RULES)
def test_the_identity_is_no_rule_to_the_byte(model: DiffusersModel, rule: str) -> None:
    plain, felt = images(model), losses(model)
    with model.edited(under(rule, 0.0)):
        assert torch.equal(images(model), plain)
        assert all(torch.equal(a, b) for a, b in zip(losses(model), felt, strict=True))
    with model.edited(under(rule, 0.5)):
        assert not torch.allclose(images(model), plain, atol=1e-3)
    assert torch.equal(images(model), plain)


@pytest.mark.parametrize("rule", RULES)
def test_an_item_does_not_depend_on_its_batch(model: DiffusersModel, rule: str) -> None:
    with model.edited(under(rule, 0.5)):
        together = images(model)
        alone = torch.cat([images(model, [place]) for place in range(len(CAPTIONS))])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "felt"),
    [
        ("shift-embeddings", True),
        ("scale-attention", True),
        ("shift-noise", False),
        ("shift-guidance", False),
    ],
)
def test_a_loss_feels_embeddings_and_attention(
    model: DiffusersModel, rule: str, felt: bool
) -> None:
    plain = losses(model)
    with model.edited(under(rule, 0.5)):
        under_rule = losses(model)
    for before, after in zip(plain, under_rule, strict=True):
        assert torch.equal(before, after) is not felt
    assert under_rule[1].abs().max() > 0


@pytest.mark.parametrize("rule", RULES)
def test_under_gradient_checkpointing_losses_are_the_same(model: DiffusersModel, rule: str) -> None:
    with model.edited(under(rule, 0.5)):
        plain = losses(model)
        model.enable_gradient_checkpointing()
        model.unet.train()
        try:
            checkpointed = losses(model)
        finally:
            model.unet.eval()
            model.pipeline.unet.disable_gradient_checkpointing()
    for a, b in zip(plain, checkpointed, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_rules_own_work_is_counted_apart(model: DiffusersModel) -> None:
    counted = {}
    for rule in RULES:
        ledger = Ledger()
        with model.edited(under(rule, 0.5)), model.counting(ledger):
            images(model)
        # Four steps with guidance: two items each.
        assert [ledger.work_of(index) for index in range(3)] == [8, 8, 8]
        counted[rule] = [ledger.rule_work_of(index) for index in range(3)]
    none = [0, 0, 0]
    assert counted == dict.fromkeys(RULES, none) | {"shift-embeddings": [1, 1, 1]}


def test_two_rules_at_different_places_act_together(model: DiffusersModel) -> None:
    noise, guidance = under("shift-noise", 0.5), under("shift-guidance", 0.5)
    with model.edited(noise):
        alone = images(model)
    with model.edited(noise), model.edited(guidance):
        assert not torch.allclose(images(model), alone, atol=1e-3)
    with model.edited(noise), model.edited(under("shift-guidance", 0)):
        assert torch.equal(images(model), alone)


def test_two_rules_that_guide_are_refused(model: DiffusersModel) -> None:
    with (
        model.edited(under("shift-guidance", 0.5)),
        pytest.raises(DoribError, match="two rules act on guidance"),
        model.edited(under("shift-guidance", 0.5)),
    ):
        pytest.fail("were both installed")


@pytest.mark.parametrize("scale", [0.0, 1.0, -2.0])
def test_a_rule_may_guide_by_any_number(make_model: Any, registry: Registry, scale: float) -> None:
    plain = make_model(guidance_scale=1.0)
    model = DiffusersModel(plain.pipeline, plain.sampling, registry)
    unguided = images(model)
    # At the first step the scale is the suite's, 1, which is the prompt alone.
    with model.edited(under("shift-guidance", scale - 1)):
        guided = images(model)
    assert torch.allclose(guided, unguided, atol=1e-4) is (scale == 1)
