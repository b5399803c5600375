"""What mitigations, attacks and the runner may ask of a text-to-image diffusion model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from dorib.reprs import in_one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dorib.contracts.edits import Edit
    from dorib.contracts.embeddings import Embeddings, Tokens
    from dorib.contracts.ledger import Ledger
    from dorib.contracts.suite_view import SamplingSettings
    from dorib.contracts.triggers import ImageStart
    from dorib.contracts.views import Target


class TargetModel(ABC):
    """A diffusion model with a U-Net that is conditioned on text.

    Every call that runs the U-Net takes `samples`, the sample index of each item, int64 `[B]`;
    the model alone builds the guidance batch `[unconditional; conditional]` and tiles them. They
    select the edit's rows and the account that the work is written to. Parameters are frozen;
    gradients reach latents and embeddings.
    """

    sampling: SamplingSettings
    device: torch.device
    dtype: torch.dtype
    prediction_type: str
    """"epsilon", "v_prediction" or "sample": what the U-Net's raw output is."""

    def __repr__(self) -> str:
        return in_one_line(
            type(self).__name__,
            height=self.sampling.height,
            width=self.sampling.width,
            prediction_type=self.prediction_type,
            dtype=str(self.dtype).removeprefix("torch."),
            device=str(self.device),
        )

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)` of one latent."""

    @property
    @abstractmethod
    def conditioning(self) -> frozenset[str]:
        """Names of the embeddings that the U-Net is conditioned on."""

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """Number of training timesteps."""

    @abstractmethod
    def sampling_timesteps(self) -> Tensor:
        """The timesteps that sampling visits, `[steps]`, on the model's device, noisiest first."""

    @abstractmethod
    def sampling_input(self, noise: Tensor, timestep: Tensor) -> Tensor:
        """What the U-Net is shown at `timestep` of latents that are nothing but noise.

        Args:
            noise: `[B, *latent_shape]`, unit variance.
            timestep: one of `sampling_timesteps()`.

        Returns:
            `[B, *latent_shape]`: scaled as the scheduler scales its start and its input.
        """

    @abstractmethod
    def cross_attention_value_layers(self) -> dict[str, nn.Linear]:
        """Name and module of each cross-attention value layer, in forward order."""

    @abstractmethod
    def feed_forward_layers(self) -> dict[str, nn.Linear]:
        """Name and module of each feed-forward output layer, in forward order."""

    @abstractmethod
    def linear_layer(self, name: str) -> nn.Linear:
        """The linear layer of the U-Net that an edit calls `name`.

        Raises:
            DoribError: there is none.
        """

    @abstractmethod
    def trainable_copy(
        self, *, gradient_checkpointing: bool = False
    ) -> AbstractContextManager[Mapping[str, nn.Parameter]]:
        """Work on float32 copies of all U-Net parameters for the length of a `with` block.

        Gives the copies by name, without gradients until they are asked for; training them
        changes what every call computes. Afterwards the very same parameters are back.
        """

    @abstractmethod
    def encode_prompt(self, prompts: Sequence[str]) -> Embeddings:
        """Embeddings of `prompts`, in the model's dtype.

        `prompt_embeds` is `[B, tokens, width]`; SDXL has `pooled_prompt_embeds` beside it. The
        text encoder's alone: no sampling rule comes in between.
        """

    @abstractmethod
    def rewritten(self, prompts: Sequence[str], generators: Sequence[torch.Generator]) -> list[str]:
        """What the sampling rules in force make of `prompts`: what the model is asked with.

        `generators`, one an item, are for rules that draw; without a rule nothing is drawn.
        """

    @abstractmethod
    def encode_request(
        self, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> Embeddings:
        """As `encode_prompt`, for whoever asks the model for images in words: `rewritten` first."""

    @abstractmethod
    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """The token ids of `prompts`, on the CPU; cut at the text encoder's length."""

    @abstractmethod
    def detokenize(self, ids: Sequence[int]) -> str:
        """The prompt that token ids decode to, without begin, end and padding.

        Where the vocabulary is one of bytes, it may hold NUL, which no trigger's prompt may.
        """

    @abstractmethod
    def tokens_of(self, ids: Sequence[Sequence[int]]) -> Tokens:
        """Token ids as the encoder reads them: begin, end and padding put around each row.

        Raises:
            ValueError: a row is longer than the encoder reads, or an id is none of its vocabulary.
        """

    @abstractmethod
    def token_embeddings(self) -> Mapping[str, Tensor]:
        """By text encoder, the vector of each token, `[vocabulary, width]`, detached.

        One entry, `text_encoder`; SDXL has `text_encoder_2` beside it.
        """

    @abstractmethod
    def token_vectors(self, tokens: Tokens) -> Mapping[str, Tensor]:
        """By text encoder, the vectors that it looks up for `tokens`, `[B, length, width]`.

        Detached: what `encode_tokens` takes, with some of them exchanged. (SDXL's encoders pad
        with different tokens, so that the ids alone do not tell them.)
        """

    @abstractmethod
    def encode_tokens(
        self, tokens: Tokens, vectors: Mapping[str, Tensor] | None = None
    ) -> Embeddings:
        """As `encode_prompt`, from token ids.

        `vectors` `[B, length, width]`, by text encoder as in `token_embeddings`, take the place of
        the looked-up ones: gradients reach them.
        """

    @abstractmethod
    def weights(self, component: str = "unet") -> Mapping[str, Tensor]:
        """The parameters of the U-Net, or of `text_encoder` or `text_encoder_2`, detached.

        Under an edit, those it has put in place. They are the model's own: not to be written to.

        Raises:
            ValueError: the pipeline has no such component.
        """

    @abstractmethod
    def encode_targets(self, targets: Sequence[Target]) -> Embeddings:
        """What each target is asked for with, in the model's dtype, by name `[B, ...]`.

        Its own embeddings where it has some, else its caption's.
        """

    @abstractmethod
    def encode_image(self, images: Tensor) -> Tensor:
        """Latents `[B, *latent_shape]` of images `[B, 3, height, width]` in [0, 1], noise-free."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images `[B, 3, height, width]` in [0, 1], float32, of latents `[B, *latent_shape]`.

        NaN where the autoencoder's output is not finite.
        """

    @abstractmethod
    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """The U-Net's raw output in its own parametrisation, `[B, *latent_shape]`.

        Guidance is used where `guidance_scale` exceeds 1, as in diffusers; the output is then
        `u + guidance_scale * (c - u)`.

        Raises:
            ValueError: `latents`, `timesteps` and `samples` differ in length, or a per-sample edit
                has no row of a sample index.
        """

    @abstractmethod
    def predict_both(
        self, latents: Tensor, timesteps: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The raw outputs without and with the prompt, `[B, *latent_shape]` each, in one pass.

        Raises:
            ValueError: as `predict`.
        """

    @abstractmethod
    def training_target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the U-Net is trained to output: the noise, the velocity or the clean latent."""

    @abstractmethod
    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """`sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`, item by item."""

    @abstractmethod
    def denoising_loss(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        towards: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the raw output against its training target, float32 `[B]`.

        Sampling rules that act on embeddings or on attention are part of it.

        `latents` are clean, `[B, *latent_shape]`, `noise` likewise, `timesteps` int64 `[B]`.
        `towards`, `[B, *latent_shape]`, takes the training target's place where it is given.
        """

    @abstractmethod
    def sample(
        self,
        embeddings: Embeddings,
        generators: Sequence[torch.Generator],
        samples: Tensor,
        lengths: Tensor | None = None,
        start: ImageStart | None = None,
    ) -> Tensor:
        """Images `[B, 3, height, width]` in [0, 1] from embeddings and one generator an item.

        `lengths` as in `Tokens`, for rules that act on attention; None where they are not known.
        `start` holds latents with a batch axis, which sampling goes on from.
        """

    @abstractmethod
    def sample_latents(
        self,
        embeddings: Embeddings,
        generators: Sequence[torch.Generator],
        samples: Tensor,
        steps: int | None = None,
        lengths: Tensor | None = None,
        start: ImageStart | None = None,
    ) -> Tensor:
        """Latents `[B, *latent_shape]` after the first `steps` of sampling (None: all of them).

        The rest as in `sample`.
        """

    @abstractmethod
    def edited(self, edit: Edit, rows: Sequence[int] | None = None) -> AbstractContextManager[None]:
        """Run under `edit`; `rows[i]` is the edit's row for sample index i (default: i itself).

        Blocks may stand in one another: the inner edit acts on top of the outer.

        Raises:
            DoribError: the edit does not fit this model, names a rule that is not registered, or
                acts on guidance where another does.
        """

    @abstractmethod
    def counting(self, ledger: Ledger) -> AbstractContextManager[None]:
        """Write the work done inside to `ledger`, and to any ledger around it."""
