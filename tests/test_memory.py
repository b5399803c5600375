"""A device that runs out of memory."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.reporting import Silent
from dorib.runner import run
from dorib.verbs.memory import within_memory


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def failure(self, text: str, error: BaseException) -> None:
        self.notes.append(text)


def test_a_batch_is_halved_until_it_fits() -> None:
    notes: list[str] = []

    def work(batch: list[int]) -> int:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sum(batch)

    parts = list(within_memory(work, [1, 2, 3, 4, 5], notes.append))
    assert parts == [([1, 2], 3), ([3], 3), ([4, 5], 9)]
    assert [note.split(";")[0] for note in notes] == [
        "out of memory with a batch of 5: going on with 2",
        "out of memory with a batch of 3: going on with 1",
    ]


def test_other_errors_are_not_taken_for_it() -> None:
    def work(batch: list[int]) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(within_memory(work, [1, 2], print))


def test_a_search_goes_on_in_halves_and_its_work_is_that_of_the_last_attempt(
    built_in_plugins: list[EntryPoint], tiny_suite_folder: Path, tmp_path: Path
) -> None:
    registry = discover([*built_in_plugins, EntryPoint("hungry", "fixtures.hungry", "dorib")])
    options = {"suite": str(tiny_suite_folder), "attack": ["hungry"], "seeds": 1, "budgets": [24]}
    heard = Noted()
    result = run(make_config(options | {"out": tmp_path / "out"}), registry, heard)
    plain, entry = (
        next(e for e in result.entries if (e.mitigation.name, e.attack.name) == ("none", attack))
        for attack in ("none", "hungry")
    )
    assert entry.errors == 0
    assert plain.smallest_batch is None
    assert entry.smallest_batch == 1
    assert entry.work.search_mean_memorized == 1
    assert any(note.startswith("out of memory with a batch of 4") for note in heard.notes)
    again = run(make_config(options | {"out": tmp_path / "out"}), registry)
    assert again.reused
    assert again.entries == result.entries
