"""The target model that mitigations and attacks work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from dorib.contracts.edits import Edit
from dorib.contracts.embeddings import Embeddings
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import InFlight
from dorib.contracts.suite_view import SamplingSettings
from dorib.contracts.triggers import ImageStart
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.host.rules import rule_behind
from dorib.target import layers
from dorib.target.counting import WorkCounter
from dorib.target.editing.in_force import EditsInForce
from dorib.target.editing.installing import float32_copies, linear_layer
from dorib.target.noise import noise_levels, training_target
from dorib.target.sampling import planned_scheduler, sample_latents
from dorib.target.text import conditioning
from dorib.target.text.interface import PipelineText
from dorib.target.text.tokens import text_encoders


class DiffusersModel(PipelineText):
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
        for encoder in text_encoders(pipeline).values():
            encoder.eval().requires_grad_(False)
        # Pictures have eight bits, as many as bfloat16 tells apart; in float16 some overflow.
        if pipeline.vae.dtype != torch.float32:
            pipeline.vae.to(torch.float32)
        self.device: torch.device = pipeline.unet.device
        self.dtype: torch.dtype = pipeline.unet.dtype
        self.prediction_type: str = pipeline.scheduler.config.prediction_type
        self._registry = registry
        self._work = WorkCounter()
        self._edits = EditsInForce(self._work)
        self._unconditional: Embeddings | None = None
        self.unet.register_forward_hook(self._count)

    @property
    @override
    def latent_shape(self) -> tuple[int, int, int]:
        factor = self.pipeline.vae_scale_factor
        channels = self.pipeline.unet.config.in_channels
        return channels, self.sampling.height // factor, self.sampling.width // factor

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
    def rewritten(self, prompts: Sequence[str], generators: Sequence[torch.Generator]) -> list[str]:
        return self._edits.rules.rewrite(self, prompts, generators)

    @override
    def encode_request(
        self, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> Embeddings:
        return self.encode_prompt(self.rewritten(prompts, generators))

    @override
    def weights(self, component: str = "unet") -> Mapping[str, Tensor]:
        module = self._components().get(component)
        if module is None:
            raise ValueError(f"this pipeline has no {component}")
        return {name: value.detach() for name, value in module.named_parameters()}

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
        unconditional, conditional = self.predict_both(latents, timesteps, embeddings, samples)
        return unconditional + guidance_scale * (conditional - unconditional)

    @override
    def predict_both(
        self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self._unconditional is None:
            self._unconditional = conditioning.encode_nothing(self.pipeline, self.device)
        both = {
            name: torch.cat([value.expand_as(embeddings[name]), embeddings[name]])
            for name, value in self._unconditional.items()
        }
        output = self._call_unet(
            latents.repeat(2, 1, 1, 1), timesteps.repeat(2), both, samples.repeat(2), halves=2
        )
        return output[: len(latents)], output[len(latents) :]

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
        embeddings = self._edits.rules.embed(self, embeddings, noise.to(self.dtype), samples)
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
        lengths: Tensor | None = None,
        start: ImageStart | None = None,
    ) -> Tensor:
        latents = self.sample_latents(embeddings, generators, samples, lengths=lengths, start=start)
        return self.decode(latents)

    @torch.no_grad()
    @override
    def sample_latents(
        self,
        embeddings: Embeddings,
        generators: Sequence[torch.Generator],
        samples: Tensor,
        steps: int | None = None,
        lengths: Tensor | None = None,
        start: ImageStart | None = None,
    ) -> Tensor:
        with self._edits.lengths_known(lengths):
            return sample_latents(
                self,
                self._edits.rules,
                self._planned_scheduler(),
                embeddings,
                generators,
                samples,
                steps,
                start,
            )

    @contextmanager
    @override
    def edited(self, edit: Edit, rows: Sequence[int] | None = None) -> Iterator[None]:
        rules = [rule_behind(change, self._registry or discover()) for change in edit.rules]
        on_device = None if rows is None else torch.tensor(rows, device=self.device)
        # An edit may reach the text encoders.
        self._unconditional = None
        with ExitStack() as stack:
            stack.callback(setattr, self, "_unconditional", None)
            stack.enter_context(self._edits.installed(self._components(), edit, on_device, rules))
            yield

    @override
    def counting(self, ledger: Ledger) -> AbstractContextManager[None]:
        return self._work.counting(ledger)

    def enable_gradient_checkpointing(self) -> None:
        """Trade compute for memory in backward passes; per-sample edits keep working."""

        def checkpointed(module: nn.Module, *arguments: Any) -> Any:
            in_flight = self._edits.in_flight

            def call(*inputs: Any) -> Any:
                with self._edits.flying(in_flight):
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

        for module in (self.pipeline.vae, *text_encoders(self.pipeline).values()):
            cpu_offload(module, self.device)

    def enable_channels_last(self) -> None:
        """Lay out the U-Net's convolutions as kernels for small number formats want them."""
        self.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compile(self, backend: str = "inductor") -> None:
        """Compile the U-Net by `torch.compile`; edits that are installed later act all the same."""
        # By default compiled code does not notice hooks that come after it: edits would be lost.
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        # The inner method alone, so that the U-Net's own hook counts outside the compiled code.
        self.unet.forward = torch.compile(self.unet.forward, backend=backend)

    def _components(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, **text_encoders(self.pipeline)}

    def _planned_scheduler(self) -> Any:
        return planned_scheduler(self.pipeline.scheduler, self.sampling.steps, self.device)

    def _call_unet(
        self,
        latents: Tensor,
        timesteps: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        halves: int = 1,
    ) -> Tensor:
        """`halves` is 2 where the first half of the items is guidance's unconditional one."""
        if not len(latents) == len(timesteps) == len(samples):
            raise ValueError("latents, timesteps and samples differ in length")
        self._edits.require_rows(samples)
        height, width = self.sampling.height, self.sampling.width
        arguments = conditioning.unet_arguments(self.pipeline, embeddings, height, width)
        conditional = torch.ones(len(samples), dtype=torch.bool, device=self.device)
        conditional[: len(samples) - len(samples) // halves] = False
        lengths = self._edits.lengths(len(samples), halves, self.device)
        in_flight = InFlight(samples.to(self.device), conditional, lengths)
        with self._edits.flying(in_flight):
            output: Tensor = self.unet(latents, timesteps, **arguments, return_dict=False)[0]
        return output

    def _count(self, module: nn.Module, arguments: Any, output: Any) -> None:
        in_flight = self._edits.in_flight
        self._work.count(output[0], None if in_flight is None else in_flight.samples)
