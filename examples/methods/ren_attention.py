"""Attention scaling: the conditional half attends otherwise to the begin token and to padding.

Ren et al. 2024, "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through
Cross Attention", ECCV, arXiv 2403.11052. The begin token's logits are multiplied, and tokens past
the prompt's end are not attended to. The authors' code finds the conditional half by every second
row, which holds for one image a prompt; here the host says which items it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dorib import (
    DefenderView,
    Edit,
    InFlight,
    Ledger,
    Mitigation,
    Params,
    Register,
    Rule,
    SamplingRule,
    Seeds,
    TargetModel,
    hookimpl,
)

dorib_contract = 2
NAME = "ren-attention"


class RenParams(Params):
    """How much more, and what of the padding."""

    scale: float = Field(
        1.25, gt=0, le=20, description="the begin token's logits are multiplied by it"
    )
    mask_padding: bool = Field(True, description="no attention to tokens past the prompt's end")


class RenAttention(Mitigation[RenParams]):
    """Nothing is fitted: the model attends to every prompt so."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule, with the same parameters."""
        return Edit(SamplingRule(NAME, self.params.model_dump()))


class ScaleBeginToken(Rule[RenParams]):
    """Adds a bias to the logits of each cross-attention layer, as an attention mask."""

    acts_on = frozenset({"attention"})

    @contextmanager
    def attending(self, unet: nn.Module, in_flight: Callable[[], InFlight]) -> Iterator[None]:
        """Hook every `attn2`: its processor stays, and other rules' masks are added to."""

        def steer(layer: Any, args: tuple[Tensor], named: Mapping[str, Any]) -> Any:
            bias = self._bias(layer, args[0], named["encoder_hidden_states"], in_flight())
            mask = named.get("attention_mask")
            return args, {**named, "attention_mask": bias if mask is None else bias + mask}

        with ExitStack() as stack:
            for name, layer in unet.named_modules():
                if name.endswith("attn2"):
                    hook = layer.register_forward_pre_hook(steer, with_kwargs=True)
                    stack.callback(hook.remove)
            yield

    def _bias(self, layer: Any, image: Tensor, text: Tensor, items: InFlight) -> Tensor:
        """What is added to the logits, `[B * heads, queries, keys]`; 0 for unconditional items."""
        query = layer.to_q(image).unflatten(-1, (layer.heads, -1)).transpose(1, 2).float()
        begin = layer.to_k(text[:, 0]).unflatten(-1, (layer.heads, -1)).float()
        logits = layer.scale * torch.einsum("bhqd,bhd->bhq", query, begin)
        bias = torch.zeros(*logits.shape, text.shape[1], device=text.device)
        bias[..., 0] = (self.params.scale - 1) * logits
        if self.params.mask_padding and items.lengths is not None:
            past = torch.arange(text.shape[1], device=text.device) >= items.lengths[:, None]
            bias = bias.masked_fill(past[:, None, None], -torch.inf)
        bias = bias.where(items.conditional[:, None, None, None], 0.0)
        return bias.flatten(0, 1).to(image.dtype)


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring the mitigation."""
    summary = "scales attention to the begin token and masks padding (Ren et al.)"
    register(NAME, f"{__name__}:RenAttention", params=RenParams, summary=summary)


@hookimpl
def register_rules(register: Register) -> None:
    """Bring the rule that its edit names."""
    summary = "cross-attention with other logits"
    register(NAME, f"{__name__}:ScaleBeginToken", params=RenParams, summary=summary)
