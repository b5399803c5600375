"""Calling a plugin: whatever goes wrong in it is its own failure, and said with its name."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch

from dorib.host.admission import AdmissionError

if TYPE_CHECKING:
    from dorib.host.configure import Configured


class PluginError(Exception):
    """A plugin raised, or handed over what it must not; the message is a record's reason."""


class Stopped(KeyboardInterrupt):
    """The user's interrupt, as opposed to one that a plugin raises."""


@contextmanager
def of_plugin(method: Configured) -> Iterator[None]:
    """Around a call of `method`'s code.

    Raises:
        PluginError: the plugin raised anything at all, `SystemExit` and `DoribError` included.
        torch.OutOfMemoryError: as it came, since a smaller batch may do.
        KeyboardInterrupt: the user's.
    """
    try:
        yield
    except (torch.OutOfMemoryError, Stopped, PluginError):
        raise
    except KeyboardInterrupt as error:
        if not _told_apart():
            raise
        raise _failure(method, error) from error
    except (Exception, SystemExit) as error:
        raise _failure(method, error) from error


def _failure(method: Configured, error: BaseException) -> PluginError:
    text = " ".join(str(error).split()) or "no message"
    if not isinstance(error, AdmissionError):
        text = f"{type(error).__name__}: {text}"
    return PluginError(f"{method.title}: {text}")


@contextmanager
def interrupts_told_apart() -> Iterator[None]:
    """Make the user's interrupt a `Stopped` inside, so that a plugin's own is not taken for it.

    Only the main thread can: elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped


def _told_apart() -> bool:
    return signal.getsignal(signal.SIGINT) is _stop


@contextmanager
def fenced_randomness() -> Iterator[list[str]]:
    """Keep the global generators as they were.

    Gives a list that holds, after the block, the libraries whose global generator was used in it.
    """
    used: list[str] = []
    python, numpy, cpu = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    devices = _accelerator_states()
    try:
        yield used
    finally:
        if random.getstate() != python:
            used.append("random")
            random.setstate(python)
        if not _same_numpy_state(numpy, np.random.get_state(legacy=True)):
            used.append("numpy")
            np.random.set_state(numpy)
        if not torch.equal(torch.get_rng_state(), cpu):
            used.append("torch")
            torch.set_rng_state(cpu)
        for device, state in devices.items():
            if not torch.equal(torch.get_device_module(device).get_rng_state(), state):
                used.append(f"torch on {device}")
                torch.get_device_module(device).set_rng_state(state)


def _same_numpy_state(one: object, other: object) -> bool:
    assert isinstance(one, tuple) and isinstance(other, tuple)
    return one[2:] == other[2:] and bool(np.array_equal(one[1], other[1]))


def _accelerator_states() -> dict[str, torch.Tensor]:
    """By device type, the state of the current accelerator's global generator."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return {}
    return {device.type: torch.get_device_module(device).get_rng_state()}
