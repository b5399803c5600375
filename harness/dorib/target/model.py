"""The target model that mitigations and attacks work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from dorib.contracts.edits import Edit, SamplingRule
from dorib.contracts.embeddings import Embeddings, stacked, unstacked
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import PromptRule, Rule
from dorib.contracts.suite_view import SamplingSettings
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.errors import DoribError
from dorib.host.admission import admit_prompts
from dorib.host.registry import Registry, discover
from dorib.host.rules import rule_behind
from dorib.target import conditioning, layers
from dorib.target.counting import WorkCounter
from dorib.target.editing import float32_copies, installed, linear_layer
from dorib.target.noise import noise_levels, training_target
from dorib.target.sampling import planned_scheduler, sample_latents


class DiffusersModel(TargetModel):
    """A diffusers text-to-image pipeline with a `UNet2DConditionModel`."""

    def __init__(
        self, pipeline: Any, sampling: SamplingSettings, registry: Registry | None = None
    ) -> None:
        """Take over `pipeline`; `registry` holds the rules that edits name (None: all installed).

        Raises:
            DoribError: its latents cannot have the size asked for.
        """
        factor = pipeline.vae_scale_factor
        if sampling.height % factor or sampling.width % factor:
            raise DoribError(
                f"sampling: {sampling.height} x {sampling.width} pixels, but this pipeline makes "
                f"multiples of {factor}; change height and width in suite.yaml"
            )
        self.pipeline = pipeline
        self.sampling = sampling
        self.unet: nn.Module = pipeline.unet.eval().requires_grad_(False)
        pipeline.vae.eval().requires_grad_(False)
        for encoder in _text_encoders(pipeline):
            encoder.eval().requires_grad_(False)
        if pipeline.vae.config.get("force_upcast") and pipeline.vae.dtype == torch.float16:
            # Such an autoencoder overflows in half precision.
            pipeline.vae.to(torch.float32)
        self.device: torch.device = pipeline.unet.device
        self.dtype: torch.dtype = pipeline.unet.dtype
        self.prediction_type: str = pipeline.scheduler.config.prediction_type
        self._registry = registry
        self._edit: Edit | None = None
        self._rule: Rule[Any] | None = None
        self._rows: Tensor | None = None
        self._in_flight: Tensor | None = None
        self._work = WorkCounter()
        self.unet.register_forward_hook(self._count)

    @property
    @override
    def latent_shape(self) -> tuple[int, int, int]:
        factor = self.pipeline.vae_scale_factor
        channels = self.pipeline.unet.config.in_channels
        return channels, self.sampling.height // factor, self.sampling.width // factor

    @property
    @override
    def conditioning(self) -> frozenset[str]:
        return conditioning.names(self.pipeline)

    @property
    @override
    def timesteps(self) -> int:
        return int(self.pipeline.scheduler.config.num_train_timesteps)

    @override
    def sampling_timesteps(self) -> Tensor:
        timesteps: Tensor = self._planned_scheduler().timesteps
        return timesteps

    @override
    def sampling_input(self, noise: Tensor, timestep: Tensor) -> Tensor:
        scheduler = self._planned_scheduler()
        shown: Tensor = scheduler.scale_model_input(noise * scheduler.init_noise_sigma, timestep)
        return shown

    @override
    def cross_attention_value_layers(self) -> dict[str, nn.Linear]:
        return layers.cross_attention_value_layers(self.unet)

    @override
    def feed_forward_layers(self) -> dict[str, nn.Linear]:
        return layers.feed_forward_layers(self.unet)

    @override
    def linear_layer(self, name: str) -> nn.Linear:
        return linear_layer(self.unet, name)

    @override
    @contextmanager
    def trainable_copy(
        self, *, gradient_checkpointing: bool = False
    ) -> Iterator[Mapping[str, nn.Parameter]]:
        unet = self.pipeline.unet
        checkpointed = unet.is_gradient_checkpointing
        with float32_copies(unet) as copies:
            if gradient_checkpointing:
                self.enable_gradient_checkpointing()
            try:
                yield copies
            finally:
                if gradient_checkpointing and not checkpointed:
                    unet.disable_gradient_checkpointing()

    @override
    def encode_prompt(self, prompts: Sequence[str]) -> Embeddings:
        return conditioning.encode_prompt(self.pipeline, prompts, self.device)

    @override
    def encode_request(self, prompts: Sequence[str]) -> Embeddings:
        rule = self._rule
        if isinstance(rule, PromptRule):
            prompts = admit_prompts(rule.rewrite(prompts), len(prompts))
        return self.encode_prompt(prompts)

    @override
    def encode_targets(self, targets: Sequence[Target]) -> Embeddings:
        captions = self.encode_prompt([target.caption for target in targets])
        own = [target.embeddings for target in targets]
        rows = zip(own, unstacked(captions), strict=True)
        return (
            stacked(
                [
                    {
                        name: value.to(self.device, self.dtype)
                        for name, value in (given or row).items()
                    }
                    for given, row in rows
                ]
            )
            if targets
            else captions
        )

    @torch.no_grad()
    @override
    def encode_image(self, images: Tensor) -> Tensor:
        vae = self.pipeline.vae
        encoded = vae.encode((images * 2 - 1).to(self.device, vae.dtype))
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return ((latents - shift) * vae.config.scaling_factor).to(self.dtype)  # type: ignore[no-any-return]

    @torch.no_grad()
    @override
    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        images: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor + shift)[0]
        # An infinite pixel would be clamped into a plain one.
        images = images.float().masked_fill(~images.isfinite(), torch.nan)
        return (images / 2 + 0.5).clamp(0, 1)

    @override
    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        if guidance_scale <= 1:
            return self._call_unet(latents, timesteps, embeddings, samples)
        batch = len(latents)
        both = {
            name: torch.cat([value.expand_as(embeddings[name]), embeddings[name]])
            for name, value in self._unconditional.items()
        }
        output = self._call_unet(
            latents.repeat(2, 1, 1, 1), timesteps.repeat(2), both, samples.repeat(2)
        )
        unconditional, conditional = output[:batch], output[batch:]
        return unconditional + guidance_scale * (conditional - unconditional)

    @override
    def training_target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        levels = noise_levels(self.pipeline.scheduler, timesteps, latents)
        return training_target(self.prediction_type, latents, noise, levels)

    @override
    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        signal, spread = noise_levels(self.pipeline.scheduler, timesteps, latents)
        return signal * latents + spread * noise

    @override
    def denoising_loss(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        towards: Tensor | None = None,
    ) -> Tensor:
        latents, noise = latents.to(self.device), noise.to(self.device)
        timesteps = timesteps.to(self.device)
        noisy = self.add_noise(latents, noise, timesteps)
        output = self.predict(noisy.to(self.dtype), timesteps, embeddings, samples)
        if towards is None:
            towards = self.training_target(latents, noise, timesteps)
        return (output.float() - towards.float()).square().flatten(1).mean(dim=1)

    @torch.no_grad()
    @override
    def sample(
        self,
        embeddings: Embeddings,
        generators: Sequence[torch.Generator],
        samples: Tensor,
    ) -> Tensor:
        return self.decode(self.sample_latents(embeddings, generators, samples))

    @torch.no_grad()
    @override
    def sample_latents(
        self,
        embeddings: Embeddings,
        generators: Sequence[torch.Generator],
        samples: Tensor,
        steps: int | None = None,
    ) -> Tensor:
        return sample_latents(
            self, self._planned_scheduler(), embeddings, generators, samples, steps
        )

    @contextmanager
    @override
    def edited(self, edit: Edit, rows: Sequence[int] | None = None) -> Iterator[None]:
        if self._edit is not None:
            raise RuntimeError("an edit is installed already; leave its block first")
        rule = None
        if isinstance(edit.change, SamplingRule):
            rule = rule_behind(edit.change, self._registry or discover())
        self._edit, self._rule = edit, rule
        self._rows = None if rows is None else torch.tensor(rows, device=self.device)
        try:
            with installed(self.unet, edit, self._edit_rows):
                yield
        finally:
            self._edit = self._rule = self._rows = None

    @override
    def counting(self, ledger: Ledger) -> AbstractContextManager[None]:
        return self._work.counting(ledger)

    def enable_gradient_checkpointing(self) -> None:
        """Trade compute for memory in backward passes; per-sample edits keep working."""

        def checkpointed(module: nn.Module, *arguments: Any) -> Any:
            samples = self._in_flight

            def call(*inputs: Any) -> Any:
                with self._flying(samples):
                    return module(*inputs)

            return checkpoint(call, *arguments, use_reentrant=False)

        self.pipeline.unet.enable_gradient_checkpointing(checkpointed)

    def enable_vae_slicing(self) -> None:
        """Encode and decode images one by one."""
        self.pipeline.vae.enable_slicing()

    def enable_offload(self) -> None:
        """Keep text encoders and autoencoder in the host's memory while they are not at work.

        The U-Net stays where it is: each sampling step needs it, and edits hold its parameters.
        """
        from accelerate import cpu_offload

        for module in (self.pipeline.vae, *_text_encoders(self.pipeline)):
            cpu_offload(module, self.device)

    def compile(self, backend: str = "inductor") -> None:
        """Compile the U-Net by `torch.compile`; edits that are installed later act all the same."""
        # By default compiled code does not notice hooks that come after it: edits would be lost.
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        # The inner method alone, so that the U-Net's own hook counts outside the compiled code.
        self.unet.forward = torch.compile(self.unet.forward, backend=backend)

    @cached_property
    def _unconditional(self) -> Embeddings:
        return conditioning.encode_nothing(self.pipeline, self.device)

    def _planned_scheduler(self) -> Any:
        return planned_scheduler(self.pipeline.scheduler, self.sampling.steps, self.device)

    def _call_unet(
        self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        if not len(latents) == len(timesteps) == len(samples):
            raise ValueError("latents, timesteps and samples differ in length")
        if self._edit is not None and self._edit.scope == "per_sample":
            # A negative index would pick a row from the end: another sample's edit.
            rows = len(self._edit.samples if self._rows is None else self._rows)
            if bool(((samples < 0) | (samples >= rows)).any()):
                raise ValueError(
                    f"samples {samples.tolist()}: the per-sample edit has rows 0 to {rows - 1}"
                )
        height, width = self.sampling.height, self.sampling.width
        arguments = conditioning.unet_arguments(self.pipeline, embeddings, height, width)
        with self._flying(samples.to(self.device)):
            output: Tensor = self.unet(latents, timesteps, **arguments, return_dict=False)[0]
        return output

    @contextmanager
    def _flying(self, samples: Tensor | None) -> Iterator[None]:
        before, self._in_flight = self._in_flight, samples
        try:
            yield
        finally:
            self._in_flight = before

    def _count(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._work.count(output[0], self._in_flight)

    def _edit_rows(self) -> Tensor:
        assert self._in_flight is not None
        return self._in_flight if self._rows is None else self._rows[self._in_flight]


def _text_encoders(pipeline: Any) -> list[nn.Module]:
    """One, or SDXL's two."""
    found = (getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2"))
    return [encoder for encoder in found if encoder is not None]
