"""The attack."""

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import avg_pool2d, interpolate

from dorib import Attack, ImageStart, Ledger, Seeds, Target, TargetModel, Trigger
from dorib_image_start import ImageStartParams


class ImageStartAttack(Attack[ImageStartParams]):
    """Hands each target's caption over with its original, coarsened, as the image to start from."""

    knows = frozenset({"original image", "prompt", "initial noise"})
    searches = False

    @torch.no_grad()
    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """The same trigger at every budget, since nothing is searched."""
        for target in targets:
            image = target.original[None]
            # At the borders, squares are as large as there is room for.
            squares = avg_pool2d(image, self.params.coarseness, ceil_mode=True)
            coarse = interpolate(squares, size=image.shape[-2:], mode="nearest")
            latents = model.encode_image(coarse)[0].float().cpu()
            start = ImageStart(latents, self.params.strength)
            for budget in budgets:
                yield Trigger(target.sample, budget, prompt=target.caption, start=start)
