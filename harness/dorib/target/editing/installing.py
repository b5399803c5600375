"""Installing an edit for the length of a `with` block; the weights are never changed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dorib.contracts.edits import (
    AddLowRank,
    Edit,
    MaskWeights,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
    SingleChange,
)
from dorib.errors import DoribError

MEMORY_CAP_BYTES = 256 * 2**20
"""How much the weights removed from one layer, sample by sample, may take at a time."""

UNET = "unet"
COMPONENTS = UNET, "text_encoder", "text_encoder_2"
"""What an edit can change, by the first part of a name; without one of these it is the U-Net."""

Rows = Callable[[], Tensor]
"""Gives the edit's row for each item of the batch in flight, int64 `[B]`."""


@contextmanager
def installed(components: Mapping[str, nn.Module], edit: Edit, rows: Rows) -> Iterator[None]:
    """Run the `components` (by name, `unet` among them) under `edit`, its sampling rules apart.

    Afterwards the very same parameters are back.

    A global change of weights swaps parameter objects rather than calling the module
    functionally: a functional call ends before gradient checkpointing recomputes, which would
    then use the unedited weights.

    Raises:
        DoribError: the edit was made for another model (a layer is missing or shaped otherwise).
    """
    model = _Components(components)
    with ExitStack() as stack:
        for change in edit.changes:
            _install(stack, model, change, None if edit.scope == "global" else rows)
        yield


class _Components:
    """Modules by the names that edits give them."""

    def __init__(self, components: Mapping[str, nn.Module]) -> None:
        self._components = components

    def module(self, name: str) -> nn.Module:
        component, within = component_of(name)
        root = self._components.get(component)
        if root is None:
            raise DoribError(f"edit: {name}: this model has no {component}; fit the edit to it")
        return _module(root, within)

    def layer(self, name: str, rows: Rows | None) -> nn.Linear:
        if rows is not None and component_of(name)[0] != UNET:
            raise DoribError(f"edit: {name} cannot differ between samples; only U-Net layers can")
        module = self.module(name)
        if not isinstance(module, nn.Linear):
            raise DoribError(f"edit: {name} is no linear layer here; fit the edit to this model")
        return module


def component_of(name: str) -> tuple[str, str]:
    """Which component a module or parameter of an edit belongs to, and its name there."""
    component, _, within = name.partition(".")
    return (component, within) if component in COMPONENTS else (UNET, name)


def _install(stack: ExitStack, model: _Components, change: SingleChange, rows: Rows | None) -> None:
    match change:
        case ReplaceWeights():
            for name, weight in change.weights.items():
                owner, _, parameter = name.rpartition(".")
                stack.enter_context(_swapped(model.module(owner), parameter, weight, name))
        case AddLowRank():
            for name, (up, down) in change.factors.items():
                module = model.module(name)
                weight = _with_low_rank(module, up, down, name)
                stack.enter_context(_swapped(module, "weight", weight, name))
        case MaskWeights():
            for name, indices in change.indices.items():
                _mask(stack, model.layer(name, rows), indices, rows, name)
        case ScaleOutputs():
            for name, scales in change.scales.items():
                layer = model.layer(name, rows)
                if scales.shape[-1] != layer.out_features:
                    raise DoribError(
                        f"edit: {name} has another width here ({layer.out_features}, not "
                        f"{scales.shape[-1]}); fit the edit to this model"
                    )
                table = scales.reshape(-1, scales.shape[-1]).to(layer.weight)
                stack.callback(layer.register_forward_hook(_scale(table, rows)).remove)
        case SamplingRule():
            # The target model acts it out.
            pass


def _with_low_rank(module: nn.Module, up: Tensor, down: Tensor, name: str) -> Tensor:
    weight = module._parameters.get("weight")
    if (
        weight is None
        or up.shape[0] != weight.shape[0]
        or up.shape[1:] != down.shape[:1]
        or down[0].numel() != weight[0].numel()
    ):
        raise DoribError(f"edit: {name} does not fit this model; fit the edit to it")
    # The product of small factors is rounded once, with the weight.
    product = up.to(weight.device, torch.float32) @ down.to(weight.device, torch.float32).flatten(1)
    return (weight.detach().float() + product.view_as(weight)).to(weight.dtype)


def _mask(
    stack: ExitStack, layer: nn.Linear, indices: tuple[Tensor, ...], rows: Rows | None, name: str
) -> None:
    if not all(_within(row, layer.weight.numel()) for row in indices):
        raise DoribError(f"edit: {name} has another size here; fit the edit to this model")
    if rows is None:
        weight = layer.weight.detach().clone()
        weight.view(-1)[indices[0].to(weight.device)] = 0
        stack.enter_context(_swapped(layer, "weight", weight, name))
    else:
        removed = _RemovedWeights(layer, indices)
        stack.callback(layer.register_forward_hook(_subtract(removed, rows)).remove)


@contextmanager
def _swapped(module: nn.Module, parameter: str, weight: Tensor, name: str) -> Iterator[None]:
    original = module._parameters.get(parameter)
    if original is None:
        raise DoribError(
            f"edit: {name} does not fit this model, which has no such parameter; fit the edit to "
            "it, and name parameters in full, `.weight` or `.bias` included"
        )
    if original.shape != weight.shape:
        raise DoribError(
            f"edit: {name} does not fit this model: its shape is {[*weight.shape]}, and here "
            f"{[*original.shape]}; fit the edit to it"
        )
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

    def __init__(self, layer: nn.Linear, indices: tuple[Tensor, ...]) -> None:
        self.layer = layer
        self.indices = [row.to(layer.weight.device) for row in indices]
        bytes_each = layer.weight.numel() * layer.weight.element_size()
        self.chunk = max(1, MEMORY_CAP_BYTES // bytes_each)
        self._made_of: Tensor | None = None
        self._table: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """`[len(rows), d_out, d_in]`."""
        # While the weight is trained its removed part has no gradient, and changes with it.
        if len(self.indices) > self.chunk or self.layer.weight.requires_grad:
            return self._dense(rows.tolist())
        # An edit on top may have put another weight in this one's place.
        if self._table is None or self._made_of is not self.layer.weight:
            self._made_of = self.layer.weight
            self._table = self._dense(range(len(self.indices)))
        return self._table[rows]

    def _dense(self, rows: range | list[int]) -> Tensor:
        weight = self.layer.weight
        flat = weight.new_zeros(len(rows), weight.numel())
        for position, row in enumerate(rows):
            flat[position, self.indices[row]] = weight.reshape(-1)[self.indices[row]]
        return flat.view(len(rows), *weight.shape)


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


def _module(root: nn.Module, name: str) -> nn.Module:
    try:
        return root.get_submodule(name)
    except AttributeError as error:
        raise DoribError(f"edit: this model has no layer {name}; fit the edit to it") from error


def linear_layer(unet: nn.Module, name: str) -> nn.Linear:
    """The linear layer of the U-Net that an edit calls `name`.

    Raises:
        DoribError: the edit was made for another model.
    """
    return _Components({UNET: unet}).layer(name, None)
