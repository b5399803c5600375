"""Steered cross-attention, against a transcription with a plain softmax in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import DefenderView, DoribError, Ledger, Seeds, TargetModel
from dorib.host.registry import Registry, discover
from dorib.target.model import DiffusersModel
from dorib_attention import AttentionParams
from dorib_attention.mitigation import Attention
from fixtures.mitigating import CAPTIONS, SEEDS, fitted, sampled

ITEMS = 3
Change = Callable[[Tensor, int], Tensor]
"""From an item's logits `[heads, queries, keys]` and its prompt's length to others."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


@dataclass
class Seen:
    """What one cross-attention layer was given and gave."""

    layer: Any
    queries: Tensor
    keys: Tensor
    output: Tensor

    def logits(self) -> Tensor:
        """`[items, heads, queries, keys]`."""
        query, key = (
            to(inputs).double().unflatten(-1, (self.layer.heads, -1)).transpose(1, 2)
            for to, inputs in ((self.layer.to_q, self.queries), (self.layer.to_k, self.keys))
        )
        return query @ key.transpose(2, 3) / query.shape[-1] ** 0.5

    def wanted(self, logits: Tensor) -> Tensor:
        """The output for other logits."""
        value = self.layer.to_v(self.keys).double()
        value = value.unflatten(-1, (self.layer.heads, -1)).transpose(1, 2)
        attended = (logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        output: Tensor = self.layer.to_out[0](attended.float())
        return output


@contextmanager
def watched(model: DiffusersModel) -> Iterator[dict[str, Seen]]:
    seen: dict[str, Seen] = {}
    handles = []
    for name, layer in model.unet.named_modules():
        if name.endswith("attn2"):

            def look(layer: Any, given: Any, named: Any, output: Tensor, name: str = name) -> None:
                seen[name] = Seen(layer, given[0], named["encoder_hidden_states"], output)

            handles.append(layer.register_forward_hook(look, with_kwargs=True))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def first_step(model: DiffusersModel) -> dict[str, Seen]:
    """Both halves of guidance, of three prompts of different lengths."""
    with watched(model) as seen:
        model.sample_latents(
            model.encode_prompt(CAPTIONS[:ITEMS]),
            [SEEDS.generator(item) for item in range(ITEMS)],
            torch.arange(ITEMS),
            steps=1,
            lengths=model.tokenize(CAPTIONS[:ITEMS]).lengths,
        )
    return seen


def agree(model: DiffusersModel, seen: dict[str, Seen], change: Change, where: str) -> None:
    lengths = model.tokenize(CAPTIONS[:ITEMS]).lengths.tolist()
    assert len(set(lengths)) > 1
    concerned = 0
    with torch.no_grad():
        for name, one in seen.items():
            logits = one.logits()
            wanted = logits.clone()
            if name.startswith(tuple(where.split())):
                for item in range(ITEMS):
                    wanted[ITEMS + item] = change(logits[ITEMS + item], lengths[item])
                concerned += int(not torch.allclose(one.wanted(wanted), one.wanted(logits)))
            assert torch.allclose(one.output, one.wanted(wanted), atol=1e-5), name
    assert concerned > 0


@pytest.mark.parametrize("form", ["additive", "multiplicative"])
def test_the_begin_token_and_padding(
    either_model: DiffusersModel, registry: Registry, form: str
) -> None:
    def ren(logits: Tensor, length: int) -> Tensor:
        changed = logits.clone()
        begin = logits[..., 0]
        scaled = begin * 1.25 if form == "multiplicative" else begin + torch.tensor(1.25).log()
        changed[..., 0] = scaled
        changed[..., length:] = -torch.inf
        return changed

    with either_model.edited(fitted(either_model, registry, f"attention:form={form}")):
        seen = first_step(either_model)
    agree(either_model, seen, ren, "down_blocks mid_block up_blocks")


@pytest.mark.parametrize("form", ["additive", "multiplicative"])
@pytest.mark.parametrize(
    ("blocks", "where"), [("down-mid", "down_blocks mid_block"), ("all", "down mid up")]
)
def test_keys_that_stand_out(
    either_model: DiffusersModel, registry: Registry, form: str, blocks: str, where: str
) -> None:
    def guard(logits: Tensor, length: int) -> Tensor:
        changed = logits.clone()
        for head in range(len(logits)):
            largest = logits[head].max(dim=0).values
            mean, deviation = largest[1:].mean(), largest[1:].std()
            for key in range(1, len(largest)):
                if (largest[key] - mean) / deviation > 0.1:
                    old = logits[head, :, key]
                    new = old * 0.3 if form == "multiplicative" else old + torch.tensor(0.3).log()
                    changed[head, :, key] = new
        return changed

    spec = f"attention:begin_scale=1,mask_padding=false,spike_scale=0.3,form={form}"
    with either_model.edited(fitted(either_model, registry, f"{spec},spike_blocks={blocks}")):
        seen = first_step(either_model)
    agree(either_model, seen, guard, where)


def test_processors_are_put_back(tiny_model: DiffusersModel, registry: Registry) -> None:
    def processors() -> list[object]:
        return [getattr(layer, "processor", None) for layer in tiny_model.unet.modules()]

    before = processors()
    outer, inner = fitted(tiny_model, registry, "attention"), "attention:begin_scale=2"
    with tiny_model.edited(outer):
        once = sampled(tiny_model, [0, 1])
        with tiny_model.edited(fitted(tiny_model, registry, inner)):
            assert not torch.allclose(sampled(tiny_model, [0, 1]), once, atol=1e-4)
        assert torch.equal(sampled(tiny_model, [0, 1]), once)
        assert processors() != before
    assert all(one is two for one, two in zip(processors(), before, strict=True))


def test_two_scales_one_after_the_other_are_their_product(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    def scaled(by: float) -> str:
        return f"attention:begin_scale={by},mask_padding=false"

    with (
        tiny_model.edited(fitted(tiny_model, registry, scaled(2))),
        tiny_model.edited(fitted(tiny_model, registry, scaled(4))),
    ):
        both = sampled(tiny_model, [0, 1])
    with tiny_model.edited(fitted(tiny_model, registry, scaled(8))):
        assert torch.allclose(sampled(tiny_model, [0, 1]), both, atol=1e-4)


def test_nothing_is_masked_where_no_length_is_known(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    def plain() -> Tensor:
        embeddings = tiny_model.encode_prompt(CAPTIONS[:1])
        return tiny_model.sample_latents(embeddings, [SEEDS.generator(0)], torch.tensor([0]))

    before = plain()
    with tiny_model.edited(fitted(tiny_model, registry, "attention:begin_scale=1")):
        assert torch.allclose(plain(), before, atol=1e-5)
        assert not torch.allclose(sampled(tiny_model, [0]), before, atol=1e-3)


def test_repulsion_is_from_the_prompt_with_plain_attention(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    spec = "attention:begin_scale=4,mask_padding=false"
    noise = torch.randn((1, *tiny_model.latent_shape), generator=SEEDS.generator("noise"))
    timesteps = tiny_model.sampling_timesteps()[:1]
    embeddings, samples = tiny_model.encode_prompt(CAPTIONS[:1]), torch.tensor([0])
    scheduler = tiny_model.pipeline.scheduler
    with torch.no_grad():
        at = tiny_model.sampling_input(noise, timesteps[0])
        u, plain = tiny_model.predict_both(at, timesteps, embeddings, samples)
        with tiny_model.edited(fitted(tiny_model, registry, spec)):
            _, steered = tiny_model.predict_both(at, timesteps, embeddings, samples)
        scheduler.set_timesteps(tiny_model.sampling.steps)
        wanted = u + 3 * (steered - u) - 2 * (plain - u)
        wanted = scheduler.step(wanted, timesteps[0], noise, return_dict=False)[0]

    generator = SEEDS.generator("noise")
    with tiny_model.edited(fitted(tiny_model, registry, f"{spec},repulsion=2")):
        found = tiny_model.sample_latents(embeddings, [generator], samples, steps=1)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_model_without_cross_attention_there_is_refused(tiny_model: TargetModel) -> None:
    class UpOnly:
        def cross_attention_value_layers(self) -> dict[str, object]:
            layers = tiny_model.cross_attention_value_layers()
            return {name: layer for name, layer in layers.items() if name.startswith("up_")}

    mitigation = Attention(AttentionParams(spike_scale=0.3))
    model: Any = UpOnly()
    with pytest.raises(DoribError, match="set spike_blocks=all"):
        mitigation.fit(model, DefenderView([], []), Seeds(), Ledger())
