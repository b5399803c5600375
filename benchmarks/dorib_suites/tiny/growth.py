"""Growing the scene model to seven cross-attention layers, without changing what it computes.

NeMo (Hintersdorf et al. 2024) looks for memorization in the value layers of Stable Diffusion's down
and middle blocks, of which there are seven. One layer a block gives four; two a block cost 1.7
times as much a step, most of it at 16 x 16. One, two and three layers, deeper where a level is
smaller, give seven for 1.4 times.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import nn

LAYERS = (1, 2, 3, 1)
"""Layers of each down block; an up block has one more, as in Stable Diffusion."""


@torch.no_grad()
def grown(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same function with more layers, each an identity until it is trained.

    `unet` has one layer a block. A down block's new layers follow the old one. An up block's come
    between its two old ones, so that both keep their skips: the first takes what the last layer of
    the down block hands over, which is still what its old layer computed.
    """
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    with torch.random.fork_rng():
        torch.manual_seed(32)
        larger = UNet2DConditionModel.from_config(config | {"layers_per_block": list(LAYERS)})
    state = {
        name: value
        for name, value in unet.state_dict().items()
        if not name.startswith(("down_blocks", "up_blocks"))
    }
    _, left = larger.load_state_dict(state, strict=False)
    assert not left
    for old, new in zip(unet.down_blocks, larger.down_blocks, strict=True):
        _fill_block(old, new, [0] + [None] * (len(new.resnets) - 1))
    for old, new in zip(unet.up_blocks, larger.up_blocks, strict=True):
        _fill_block(old, new, [0] + [None] * (len(new.resnets) - 2) + [1])
    return larger


def _fill_block(old: nn.Module, new: nn.Module, sources: list[int | None]) -> None:
    """Copy the layer of `old` that each place of `new` names; the others become identities."""
    for kind in ("resnets", "attentions"):
        if hasattr(new, kind):
            for layer, source in zip(getattr(new, kind), sources, strict=True):
                if source is None:
                    _make_identity(layer)
                else:
                    layer.load_state_dict(getattr(old, kind)[source].state_dict())
    for kind in ("downsamplers", "upsamplers"):
        if getattr(new, kind, None) is not None:
            getattr(new, kind).load_state_dict(getattr(old, kind).state_dict())


def _make_identity(layer: nn.Module) -> None:
    """What is added to the input becomes zero; of a skip beside the input nothing is taken."""
    last = layer.conv2 if hasattr(layer, "conv2") else layer.proj_out
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.weight.zero_()
    last.bias.zero_()
    shortcut = getattr(layer, "conv_shortcut", None)
    if isinstance(shortcut, nn.Conv2d):
        assert shortcut.bias is not None
        shortcut.weight.zero_()
        shortcut.bias.zero_()
        for channel in range(shortcut.out_channels):
            shortcut.weight[channel, channel] = 1
