"""What torch holds for the whole process: kept as it was around a plugin's call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def fenced_settings() -> Iterator[list[str]]:
    """Keep torch's settings as they were.

    Gives a list that holds, after the block, those that were otherwise at its end.
    """
    changed: list[str] = []
    before = {name: get() for name, (get, _) in _SETTINGS.items()}
    try:
        yield changed
    finally:
        for name, (get, put_back) in _SETTINGS.items():
            if get() != before[name]:
                changed.append(name)
                put_back(before[name])


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(mode: tuple[bool, bool]) -> None:
    enabled, warn_only = mode
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _set_device(device: torch.device) -> None:
    # Set by name, the processor would slow each call that makes a tensor.
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_grad_mode(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


_SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "default number format": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, _set_device),
    "gradient mode": (torch.is_grad_enabled, _set_grad_mode),
    "choice of deterministic algorithms": (_deterministic, _set_deterministic),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
}
