"""The search for a word's vector."""

from __future__ import annotations

import pytest
import torch

from dorib import TargetModel
from dorib.kit.open_words import plain_tokens
from dorib.target.model import DiffusersModel
from dorib_inversion import InversionParams
from dorib_inversion.attack import Inversion
from fixtures.searches import SEEDS, held_out_loss, search, targets_of


def test_three_steps_are_adamw_on_one_vector(either_model: DiffusersModel) -> None:
    model, target = either_model, targets_of(either_model)[1]
    params = InversionParams(pairs=2, learning_rate=0.05, weight_decay=0.1)
    [trigger] = search(Inversion(params), model, [target], [18])

    generator = SEEDS.generator("s1", 0)
    plain, [table] = plain_tokens(model), model.token_embeddings().values()
    drawn = plain[torch.randint(len(plain), (1,), generator=generator)]
    word = table[drawn].clone().requires_grad_()
    read = model.tokenize([target.caption])
    words = read.ids[0, 1 : int(read.lengths[0]) - 1].tolist()
    tokens = model.tokens_of([[int(drawn), *words][:14]])
    latents = model.encode_image(target.original[None])
    adamw, trace = torch.optim.AdamW([word], lr=0.05, weight_decay=0.1), []

    def encoded() -> dict[str, torch.Tensor]:
        vectors = table[tokens.ids].clone()
        vectors[:, 1] = word
        return dict(model.encode_tokens(tokens, {"text_encoder": vectors}))

    for _ in range(3):
        losses = []
        for _ in range(2):
            timestep = torch.randint(model.timesteps, (), generator=generator)
            noise = torch.randn(model.latent_shape, generator=generator)
            index = torch.tensor([target.index])
            losses.append(
                model.denoising_loss(latents, noise[None], timestep[None], encoded(), index)
            )
        loss = torch.stack(losses).mean()
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        trace.append(loss.item())
    assert trigger.trace == pytest.approx(trace, abs=1e-5)
    wanted = encoded()["prompt_embeds"][0].detach()
    assert ((trigger.embeddings["prompt_embeds"] - wanted).abs() > 1e-4).float().mean() < 0.01


def test_the_search_lowers_the_loss_on_noise_it_has_not_seen(tiny_model: TargetModel) -> None:
    params = InversionParams(pairs=8, beside="nothing", learning_rate=0.01)
    targets = targets_of(tiny_model)[:2]
    found = search(Inversion(params), tiny_model, targets, [24, 24 * 40])
    for target in targets:
        early, late = (
            held_out_loss(tiny_model, target, trigger.embeddings)
            for trigger in found
            if trigger.sample == target.sample
        )
        assert late < early
