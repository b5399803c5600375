"""Training the U-Net on copies of its weights, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from dorib.contracts.edits import AddLowRank, ReplaceWeights
from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.errors import DoribError
from dorib.kit.finetuning.params import TrainingParams
from dorib.kit.finetuning.trainable import Trainable, trainable_of

Gradient: TypeAlias = list[Tensor]
"""One tensor for each that is trained, float32."""

_OWN_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Training:
    """AdamW on float32 copies of U-Net weights; frozen but for the length of a step."""

    def __init__(
        self, model: TargetModel, trained: Trainable, params: TrainingParams, method: str
    ) -> None:
        self.weights = trained.weights
        self._trained = trained
        self._dtype = model.dtype
        self._accelerator = _accelerator(model, params, method)
        self._max_norm = params.max_gradient_norm
        self._accumulation = params.gradient_accumulation
        adamw = torch.optim.AdamW(
            trained.moved.values(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
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
        with self._thawed():
            for batch in range(self._accumulation):
                with self._accelerator.accumulate():
                    with self.autocast():
                        value = loss(batch)
                    self._accelerator.backward(_finite(value))
                    if self._accelerator.sync_gradients:
                        self._trained.gather()
                    self._move()

    def step_on_several(
        self,
        losses: Callable[[int], Sequence[Tensor]],
        combined: Callable[[Sequence[Gradient]], Gradient],
    ) -> None:
        """One step on what `combined` makes of the gradients of several losses.

        Args:
            losses: the scalar losses of batch 0, 1, ..., always as many; each one's gradient is
                that of its mean over the batches.
            combined: from the gradient of each loss to that of the step.

        Raises:
            ArithmeticError: a loss is not finite.
        """
        sums: list[Gradient] = []
        with self._thawed():
            for batch in range(self._accumulation):
                with self._accelerator.accumulate():
                    with self.autocast():
                        values = [_finite(value) for value in losses(batch)]
                    for number, value in enumerate(values):
                        # Losses of one forward pass share their graph.
                        self._accelerator.backward(value, retain_graph=number + 1 < len(values))
                        gradient = self._taken()
                        if batch == 0:
                            sums.append(gradient)
                        else:
                            torch._foreach_add_(sums[number], gradient)
                    if self._accelerator.sync_gradients:
                        for tensor, own in zip(self._moved(), combined(sums), strict=True):
                            tensor.grad = own
                    self._move()

    def change(self) -> ReplaceWeights | AddLowRank:
        """What was trained so far, as an edit has it: whole weights in the model's own format."""
        return self._trained.change(self._dtype)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        scaler = self._accelerator.scaler
        return {
            "weights": {name: tensor.detach() for name, tensor in self._trained.moved.items()},
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        with torch.no_grad():
            for name, tensor in self._trained.moved.items():
                tensor.copy_(state["weights"][name])
        self._trained.put()
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])

    def _moved(self) -> list[Tensor]:
        return list(self._trained.moved.values())

    @contextmanager
    def _thawed(self) -> Iterator[None]:
        for weight in self.weights.values():
            weight.requires_grad_(True)
        yield
        for weight in self.weights.values():
            weight.requires_grad_(False)

    def _taken(self) -> Gradient:
        """The gradients as they are, which are then no more."""
        self._trained.gather()
        taken = []
        for tensor in self._moved():
            taken.append(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            tensor.grad = None
        return taken

    def _move(self) -> None:
        """The end of a batch: after the last of a step what is trained moves."""
        if self._accelerator.sync_gradients:
            self._accelerator.clip_grad_norm_(self._moved(), self._max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._accelerator.sync_gradients:
            self._trained.put()


@contextmanager
def training(
    model: TargetModel, params: TrainingParams, seeds: Seeds, method: str
) -> Iterator[Training]:
    """Train copies of the weights in the model's place; its very own are back afterwards.

    Args:
        model: is trained.
        params: what of it, and how.
        seeds: for what low-rank additions start from.
        method: what messages name.

    Raises:
        DoribError: the precision is not to be had, or attention is to be trained and there is none.
    """
    with model.trainable_copy(gradient_checkpointing=params.gradient_checkpointing) as weights:
        yield Training(model, trainable_of(weights, params, seeds, method), params, method)


def _finite(loss: Tensor) -> Tensor:
    if not loss.isfinite():
        raise ArithmeticError("the loss is not finite; lower learning_rate")
    return loss


def _accelerator(model: TargetModel, params: TrainingParams, method: str) -> Any:
    precision: str = params.mixed_precision
    if precision == "auto":
        precision = _OWN_PRECISION[model.dtype]
    elif precision == "no" and model.dtype != torch.float32:
        raise DoribError(
            f"{method}: mixed_precision=no, but the model computes in half precision; leave it at "
            "auto, or run with --dtype float32"
        )
    on_cpu = model.device.type == "cpu"
    if precision == "fp16" and on_cpu:
        # accelerate would silently compute in full precision.
        raise DoribError(f"{method}: fp16 cannot be trained in on a CPU; set mixed_precision=bf16")
    # accelerate keeps the first settings of a process for all; a run may fit several variants.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=params.gradient_accumulation,
        cpu=on_cpu,
    )
