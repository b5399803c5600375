"""The target model against plain references and against diffusers' own pipeline."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib.contracts.ledger import Ledger
from dorib.errors import DoribError
from dorib.target.model import DiffusersModel
from dorib.target.sampling import initial_noise

MakeModel = Callable[..., DiffusersModel]
CAPTIONS = ("a red star", "small blue ring")


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + number) for number in range(count)]


def noise(model: DiffusersModel, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *model.latent_shape), generator=generator)


def diffusers_images(model: DiffusersModel, guidance_scale: float) -> Tensor:
    """The pipeline's own call, from the same embeddings and starting latents as `images`."""
    prompts = model.encode_prompt(CAPTIONS)["prompt_embeds"]
    output = model.pipeline(
        prompt_embeds=prompts,
        latents=torch.cat([initial_noise(model, g) for g in generators(len(CAPTIONS))]),
        height=model.sampling.height,
        width=model.sampling.width,
        num_inference_steps=model.sampling.steps,
        guidance_scale=guidance_scale,
        output_type="pt",
    )
    images: Tensor = output.images
    return images


def images(model: DiffusersModel) -> Tensor:
    count = len(CAPTIONS)
    return model.sample(model.encode_prompt(CAPTIONS), generators(count), torch.arange(count))


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_images_are_those_of_the_pipeline(
    make_model: MakeModel, prediction: str, guidance_scale: float
) -> None:
    model = make_model(prediction, guidance_scale=guidance_scale)
    ours = images(model)
    assert ours.shape == (2, 3, 32, 32)
    assert (ours - diffusers_images(model, guidance_scale)).abs().max() <= 1e-4


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "scheduler", [DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler]
)
def test_images_are_those_of_the_pipeline_under_other_schedulers(
    make_model: MakeModel, scheduler: type, prediction: str
) -> None:
    model = make_model(prediction)
    config = {**model.pipeline.scheduler.config, "rescale_betas_zero_snr": False}
    model.pipeline.scheduler = scheduler.from_config(config)
    assert (images(model) - diffusers_images(model, 3.0)).abs().max() <= 1e-4


def test_sampling_leaves_the_pipelines_scheduler_alone(make_model: MakeModel) -> None:
    model = make_model()
    before = model.pipeline.scheduler.timesteps.clone()
    first, second = images(model), images(model)
    assert torch.equal(first, second)
    assert torch.equal(model.pipeline.scheduler.timesteps, before)


def test_guidance_goes_from_the_empty_prompt_to_the_prompt(either_model: DiffusersModel) -> None:
    latents, timesteps = noise(either_model, 2), torch.tensor([999, 400])
    samples = torch.arange(2)

    def predict(prompts: Sequence[str], guidance_scale: float) -> Tensor:
        with torch.no_grad():
            return either_model.predict(
                latents, timesteps, either_model.encode_prompt(prompts), samples, guidance_scale
            )

    conditional, unconditional = predict(CAPTIONS, 1.0), predict(["", ""], 1.0)
    expected = unconditional + 2.5 * (conditional - unconditional)
    assert (predict(CAPTIONS, 2.5) - expected).abs().max() <= 1e-5


@given(seed=st.integers(0, 1000), timesteps=st.tuples(st.integers(0, 999), st.integers(0, 999)))
@settings(max_examples=5)
def test_denoising_loss_is_the_plain_one(
    either_model: DiffusersModel, seed: int, timesteps: tuple[int, int]
) -> None:
    clean, added = noise(either_model, 2, seed), noise(either_model, 2, seed + 1)
    embeddings = either_model.encode_prompt(CAPTIONS)
    with torch.no_grad():
        losses = either_model.denoising_loss(
            clean, added, torch.tensor(timesteps), embeddings, torch.arange(2)
        )
    expected = [
        plain_loss(either_model, clean[row], added[row], timesteps[row], CAPTIONS[row])
        for row in range(2)
    ]
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def plain_loss(model: DiffusersModel, clean: Tensor, added: Tensor, t: int, prompt: str) -> float:
    """One item, by the diffusers scheduler's own noising and the textbook targets."""
    pipeline = model.pipeline
    timestep = torch.tensor([t])
    noisy = pipeline.scheduler.add_noise(clean[None], added[None], timestep)
    tokens = pipeline.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    states = pipeline.text_encoder(tokens).last_hidden_state
    output = pipeline.unet(noisy, timestep, states).sample
    if pipeline.scheduler.config.prediction_type == "epsilon":
        target = added
    else:
        target = pipeline.scheduler.get_velocity(clean[None], added[None], timestep)[0]
    return float(((output[0] - target).double() ** 2).mean())


def test_latents_are_in_the_pipelines_own_scale(either_model: DiffusersModel) -> None:
    picture = torch.rand(
        (1, 3, either_model.sampling.height, either_model.sampling.width),
        generator=torch.Generator().manual_seed(5),
    )
    latents = either_model.encode_image(picture)
    vae = either_model.pipeline.vae
    with torch.no_grad():
        encoded = vae.encode(picture * 2 - 1)
        raw = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
        decoded = vae.decode(raw).sample
    assert latents.shape[1:] == either_model.latent_shape
    assert (latents - raw * vae.config.scaling_factor).abs().max() <= 1e-6
    expected = (decoded / 2 + 0.5).clamp(0, 1)
    assert (either_model.decode(latents) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_shifted_autoencoder_is_shifted_back(make_model: MakeModel, prediction: str) -> None:
    model = make_model(prediction)
    vae = model.pipeline.vae
    picture = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(5))
    unshifted = model.encode_image(picture) / vae.config.scaling_factor
    decoded = model.decode(model.encode_image(picture))
    vae.register_to_config(shift_factor=0.25)
    latents = model.encode_image(picture)
    # As in diffusers: latents = (encoded - shift_factor) * scaling_factor, and back.
    expected = (unshifted - 0.25) * vae.config.scaling_factor
    assert (latents - expected).abs().max() <= 1e-6
    assert (model.decode(latents) - decoded).abs().max() <= 1e-4


# The last two draw noise at each step: from each item's own generator.
@pytest.mark.parametrize(
    "scheduler",
    [None, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DDPMScheduler],
)
def test_an_item_starts_from_the_same_noise_in_any_batch(
    make_model: MakeModel, scheduler: type | None
) -> None:
    model = make_model()
    if scheduler is not None:
        model.pipeline.scheduler = scheduler.from_config(model.pipeline.scheduler.config)
    prompts = model.encode_prompt([CAPTIONS[0]] * 3)["prompt_embeds"]

    def run(rows: Sequence[int], steps: int | None) -> Tensor:
        own = [torch.Generator().manual_seed(row) for row in rows]
        embeddings = {"prompt_embeds": prompts[list(rows)]}
        return model.sample_latents(embeddings, own, torch.tensor(rows), steps=steps)

    # Euler's latents begin at the scale of its first sigma, and so does what is rounded off them.
    scale = float(model.pipeline.scheduler.init_noise_sigma)
    rounded = max(1e-4, torch.finfo(torch.float32).eps * scale)
    for steps, tolerance in ((0, 0.0), (None, rounded)):
        together = run([0, 1, 2], steps)
        for rows in ([0], [1], [2], [2, 0]):
            assert (run(rows, steps) - together[rows]).abs().max() <= tolerance


def test_the_global_generator_is_neither_read_nor_moved(tiny_model: DiffusersModel) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = images(tiny_model)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(images(tiny_model), first)


@given(samples=st.lists(st.integers(0, 3), min_size=1, max_size=5), guided=st.booleans())
@settings(max_examples=6)
def test_work_is_counted_by_item(
    tiny_model: DiffusersModel, samples: list[int], guided: bool
) -> None:
    count, factor = len(samples), 2 if guided else 1
    prompts = tiny_model.encode_prompt([CAPTIONS[0]] * count)["prompt_embeds"].requires_grad_()
    heard: list[int] = []
    outer, inner, outside = Ledger(), Ledger(on_work=heard.append), Ledger()
    arguments = (noise(tiny_model, count), torch.zeros(count, dtype=torch.int64))
    embeddings, indices = {"prompt_embeds": prompts}, torch.tensor(samples)
    scale = 3.0 if guided else 1.0
    with tiny_model.counting(outer):
        with tiny_model.counting(inner):
            output = tiny_model.predict(*arguments, embeddings, indices, scale)
        with tiny_model.counting(outside), torch.no_grad():
            tiny_model.predict(*arguments, embeddings, indices, scale)
    # A backward pass belongs to whoever was counting when its forward pass ran.
    output.sum().backward()
    assert inner.work == 3 * factor * count == sum(heard)
    assert outside.work == factor * count
    assert outer.work == 4 * factor * count
    for index in range(4):
        assert inner.work_of(index) == 3 * factor * samples.count(index)


def test_what_was_counted_is_not_kept_in_memory(tiny_model: DiffusersModel) -> None:
    prompts = tiny_model.encode_prompt([CAPTIONS[0]])["prompt_embeds"].requires_grad_()
    arguments = (noise(tiny_model, 1), torch.zeros(1, dtype=torch.int64))
    with tiny_model.counting(Ledger()):
        output = tiny_model.predict(*arguments, {"prompt_embeds": prompts}, torch.tensor([0]))
    kept = weakref.ref(output)
    output.sum().backward()
    gc.disable()
    try:
        del output
        assert kept() is None
    finally:
        gc.enable()


def test_of_two_ledgers_with_the_same_work_the_inner_one_is_closed(
    tiny_model: DiffusersModel,
) -> None:
    outer, inner = Ledger(), Ledger()
    prompts = tiny_model.encode_prompt(CAPTIONS[:1])
    with tiny_model.counting(outer):
        with tiny_model.counting(inner):
            assert outer == inner
        with torch.no_grad():
            tiny_model.predict(noise(tiny_model, 1), torch.tensor([3]), prompts, torch.tensor([0]))
    assert (outer.work, inner.work) == (1, 0)


def test_sampling_costs_two_items_a_step_with_guidance(make_model: MakeModel) -> None:
    for guidance_scale, factor in ((1.0, 1), (3.0, 2)):
        model, ledger = make_model(guidance_scale=guidance_scale), Ledger()
        with model.counting(ledger):
            images(model)
            assert ledger.work == factor * 2 * model.sampling.steps
            model.encode_prompt(CAPTIONS)
            model.encode_image(torch.zeros(1, 3, 32, 32))
        assert ledger.work == factor * 2 * model.sampling.steps


def test_recomputation_of_checkpoints_is_not_counted_as_work(make_model: MakeModel) -> None:
    model, ledger = make_model(), Ledger()
    model.enable_gradient_checkpointing()
    prompts = model.encode_prompt(CAPTIONS)["prompt_embeds"].requires_grad_()
    with model.counting(ledger):
        losses = model.denoising_loss(
            noise(model, 2),
            noise(model, 2, seed=1),
            torch.tensor([5, 600]),
            {"prompt_embeds": prompts},
            torch.tensor([0, 7]),
        )
        losses.sum().backward()
    assert (ledger.work_of(0), ledger.work_of(7), ledger.work) == (3, 3, 6)


def test_batches_of_unequal_length_are_refused(tiny_model: DiffusersModel) -> None:
    embeddings = tiny_model.encode_prompt(CAPTIONS)
    with pytest.raises(ValueError, match="differ in length"):
        tiny_model.predict(noise(tiny_model, 2), torch.tensor([1, 2]), embeddings, torch.arange(3))


def test_a_size_that_the_autoencoder_cannot_make_is_refused(tiny_model: DiffusersModel) -> None:
    sampling = tiny_model.sampling.model_copy(update={"height": 30})
    with pytest.raises(DoribError, match=r"30 x 32 pixels.*multiples of 4; change"):
        DiffusersModel(tiny_model.pipeline, sampling)
