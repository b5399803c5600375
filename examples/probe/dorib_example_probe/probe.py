"""The probe."""

from collections.abc import Sequence

import torch

from dorib import Ledger, Probe, Seeds, Target, TargetModel
from dorib_example_probe import ExampleProbeParams


class ExampleProbe(Probe[ExampleProbeParams]):
    """The norm of what the U-Net makes of pure noise, asked with the caption."""

    knows = frozenset({"prompt"})

    @torch.no_grad()
    def score(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds, ledger: Ledger
    ) -> list[float]:
        """One norm a target, from a noise of its own."""
        draws = [
            torch.randn(model.latent_shape, generator=seeds.generator(target.sample))
            for target in targets
        ]
        noise = torch.stack(draws).to(model.device, model.dtype)
        timestep = model.sampling_timesteps()[0]
        samples = torch.tensor([target.index for target in targets])
        output = model.predict(
            model.sampling_input(noise, timestep),
            timestep.expand(len(targets)),
            model.encode_targets(targets),
            samples,
        )
        norms: list[float] = output.float().flatten(1).norm(dim=1).tolist()
        return norms
