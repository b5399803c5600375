"""What is added to cross-attention's logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dorib import InFlight
from dorib_attention import AttentionParams


def logits_of(attention: Any, queries: Tensor, keys: Tensor) -> Tensor:
    """The logits of a diffusers `Attention`, float32 `[B, heads, queries, keys]`."""
    query = attention.head_to_batch_dim(attention.to_q(queries)).float()
    key = attention.head_to_batch_dim(attention.to_k(keys)).float()
    logits: Tensor = attention.scale * query @ key.transpose(1, 2)
    return logits.view(len(queries), -1, *logits.shape[1:])


def bias_of(
    params: AttentionParams,
    attention: Any,
    queries: Tensor,
    keys: Tensor,
    items: InFlight,
    *,
    spikes: bool,
) -> Tensor:
    """What is added to the logits, `[B, heads, 1 or queries, keys]`; 0 for unconditional items.

    Args:
        params: what is scaled, and how.
        attention: a diffusers `Attention`.
        queries: the hidden states of the image, `[B, queries, width]`.
        keys: those of the prompt, `[B, keys, width]`.
        items: whose they are.
        spikes: whether keys that stand out are scaled in this layer.
    """
    multiplied = params.form == "multiplicative"
    factors = queries.new_ones(len(queries), attention.heads, 1, keys.shape[1], dtype=torch.float32)
    factors[..., 0] = params.begin_scale
    logits = None
    if spikes or multiplied:
        with torch.set_grad_enabled(multiplied and torch.is_grad_enabled()):
            logits = logits_of(attention, queries, keys)
    if spikes:
        assert logits is not None
        factors = torch.where(stand_out(logits, params.spike_z), params.spike_scale, factors)
    asked = items.conditional[:, None, None, None]
    factors = torch.where(asked, factors, 1.0)
    bias = (factors - 1) * logits if multiplied and logits is not None else factors.log()
    if params.mask_padding and items.lengths is not None:
        positions = torch.arange(keys.shape[1], device=keys.device)
        padding = positions >= items.lengths[:, None, None, None]
        bias = bias.masked_fill(padding & asked, -torch.inf)
    return bias


def stand_out(logits: Tensor, z: float) -> Tensor:
    """Which keys stand out in each head, bool `[B, heads, 1, keys]`; never the begin token.

    Those whose largest logit over all queries is above the mean of the keys' largest by more than
    `z` standard deviations, the begin token left out of both.
    """
    largest = logits.amax(dim=2, keepdim=True)
    others = largest[..., 1:]
    spread, mean = torch.std_mean(others, dim=-1, keepdim=True)
    found = others - mean > z * spread
    return torch.cat([torch.zeros_like(found[..., :1]), found], dim=-1)
