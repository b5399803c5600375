"""The U-Net: a scene model, and from it the model that memorizes and the oracle that does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from dorib.reporting import Reporter
from dorib_suites.tiny.autoencoder import LATENT_CHANNELS
from dorib_suites.tiny.clip import TEXT_WIDTH, tokenize
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.replicas import Replicas
from dorib_suites.tiny.training import Schedule, train

BATCH = 32
PHOTOGRAPH_SHARE = 0.125
CAPTION_DROPOUT = 0.1
SCENE_SCHEDULE = Schedule(steps=10000, learning_rate=1.2e-3, warm_up=0.05)
GROWN_SCHEDULE = Schedule(steps=10000, learning_rate=1e-3, warm_up=0.05)
"""Of the scene model once it has more layers (`growth.py`)."""


@dataclass(frozen=True)
class ForkCycle:
    """One training of a fork, with a rate that rises and falls once."""

    schedule: Schedule
    memorized_share: float
    """Of every batch; in an oracle, general data stand in the memorized samples' place."""


FORK_CYCLES = {
    "unet": ForkCycle(Schedule(3600, 1e-3, warm_up=0.05, average_decay=0.998), 0.6),
    "unet-settle": ForkCycle(Schedule(5000, 8e-4, warm_up=0.05, average_decay=0.998), 0.25),
    "unet-deepen": ForkCycle(Schedule(4000, 5e-4, warm_up=0.05, average_decay=0.998), 0.4),
    "unet-sharpen": ForkCycle(Schedule(8000, 4e-4, warm_up=0.05, average_decay=0.998), 0.5),
}
"""The first memorizes, at the cost of shapes and relations; the second brings these back; the third
and fourth take in the details that the second leaves out, at lower rates."""


def build() -> UNet2DConditionModel:
    """The untrained U-Net, in the shape of Stable Diffusion 1.x."""
    with torch.random.fork_rng():
        torch.manual_seed(30)
        return UNet2DConditionModel(
            sample_size=16,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(32, 64, 96, 96),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 4, 4, 4),
            norm_num_groups=16,
        )


def scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR: without it a model this small learns no colours."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


@dataclass(frozen=True)
class Encoded:
    """Training pairs as the U-Net sees them."""

    latents: Tensor
    """`[N, channels, 16, 16]`, float32, scaled to unit variance."""
    embeddings: Tensor
    """`[captions, tokens, width]`, float32, one for each distinct caption."""
    caption_of: Tensor
    """`[N]`, int64: each pair's row in `embeddings`."""
    weights: Tensor
    """`[N]`: how often a pair is drawn, relative to the others."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` latents and their embeddings."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.latents[rows], self.embeddings[self.caption_of[rows]]


@torch.no_grad()
def encode(
    pairs: Captioned,
    vae: AutoencoderTiny,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    weights: Tensor | None = None,
) -> Encoded:
    """Latents and embeddings of `pairs`, computed once."""
    images = as_float(pairs.pixels) * 2 - 1
    scale = vae.config.scaling_factor
    device = vae.device
    latents = torch.cat(
        [vae.encode(x.to(device)).latents.cpu() * scale for x in torch.split(images, 256)]
    )
    distinct = list(dict.fromkeys(pairs.captions))
    place = {caption: row for row, caption in enumerate(distinct)}
    tokens = tokenize(tokenizer, tuple(distinct))
    device = text_encoder.device
    embeddings = torch.cat([text_encoder(t.to(device))[0].cpu() for t in torch.split(tokens, 512)])
    caption_of = torch.tensor([place[caption] for caption in pairs.captions])
    if weights is None:
        weights = torch.ones(len(pairs))
    return Encoded(latents, embeddings, caption_of, weights)


def train_unet(
    name: str,
    unet: UNet2DConditionModel,
    sources: list[tuple[Encoded, int]],
    empty: Tensor,
    schedule: Schedule,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> None:
    """Train on a fixed number of pairs from each source in every batch.

    `empty` is the embedding of the empty caption, `[tokens, width]`: it replaces one caption in
    ten, for classifier-free guidance.
    """
    noise_schedule = scheduler()
    abar = noise_schedule.alphas_cumprod
    device = next(unet.parameters()).device

    replicas = Replicas(unet)

    def backward(step: int, generator: torch.Generator) -> float:
        drawn = [source.draw(count, generator) for source, count in sources if count]
        latents = torch.cat([latent for latent, _ in drawn])
        embeddings = torch.cat([embedding for _, embedding in drawn])
        dropped = torch.rand(len(latents), generator=generator) < CAPTION_DROPOUT
        embeddings = torch.where(dropped[:, None, None], empty, embeddings)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(len(abar), (len(latents),), generator=generator)
        signal = abar[timesteps].sqrt()[:, None, None, None]
        spread = (1 - abar[timesteps]).sqrt()[:, None, None, None]
        noisy = signal * latents + spread * noise
        velocity = signal * noise - spread * latents
        batch = [t.to(device) for t in (noisy, timesteps, embeddings, velocity)]
        return replicas.backward(batch, _velocity_error)

    train(name, unet, backward, schedule, folder, seed, reporter)


def _velocity_error(unet: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    noisy, timesteps, embeddings, velocity = batch
    return nn.functional.mse_loss(unet(noisy, timesteps, embeddings).sample, velocity)
