"""Training the U-Net on copies of its weights, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from dorib import DoribError, TargetModel
from dorib_adversarial_finetune import AdversarialFinetuneParams

_OWN_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Training:
    """AdamW on float32 copies of all U-Net weights; frozen but for the length of a step."""

    def __init__(
        self, model: TargetModel, weights: Mapping[str, nn.Parameter], p: AdversarialFinetuneParams
    ) -> None:
        self.weights = weights
        self._accelerator = _accelerator(model, p)
        self._max_norm = p.max_gradient_norm
        self._accumulation = p.gradient_accumulation
        adamw = torch.optim.AdamW(weights.values(), lr=p.learning_rate, weight_decay=p.weight_decay)
        self._optimizer = self._accelerator.prepare_optimizer(adamw)

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the precision that was asked for; leave it before the weights change."""
        context: AbstractContextManager[None] = self._accelerator.autocast()
        return context

    def step(self, loss: Callable[[int], Tensor]) -> None:
        """One gradient step on the mean of `loss(0)`, `loss(1)`, ..., a scalar each.

        Raises:
            ArithmeticError: a loss is not finite.
        """
        for weight in self.weights.values():
            weight.requires_grad_(True)
        for batch in range(self._accumulation):
            with self._accelerator.accumulate():
                with self.autocast():
                    value = loss(batch)
                if not value.isfinite():
                    raise ArithmeticError("the loss is not finite; lower learning_rate")
                self._accelerator.backward(value)
                if self._accelerator.sync_gradients:
                    self._accelerator.clip_grad_norm_(self.weights.values(), self._max_norm)
                self._optimizer.step()
                self._optimizer.zero_grad()
        for weight in self.weights.values():
            weight.requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        scaler = self._accelerator.scaler
        return {
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])


@contextmanager
def training(model: TargetModel, p: AdversarialFinetuneParams) -> Iterator[Training]:
    """Train copies of the weights in the model's place; its very own are back afterwards."""
    with model.trainable_copy(gradient_checkpointing=p.gradient_checkpointing) as weights:
        yield Training(model, weights, p)


def _accelerator(model: TargetModel, p: AdversarialFinetuneParams) -> Any:
    precision: str = p.mixed_precision
    if precision == "auto":
        precision = _OWN_PRECISION[model.dtype]
    elif precision == "no" and model.dtype != torch.float32:
        raise DoribError(
            "mitigation adversarial-finetune: mixed_precision=no, but the model computes in half "
            "precision; leave it at auto, or run with --dtype float32"
        )
    on_cpu = model.device.type == "cpu"
    if precision == "fp16" and on_cpu:
        # accelerate would silently compute in full precision.
        raise DoribError(
            "mitigation adversarial-finetune: fp16 cannot be trained in on a CPU; set "
            "mixed_precision=bf16"
        )
    # accelerate keeps the first settings of a process for all; a run may fit several variants.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=p.gradient_accumulation,
        cpu=on_cpu,
    )
