"""Whether a pipeline is as it was: its weights, buffers, hooks, modes and attention processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

State = Mapping[str, object]
"""What is looked at, by name; two states are compared entry by entry."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def state_of(pipeline: Any) -> State:
    """What `changed` compares: one pass over all weights, none of which is kept."""
    state: dict[str, object] = {"scheduler": _scheduler(pipeline.scheduler)}
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        module = getattr(pipeline, part, None)
        if module is not None:
            state |= {f"{part}: {name}": value for name, value in _module_state(module)}
    return state


def changed(before: State, after: State) -> str | None:
    """What differs, in words; None where nothing does."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not names:
        return None
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _module_state(root: nn.Module) -> Iterator[tuple[str, object]]:
    for name, module in root.named_modules():
        where = name or "the module itself"
        yield f"hooks of {where}", tuple(tuple(getattr(module, kind)) for kind in _HOOKS)
        yield f"mode of {where}", module.training
        yield f"forward of {where}", id(vars(module).get("forward"))
        # Not by getattr, which is slow where a module has none.
        processor = vars(module).get("processor") or module._modules.get("processor")
        if processor is not None:
            yield f"attention processor of {where}", id(processor)
        # Modules beside those of the model may hide in plain attributes; parameters cannot.
        for leaf, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None:
                yield f"weights {where}.{leaf}", _tensor_state(value)


def _tensor_state(value: Tensor) -> tuple[object, ...]:
    """Identity, version and content; changes through `.data` show in the content alone."""
    if value.is_meta:
        # Offloaded: its values come, as other objects, when they are needed.
        return (value.shape,)
    return id(value), value._version, value.requires_grad, _checksum(value)


def _checksum(value: Tensor) -> int:
    flat, size = value.detach().reshape(-1), value.element_size()
    # Eight bytes at a time where they lie so: an addition or two each, and no conversion.
    whole = flat.numel() * size % 8 == 0 and flat.storage_offset() * size % 8 == 0
    bits = flat.view(torch.int64 if whole else _BITS[size])
    # By row and by column of a square, so that values that change places are noticed as well.
    side = isqrt(len(bits))
    square, rest = bits[: side * side].view(side, side), bits[side * side :]
    sums = [square.sum(dim, dtype=torch.int64) for dim in (0, 1)]
    return hash(torch.cat([*sums, rest.to(torch.int64)]).cpu().numpy().tobytes())


def _scheduler(scheduler: Any) -> tuple[object, ...]:
    return id(scheduler), repr(sorted(scheduler.config.items(), key=lambda item: item[0]))
