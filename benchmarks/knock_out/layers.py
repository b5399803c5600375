"""The layers of a U-Net by kind, and knocking some out for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

from torch import Tensor, nn

Kind = Literal["value", "self-attention", "feed-forward", "convolution"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_ENDINGS: dict[Kind, str] = {
    "value": ".attn2.to_v",
    "self-attention": ".attn1.to_out.0",
    "feed-forward": ".ff.net.2",
    "convolution": ".conv2",
}
"""The layer whose output is all that each part adds to what passes by it: with nothing from it, the
residual connection passes on alone. Values are what cross-attention reads of the prompt: without
them it adds its output layer's bias."""
_STAGES = ("down_blocks", "mid_block", "up_blocks")


def layers_of(unet: nn.Module, kind: Kind) -> list[str]:
    """Names of all layers of one kind, in the order of the forward pass."""
    found = [
        name
        for name, module in unet.named_modules()
        if name.endswith(_ENDINGS[kind]) and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    # diffusers registers the up blocks before the mid block.
    return sorted(found, key=lambda name: _STAGES.index(name.split(".")[0]))


@contextmanager
def knocked_out(unet: nn.Module, layers: Collection[str], steps: Collection[int]) -> Iterator[None]:
    """Let `layers` put out zeros at some of the next sampling's steps, counted from 0.

    A step is one pass through the U-Net, as in a sampling by a scheduler of first order; for each
    sampling, enter anew.
    """
    step = -1

    def begin(module: nn.Module, arguments: Any) -> None:
        nonlocal step
        step += 1

    def silence(module: nn.Module, arguments: Any, output: Tensor) -> Tensor | None:
        return output.new_zeros(output.shape) if step in steps else None

    with ExitStack() as stack:
        stack.callback(unet.register_forward_pre_hook(begin).remove)
        for name in layers:
            stack.callback(unet.get_submodule(name).register_forward_hook(silence).remove)
        yield
