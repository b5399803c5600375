"""A transformers CLIP: loading it, and the embeddings it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from dorib import DoribError
from dorib_clip.preprocessing import Preprocessing

NOT_LOADED = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
"""What transformers raises for missing, truncated or foreign files."""


class Judge:
    """Embeds images and captions into CLIP's common space."""

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.preprocessing = preprocessing
        positions = int(model.config.text_config.max_position_embeddings)
        self.max_tokens = min(int(tokenizer.model_max_length), positions)
        """Tokens of a caption that are read, start and end included; the rest is cut off."""

    @classmethod
    def load(cls, source: str, device: torch.device) -> Judge:
        """A `CLIPModel` with tokenizer and image preprocessing, from a folder or the hub, float32.

        Raises:
            DoribError: files are missing, truncated, not safetensors or not a CLIP's.
        """
        from transformers import (
            AutoConfig,
            CLIPConfig,
            CLIPModel,
            CLIPTokenizer,
            ImageProcessingMixin,
        )

        try:
            # CLIPModel by itself would make up a configuration where config.json is missing.
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if not isinstance(config, CLIPConfig):
                raise ValueError(f"it is of type {config.model_type}")
            with _quiet():
                model, report = CLIPModel.from_pretrained(
                    source,
                    config=config,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
                tokenizer = CLIPTokenizer.from_pretrained(source)
                images, _ = ImageProcessingMixin.get_image_processor_dict(source)
        except NOT_LOADED as error:
            raise DoribError(
                f"metric clip: {source} cannot be loaded ({_one_line(error)}); it needs a folder "
                "with a CLIPModel's config, safetensors, tokenizer and preprocessor_config.json, "
                "or a hub id and a connection"
            ) from error
        # transformers fills what does not fit with random numbers, which would judge all the same.
        absent = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
        if absent:
            raise DoribError(
                f"metric clip: {source} lacks {len(absent)} of the weights that its config.json "
                f"asks for, {absent[0]} among them; restore the files or name another model"
            )
        # It makes up an empty vocabulary as well where a tokenizer's files are missing.
        known, size = len(tokenizer), int(model.config.text_config.vocab_size)
        if 2 * known < size:
            raise DoribError(
                f"metric clip: {source} has a tokenizer with {known} of the model's {size} tokens; "
                "restore tokenizer.json, or vocab.json and merges.txt"
            )
        model = model.float().to(device).eval().requires_grad_(False)
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

    def weights_sha256(self) -> str:
        """sha256 over names, shapes and values of all parameters, in float32, by name.

        Not a file's hash: a hub model may come in several files, or in half precision.
        """
        digest = hashlib.sha256()
        for name, value in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {list(value.shape)}\n".encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what matters of them is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings.cpu().double(), dim=1)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
