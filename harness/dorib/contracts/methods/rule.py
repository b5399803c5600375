"""Rules: what acts while a model samples, at five places."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from typing_extensions import override

from dorib.contracts.methods.base import Method, P

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dorib.contracts.embeddings import Embeddings
    from dorib.contracts.target_model import TargetModel

Place: TypeAlias = Literal["prompt", "embeddings", "noise", "attention", "guidance"]
"""Where a rule can act, in the order in which a request passes."""


@dataclass(frozen=True)
class InFlight:
    """The items of the U-Net call under way."""

    samples: Tensor
    """Sample index of each item, int64 `[B]`."""
    conditional: Tensor
    """Which items are asked with a prompt, bool `[B]`; the others are guidance's unconditional
    half."""
    lengths: Tensor | None = None
    """Tokens of each item's prompt, begin and end included, int64 `[B]`; None where it was asked
    with embeddings, of which no length is known."""


@dataclass(frozen=True)
class Step:
    """One step of sampling."""

    model: TargetModel
    index: int
    """From 0, at the noisiest."""
    total: int
    timestep: Tensor
    """Of all items; a scalar."""
    latents: Tensor
    """`[B, *latent_shape]`, as the U-Net is shown them."""
    embeddings: Embeddings
    samples: Tensor
    """Sample index of each item, int64 `[B]`."""
    states: Sequence[dict[str, Any]]
    """One an item, empty at the first step: what a rule wants to remember until the next."""


class Rule(Method[P]):
    """Acts while a model samples: the code that an edit of kind `SamplingRule` names.

    It belongs to the plugin of the mitigation that uses it, so that its code is part of what the
    mitigation's results depend on. Each method acts at one place, and is called where `acts_on`
    names it. The work of what a rule asks of the model is counted apart, as the rule's.
    """

    acts_on: ClassVar[frozenset[Place]]
    """Where it acts. What is handed in behind the last of these places bypasses it."""
    passes_gradients: ClassVar[bool] = True
    """Whether `embed` and `attending` leave a loss its gradient in the embeddings. Where not, a
    search by gradients does without `embed`, and the entry says that it is not adaptive."""

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        """What the model is asked with in place of each prompt, in order.

        `generators` are one an item, another for each image that is asked for.
        """
        return list(prompts)

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        """The embeddings `[B, ...]` to go on with, of the same names and shapes.

        `noise` `[B, *latent_shape]` is what sampling will start from; in a denoising loss, what was
        added. Keep the gradient by adding to `embeddings`.
        """
        return embeddings

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        """The noise `[B, *latent_shape]`, of unit variance, that sampling starts from."""
        return noise

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """The output to step by, from the U-Net's two, `[B, *latent_shape]` each.

        `scale` is the suite's; any number may take its place, 0 and negative ones too.
        """
        return unconditional + scale * (conditional - unconditional)

    @contextmanager
    def attending(self, unet: nn.Module, in_flight: Callable[[], InFlight]) -> Iterator[None]:
        """Change how the U-Net attends for the length of a `with` block, and put it back.

        Entered once, when the edit is installed. `in_flight` tells, while the U-Net computes, which
        items it computes for; also when gradient checkpointing computes them again.
        """
        yield


class PromptRule(Rule[P]):
    """A rule that rewrites prompts and does nothing else; embeddings pass it by."""

    acts_on = frozenset({"prompt"})

    @abstractmethod
    @override
    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        """What the model is asked with in place of each prompt, in order."""
