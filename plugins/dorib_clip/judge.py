"""A transformers CLIP: loading it, and the embeddings it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dorib import DoribError, clip_files, clip_sha256, load_clip
from dorib_clip.preprocessing import Preprocessing


class Judge:
    """Embeds images and captions into CLIP's common space."""

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.preprocessing = preprocessing
        positions = int(model.config.text_config.max_position_embeddings)
        self.max_tokens = min(int(tokenizer.model_max_length), positions)
        """Tokens of a caption that are read, start and end included; the rest is cut off."""
        self.weights_sha256 = clip_sha256(model)

    @classmethod
    def load(cls, source: str, device: torch.device) -> Judge:
        """A `CLIPModel` with tokenizer and image preprocessing, from a folder or the hub, float32.

        Raises:
            DoribError: files are missing, truncated, not safetensors or not a CLIP's.
        """
        from transformers import CLIPTokenizer, ImageProcessingMixin

        model = load_clip(source, device, "clip")
        with clip_files(source, "clip"):
            tokenizer = CLIPTokenizer.from_pretrained(source)
            images, _ = ImageProcessingMixin.get_image_processor_dict(source)
        # It makes up an empty vocabulary as well where a tokenizer's files are missing.
        known, size = len(tokenizer), int(model.config.text_config.vocab_size)
        if 2 * known < size:
            raise DoribError(
                f"metric clip: {source} has a tokenizer with {known} of the model's {size} tokens; "
                "restore tokenizer.json, or vocab.json and merges.txt"
            )
        return cls(model, tokenizer, Preprocessing.from_config(images, f"metric clip: {source}"))

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embeddings `[B, D]` of unit length, float64 on the CPU.

        `images` are RGB, `[B, 3, H, W]`, float32 in [0, 1].
        """
        model = self._model
        pixels = self.preprocessing(images.to(model.device))
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        return _unit(model.visual_projection(pooled))

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Embeddings `[B, D]` of unit length, float64 on the CPU."""
        model = self._model
        # One length for all, so that a caption's embedding does not depend on its neighbours.
        tokens = self._tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(model.device)
        pooled = model.text_model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        ).pooler_output
        return _unit(model.text_projection(pooled))


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings.cpu().double(), dim=1)
