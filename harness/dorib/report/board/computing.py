"""How long a run computed, and how much: told beside its results and never in them."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from dorib.reporting import Advance, Reporter
from dorib.store.files import write_json

RUN_FILE = "run.json"
COUNTED = ("mitigate", "attack", "generate")
"""The verbs whose work is told in U-Net items; `generate` tells images."""


class Stopwatch:
    """A reporter that passes on what it hears, and adds up time and work of the verbs."""

    def __init__(self, reporter: Reporter, now: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._now = now
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._units: Counter[str] = Counter()

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """A verb starts."""
        began = self._now()

        def count(units: int) -> None:
            self._units[name] += units
            advance(units)

        try:
            with self._reporter.verb(name, subject, total) as advance:
                yield count
        finally:
            self._seconds[name] += self._now() - began

    def note(self, text: str) -> None:
        """Pass a note on."""
        self._reporter.note(text)

    def failure(self, text: str, error: BaseException) -> None:
        """Pass a failure on."""
        self._reporter.failure(text, error)

    def taken(self, items_of_an_image: int) -> dict[str, float] | None:
        """Hours since this was last asked, U-Net items and items a second; None where nothing was
        computed. Items are counted as work is: a forward is 1, a backward 2 more."""
        seconds, units = self._seconds, self._units
        self._seconds, self._units = defaultdict(float), Counter()
        if not seconds:
            return None
        items = units["mitigate"] + units["attack"] + units["generate"] * items_of_an_image
        found = {"hours": round(sum(seconds.values()) / 3600, 6)}
        counted = sum(seconds[name] for name in COUNTED)
        if items and counted:
            found |= {"items": items, "items_per_second": round(items / counted, 3)}
        return found


def add_computed(into: dict[str, dict[str, Any]], found: Mapping[str, dict[str, Any]]) -> None:
    """Add what was computed elsewhere, on a machine alike, by the name of the mitigation or cell.

    Of what both computed a part, hours and items are those of both.
    """
    for name, one in found.items():
        into[name] = _added_up(into[name], one) if name in into else one


def _added_up(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**other, **one, "hours": round(one["hours"] + other["hours"], 6)}
    counted = [of for of in (one, other) if of.get("items")]
    if counted:
        both["items"] = sum(of["items"] for of in counted)
        seconds = sum(of["items"] / of["items_per_second"] for of in counted)
        both["items_per_second"] = round(both["items"] / seconds, 3)
    return both


def processor_name(device: torch.device) -> str:
    """Of the card that `device` is, or of the processor."""
    if device.type != "cpu":
        with suppress(AttributeError, RuntimeError, AssertionError):
            return str(torch.get_device_module(device.type).get_device_name(device))
        return device.type
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"


def read_run_file(out: Path) -> dict[str, Any]:
    """What `run.json` in a run's folder says; nothing where there is none that can be read."""
    try:
        content = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not str(content.get("board")).isalnum():
        return {}
    return content


def write_run_file(
    out: Path, board: str, computed: dict[str, dict[str, Any]], there: set[str]
) -> None:
    """Add to `run.json` what was computed; of cells that are not `there` any more, nothing.

    Raises:
        OSError: the disk is full or not writable.
    """
    before = read_run_file(out).get("computed")
    kept = before if isinstance(before, dict) else {}
    both = {name: value for name, value in (kept | computed).items() if name in there}
    write_json(out / RUN_FILE, {"board": board, "computed": both})
