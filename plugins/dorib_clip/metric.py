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
    """Alignment of an image with its caption, and for utility prompts with others' captions.

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
        "clip_alignment_of_kind": Quantity("mean cosine", "neither", "image"),
    }

    def __init__(self, params: ClipParams) -> None:
        super().__init__(params)
        self._judge: Judge | None = None
        self._captions: dict[str, Tensor] = {}
        self._stack: dict[str, str | float | None] = {}

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the model.

        Raises:
            DoribError: the suite has none and no other was named, or it cannot be loaded.
        """
        source = clip_source(self.params.model, suite, "clip")
        judge = Judge.load(source, device)
        self._judge = judge
        self._captions.clear()
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
        self._embed_captions(judge, generations)
        images = torch.cat([g.images for g in generations])
        pictures = torch.cat([judge.embed_images(part) for part in torch.split(images, size)])
        if not pictures.isfinite().all():
            raise ValueError("an embedding is not finite; the images or the weights are damaged")
        by_caption = self._captions
        groups = torch.split(pictures, [len(g.images) for g in generations])
        for generation, group in zip(generations, groups, strict=True):
            values = _cosines("clip_alignment", generation, group, by_caption[generation.caption])
            if generation.other_caption is not None:
                other = by_caption[generation.other_caption]
                values += _cosines("clip_alignment_shuffled", generation, group, other)
            if generation.captions_of_kind:
                # The mean of the products is the product with the mean.
                others = torch.stack([by_caption[c] for c in generation.captions_of_kind])
                values += _cosines("clip_alignment_of_kind", generation, group, others.mean(dim=0))
            yield values

    def _embed_captions(self, judge: Judge, generations: Sequence[Generation]) -> None:
        """Each caption once, however many prompts of its kind it is held against."""
        wanted = dict.fromkeys(
            caption
            for generation in generations
            for caption in (
                generation.caption,
                generation.other_caption,
                *generation.captions_of_kind,
            )
            if caption is not None and caption not in self._captions
        )
        for caption in wanted:
            # By itself: rounding must not tell which captions came first in this process.
            [embedded] = judge.embed_captions([caption])
            if not embedded.isfinite().all():
                raise ValueError("an embedding is not finite; the weights are damaged")
            self._captions[caption] = embedded


def _cosines(name: str, generation: Generation, images: Tensor, caption: Tensor) -> list[Measured]:
    cosines = (images @ caption).tolist()
    return [
        Measured(name, cosine, seed) for seed, cosine in zip(generation.seeds, cosines, strict=True)
    ]
