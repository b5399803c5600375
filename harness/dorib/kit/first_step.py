"""What a model does to pure noise at the first sampling step: signs of memorization."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.target_model import TargetModel
from dorib.errors import DoribError


@dataclass(frozen=True)
class FirstStep:
    """The raw outputs for noise at the noisiest sampling timestep."""

    model: TargetModel
    noise: Tensor
    """`[B, *latent_shape]`, unit variance."""
    shown: Tensor
    """What the U-Net was shown of it."""
    timestep: Tensor
    unconditional: Tensor
    conditional: Tensor

    def magnitudes(self) -> Tensor:
        """`||conditional - unconditional||_2` over all entries of a latent, float32 `[B]`.

        In the model's own parametrisation: at zero terminal SNR the noise predictions do not
        differ at all. Source: Wen et al., ICLR 2024, arXiv 2407.21720.
        """
        difference = self.conditional.float() - self.unconditional.float()
        lengths: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
        return lengths

    def one_step_errors(self) -> Tensor:
        """Mean squared difference between the noise and the image made of it in one step, `[B]`.

        Guidance is that of the model's sampling settings. Source: Webster, arXiv 2305.08694.

        Raises:
            DoribError: the model predicts noise, and this timestep holds nothing else.
        """
        scale = self.model.sampling.guidance_scale
        output, shown = self.conditional.float(), self.shown.float()
        if scale > 1:
            unconditional = self.unconditional.float()
            output = unconditional + scale * (output - unconditional)
        signal, spread = self._levels()
        match self.model.prediction_type:
            case "epsilon":
                if signal == 0:
                    raise DoribError(
                        "the one-step error: this model predicts noise, and its first step shows "
                        "nothing but noise, of which no image follows; use the magnitude"
                    )
                clean = (shown - spread * output) / signal
            case "v_prediction":
                clean = signal * shown - spread * output
            case _:
                clean = output
        return (clean - self.noise.float()).square().flatten(1).mean(dim=1)

    def _levels(self) -> tuple[float, float]:
        """`sqrt(abar_t)` and `sqrt(1 - abar_t)`."""
        one = torch.ones(1, 1, 1, 1, device=self.model.device)
        # Some samplers' timesteps lie between those of the training.
        at = self.timestep.round().long().view(1)
        levels = (one, torch.zeros_like(one)), (torch.zeros_like(one), one)
        signal, spread = (float(self.model.add_noise(*parts, at)) for parts in levels)
        return signal, spread


@torch.no_grad()
def first_step(
    model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
) -> FirstStep:
    """Show `noise` `[B, *latent_shape]` to the model once; two U-Net items for each.

    `embeddings` `[B, ...]` by name, `samples` sample indices, int64 `[B]`.
    """
    noise = noise.to(model.device, model.dtype)
    timestep = model.sampling_timesteps()[0]
    shown = model.sampling_input(noise, timestep)
    outputs = model.predict_both(shown, timestep.expand(len(noise)), embeddings, samples)
    return FirstStep(model, noise, shown, timestep, *outputs)
