"""The layers that pruning methods look at, by name and in the order of the forward pass."""

from __future__ import annotations

from torch import nn

_STAGES = ("down_blocks", "mid_block", "up_blocks")


def cross_attention_value_layers(unet: nn.Module) -> dict[str, nn.Linear]:
    """The `to_v` maps of cross-attention: text embedding `[B, tokens, width]` to values."""
    return _linear_layers(unet, ".attn2.to_v")


def feed_forward_layers(unet: nn.Module) -> dict[str, nn.Linear]:
    """The second linear map of each transformer block's feed-forward part."""
    return _linear_layers(unet, ".ff.net.2")


def _linear_layers(unet: nn.Module, ending: str) -> dict[str, nn.Linear]:
    found = {
        name: module
        for name, module in unet.named_modules()
        if name.endswith(ending) and isinstance(module, nn.Linear)
    }
    # diffusers registers the up blocks before the mid block.
    return dict(sorted(found.items(), key=lambda item: _STAGES.index(item[0].split(".")[0])))
