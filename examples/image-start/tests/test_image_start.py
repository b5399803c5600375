"""The rules that every attack keeps, and what this one does."""

import torch
from dorib_image_start import ImageStartParams
from dorib_image_start.attack import ImageStartAttack

import dorib
from dorib.testing.conformance.pytest_class import Conformance


class TestConformance(Conformance):
    """All of `dorib check image-start`, a test a rule."""

    kind = "attack"
    method = "image-start"


def test_the_coarsest_start_is_a_plain_field(random_suite: str) -> None:
    """One square as large as the image leaves its mean colour; the finest leaves it as it is."""
    model = dorib.load_model(random_suite, device="cpu")
    height, width = model.sampling.height, model.sampling.width
    original = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))
    target = dorib.Target("a", 0, "a star", original)
    mean = original.mean((1, 2))[:, None, None].expand(3, height, width)
    for coarseness, shown in ((max(height, width), mean), (1, original)):
        attack = ImageStartAttack(ImageStartParams(coarseness=coarseness))
        [trigger] = attack.search(model, [target], [0], dorib.Seeds(), dorib.Ledger())
        assert trigger.start is not None
        expected = model.encode_image(shown[None])[0]
        torch.testing.assert_close(trigger.start.latents, expected, rtol=0, atol=1e-4)
