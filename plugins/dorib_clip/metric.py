"""The metric: cosines between images and captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dorib import Generation, Measured, Metric, Quantity, SuiteView, clip_source, model_name
from dorib_clip import ClipParams
from dorib_clip.judge import Judge


class Clip(Metric[ClipParams]):
    """Alignment of an image with its caption, and with another's for utility prompts.

    A caption longer than the model reads is cut off at its end. The suite's own CLIP is the
    default; its text encoder is the pipeline's, so it hears a caption as the generator does and
    may share its mistakes: a judge other than that (the `model` parameter) is preferable where one
    can be had. Source of the score: Hessel et al., arXiv 2104.08718, without their factor 2.5 and
    without clipping at 0.
    """

    needs = frozenset({"generations", "utility"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "clip_alignment": Quantity("cosine", "higher is better", "image"),
        "clip_alignment_shuffled": Quantity("cosine", "neither", "image"),
    }

    def __init__(self, params: ClipParams) -> None:
        super().__init__(params)
        self._judge: Judge | None = None
        self._stack: dict[str, str | float | None] = {}

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the model.

        Raises:
            DoribError: the suite has none and no other was named, or it cannot be loaded.
        """
        source = clip_source(self.params.model, suite, "clip")
        judge = Judge.load(source, device)
        self._judge = judge
        self._stack = {
            "model": model_name(self.params.model),
            "weights_sha256": judge.weights_sha256,
            "resize": judge.preprocessing.resize_rule,
            "normalisation": judge.preprocessing.normalisation,
            "max_tokens": float(judge.max_tokens),
        }

    def stack(self) -> dict[str, str | float | None]:
        """What the cosines depend on; captions are cut off at `max_tokens`."""
        if self._judge is None:
            raise RuntimeError("prepare comes before stack")
        return dict(self._stack)

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """The values of each generation, in order.

        Raises:
            ValueError: an embedding is not finite.
        """
        if not generations:
            return
        judge, size = self._judge, self.params.batch_size
        if judge is None:
            raise RuntimeError("prepare comes before measure")
        wanted = [(g.caption, g.other_caption) for g in generations]
        captions = list(dict.fromkeys(c for pair in wanted for c in pair if c is not None))
        parts = [captions[start : start + size] for start in range(0, len(captions), size)]
        texts = torch.cat([judge.embed_captions(part) for part in parts])
        images = torch.cat([g.images for g in generations])
        pictures = torch.cat([judge.embed_images(part) for part in torch.split(images, size)])
        if not (texts.isfinite().all() and pictures.isfinite().all()):
            raise ValueError("an embedding is not finite; the images or the weights are damaged")
        by_caption = dict(zip(captions, texts, strict=True))
        groups = torch.split(pictures, [len(g.images) for g in generations])
        for generation, group in zip(generations, groups, strict=True):
            values = _cosines("clip_alignment", generation, group, by_caption[generation.caption])
            if generation.other_caption is not None:
                other = by_caption[generation.other_caption]
                values += _cosines("clip_alignment_shuffled", generation, group, other)
            yield values


def _cosines(name: str, generation: Generation, images: Tensor, caption: Tensor) -> list[Measured]:
    cosines = (images @ caption).tolist()
    return [
        Measured(name, cosine, seed) for seed, cosine in zip(generation.seeds, cosines, strict=True)
    ]
