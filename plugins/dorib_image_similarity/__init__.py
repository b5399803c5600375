"""MS-SSIM (Wang et al., 2003) and pixel distance: is an image the original, pixel by pixel?"""

from __future__ import annotations

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class ImageSimilarityParams(Params):
    """Nothing to set: what MS-SSIM needs follows from the suite's image size."""


@hookimpl
def register_metrics(register: Register) -> None:
    """Bring `image-similarity`."""
    register(
        "image-similarity",
        "dorib_image_similarity.metric:ImageSimilarity",
        params=ImageSimilarityParams,
        summary="MS-SSIM and pixel distance to the original and to the unmitigated image",
        card=MethodCard(
            title="MS-SSIM and pixel distance",
            sentence="How much an image's structure is that of another.",
        ),
    )
