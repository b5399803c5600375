"""Installing an edit for the length of a `with` block; the weights are never changed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dorib.contracts.edits import (
    Change,
    Edit,
    MaskWeights,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
)
from dorib.errors import DoribError

MEMORY_CAP_BYTES = 256 * 2**20
"""How much the weights removed from one layer, sample by sample, may take at a time."""

Rows = Callable[[], Tensor]
"""Gives the edit's row for each item of the batch in flight, int64 `[B]`."""


@contextmanager
def installed(unet: nn.Module, edit: Edit, rows: Rows) -> Iterator[None]:
    """Run `unet` under `edit`; afterwards the very same parameters are back.

    A global change of weights swaps parameter objects rather than calling the module
    functionally: a functional call ends before gradient checkpointing recomputes, which would
    then use the unedited weights.

    Raises:
        DoribError: the edit was made for another model (a layer is missing or shaped otherwise).
    """
    with ExitStack() as stack:
        if edit.change is not None:
            _install(stack, unet, edit.change, None if edit.scope == "global" else rows)
        yield


def _install(stack: ExitStack, unet: nn.Module, change: Change, rows: Rows | None) -> None:
    if isinstance(change, ReplaceWeights):
        for name, weight in change.weights.items():
            owner, _, parameter = name.rpartition(".")
            stack.enter_context(_swapped(_module(unet, owner), parameter, weight, name))
    elif isinstance(change, MaskWeights):
        for name, indices in change.indices.items():
            layer = linear_layer(unet, name)
            if not all(_within(row, layer.weight.numel()) for row in indices):
                raise DoribError(f"edit: {name} has another size here; fit the edit to this model")
            if rows is None:
                weight = layer.weight.detach().clone()
                weight.view(-1)[indices[0].to(weight.device)] = 0
                stack.enter_context(_swapped(layer, "weight", weight, name))
            else:
                removed = _RemovedWeights(layer.weight.detach(), indices)
                stack.callback(layer.register_forward_hook(_subtract(removed, rows)).remove)
    elif isinstance(change, ScaleOutputs):
        for name, scales in change.scales.items():
            layer = linear_layer(unet, name)
            if scales.shape[-1] != layer.out_features:
                raise DoribError(f"edit: {name} has another width here; fit the edit to this model")
            table = scales.reshape(-1, scales.shape[-1]).to(layer.weight)
            stack.callback(layer.register_forward_hook(_scale(table, rows)).remove)
    else:
        # The target model acts it out around the U-Net.
        assert isinstance(change, SamplingRule)


@contextmanager
def _swapped(module: nn.Module, parameter: str, weight: Tensor, name: str) -> Iterator[None]:
    original = module._parameters.get(parameter)
    if original is None or original.shape != weight.shape:
        raise DoribError(f"edit: {name} does not fit this model; fit the edit to it")
    module._parameters[parameter] = nn.Parameter(weight.to(original), requires_grad=False)
    try:
        yield
    finally:
        module._parameters[parameter] = original


@contextmanager
def float32_copies(unet: nn.Module) -> Iterator[dict[str, nn.Parameter]]:
    """Put float32 copies of all parameters in their place; afterwards the very same are back."""
    originals = dict(unet.named_parameters())
    copies = {
        name: nn.Parameter(weight.detach().to(torch.float32, copy=True), requires_grad=False)
        for name, weight in originals.items()
    }
    try:
        _put(unet, copies)
        yield copies
    finally:
        _put(unet, originals)


def _put(unet: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        owner, _, leaf = name.rpartition(".")
        unet.get_submodule(owner)._parameters[leaf] = parameter


def _within(positions: Tensor, size: int) -> bool:
    return not positions.numel() or (int(positions.min()) >= 0 and int(positions.max()) < size)


class _RemovedWeights:
    """The removed part `W * M_i` of one layer for each sample i, dense only while it is used."""

    def __init__(self, weight: Tensor, indices: tuple[Tensor, ...]) -> None:
        self.weight = weight
        self.indices = [row.to(weight.device) for row in indices]
        bytes_each = weight.numel() * weight.element_size()
        self.chunk = max(1, MEMORY_CAP_BYTES // bytes_each)
        self.table = self._dense(range(len(indices))) if len(indices) <= self.chunk else None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """`[len(rows), d_out, d_in]`."""
        return self.table[rows] if self.table is not None else self._dense(rows.tolist())

    def _dense(self, rows: range | list[int]) -> Tensor:
        flat = self.weight.new_zeros(len(rows), self.weight.numel())
        for position, row in enumerate(rows):
            flat[position, self.indices[row]] = self.weight.reshape(-1)[self.indices[row]]
        return flat.view(len(rows), *self.weight.shape)


def _subtract(removed: _RemovedWeights, rows: Rows) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inputs = arguments[0].reshape(len(output), -1, arguments[0].shape[-1])
        lost = [
            torch.bmm(part, removed[chosen].transpose(1, 2))
            for part, chosen in zip(
                torch.split(inputs, removed.chunk), torch.split(rows(), removed.chunk), strict=True
            )
        ]
        return output - torch.cat(lost).view_as(output)

    return hook


def _scale(table: Tensor, rows: Rows | None) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        if rows is None:
            return output * table[0]
        scales = table[rows()]
        return output * scales.view(len(scales), *[1] * (output.dim() - 2), -1)

    return hook


def _module(unet: nn.Module, name: str) -> nn.Module:
    try:
        return unet.get_submodule(name)
    except AttributeError as error:
        raise DoribError(f"edit: this model has no layer {name}; fit the edit to it") from error


def linear_layer(unet: nn.Module, name: str) -> nn.Linear:
    """The linear layer that an edit calls `name`.

    Raises:
        DoribError: the edit was made for another model.
    """
    module = _module(unet, name)
    if not isinstance(module, nn.Linear):
        raise DoribError(f"edit: {name} is no linear layer here; fit the edit to this model")
    return module
