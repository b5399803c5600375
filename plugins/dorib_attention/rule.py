"""The rules: attention processors that add to the logits of those in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from dorib import InFlight, Rule, Step
from dorib_attention import AttentionParams
from dorib_attention.logits import bias_of


class SteerAttention(Rule[AttentionParams]):
    """Adds to the cross-attention logits of the conditional items, each item and head by itself."""

    acts_on = frozenset({"attention"})

    def __init__(self, params: AttentionParams) -> None:
        super().__init__(params)
        self.suspended = False
        """While it is, the model attends as without the rule."""

    @contextmanager
    def attending(self, unet: nn.Module, in_flight: Callable[[], InFlight]) -> Iterator[None]:
        """Put a processor around that of each cross-attention layer that is concerned."""
        with ExitStack() as stack:
            for name, layer in unet.named_modules():
                if not name.endswith("attn2"):
                    continue
                spikes = self.params.spike_scale != 1 and (
                    self.params.spike_blocks == "all" or not name.startswith("up_blocks.")
                )
                if spikes or self.params.begin_scale != 1 or self.params.mask_padding:
                    stack.enter_context(self._around(layer, in_flight, spikes=spikes))
            yield

    @contextmanager
    def _around(
        self, layer: Any, in_flight: Callable[[], InFlight], *, spikes: bool
    ) -> Iterator[None]:
        inner = layer.processor
        layer.set_processor(_Biased(self, inner, in_flight, spikes=spikes))
        try:
            yield
        finally:
            layer.set_processor(inner)


class SteerAndRepel(SteerAttention):
    """Guides towards the prompt as attended to under the rule, and away from the plain one."""

    acts_on = frozenset({"attention", "guidance"})

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """`u + s (c - u) - r (plain - u)`, `r` falling to 0 over the steps."""
        timesteps = step.timestep.expand(len(step.latents))
        self.suspended = True
        try:
            plain = step.model.predict(step.latents, timesteps, step.embeddings, step.samples)
        finally:
            self.suspended = False
        # As in sampling without a rule: below 1 there is no guidance, but the prompt alone.
        towards = unconditional + max(scale, 1.0) * (conditional - unconditional)
        repulsion = self.params.repulsion * math.cos(math.pi / 2 * step.index / step.total)
        return towards - repulsion * (plain - unconditional)


class _Biased:
    """A processor that hands the one inside a mask, which diffusers' own add to their logits."""

    def __init__(
        self,
        rule: SteerAttention,
        inner: Any,
        in_flight: Callable[[], InFlight],
        *,
        spikes: bool,
    ) -> None:
        self.rule, self.inner, self.in_flight, self.spikes = rule, inner, in_flight, spikes

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Any:
        """As diffusers calls a processor; the names are its."""
        mask = attention_mask
        if not self.rule.suspended:
            bias = bias_of(
                self.rule.params,
                attention,
                hidden_states,
                encoder_hidden_states,
                self.in_flight(),
                spikes=self.spikes,
            )
            bias = bias.flatten(0, 1).to(hidden_states.dtype)
            mask = bias if mask is None else mask + bias
        return self.inner(attention, hidden_states, encoder_hidden_states, attention_mask=mask)
