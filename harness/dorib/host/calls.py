"""Calling a plugin: whatever goes wrong in it is its own failure, and said with its name."""

from __future__ import annotations

import random
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import torch

from dorib.errors import DoribError
from dorib.host.admission import AdmissionError

if TYPE_CHECKING:
    from dorib.host.configure import Configured


class PluginError(Exception):
    """A plugin raised, or handed over what it must not; the message is a record's reason."""


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
    except (torch.OutOfMemoryError, PluginError):
        raise
    except KeyboardInterrupt as error:
        if not _WATCH.watching or _WATCH.came:
            raise
        raise _failure(method, error) from error
    except (Exception, SystemExit) as error:
        raise _failure(method, error) from error


@contextmanager
def before_work() -> Iterator[None]:
    """Around a call that is made before any work: what went wrong is the user's to mend.

    Raises:
        DoribError: the plugin failed; its own, where it raised one.
    """
    try:
        yield
    except PluginError as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, DoribError) else DoribError(str(error))) from error


def _failure(method: Configured, error: BaseException) -> PluginError:
    text = " ".join(str(error).split()) or "no message"
    if not isinstance(error, AdmissionError):
        text = f"{type(error).__name__}: {text}"
    if not isinstance(error, AdmissionError | DoribError):
        text = f"{text}{_place(method, error)}"
    return PluginError(f"{method.title}: {text}")


def _place(method: Configured, error: BaseException) -> str:
    """The last of the plugin's own lines that was left; nothing if it has none in it."""
    package = method.registration.target.partition(":")[0].partition(".")[0]
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            parts = Path(frame.f_code.co_filename).parts
            within = parts[parts.index(package) :] if package in parts else parts[-1:]
            place = f" ({'/'.join(within)}:{line})"
    return place


class _Watch:
    """Whether interrupts are watched for, and whether one has come."""

    watching = False
    came = False


_WATCH = _Watch()


@contextmanager
def interrupts_told_apart() -> Iterator[None]:
    """Notice the user's interrupts inside, so that one that a plugin raises is not taken for them.

    Whatever handles the signal goes on handling it. Only the main thread can watch: elsewhere
    nothing is changed, and every interrupt counts as the user's.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    if _WATCH.watching or before is None:
        yield
        return

    def notice(number: int, frame: FrameType | None) -> None:
        _WATCH.came = True
        if callable(before):
            before(number, frame)

    _WATCH.watching, _WATCH.came = True, False
    # Ignored, as in a background job, or left to the system: no exception comes of it anyway.
    if callable(before):
        signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _WATCH.watching = False


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
