"""NeMo's localisation against one candidate a forward, the authors' superfluous passes included.

Both sides are timed alternately in one run and find the same neurons.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from dorib.contracts.embeddings import Embeddings, unstacked
from dorib.contracts.seeds import Seeds
from dorib.contracts.views import Target
from dorib.verbs.context import RunContext, Subject
from dorib_nemo import NemoParams
from dorib_nemo.differences import Differences
from dorib_nemo.localisation import refine, schedule, select
from dorib_nemo.mitigation import Search
from dorib_nemo.picks import Picks, activations

ROUNDS = 3
# About what the embedded suite's non-memorized prompts give at the authors' timestep.
PARAMS = NemoParams(timestep=2, threshold=0.78)


@pytest.fixture
def target(context: RunContext) -> Target:
    subject: Subject = context.memorized_of_split[0]
    side = context.model.sampling
    return Target(subject.id, 0, subject.caption, torch.zeros(3, side.height, side.width))


@pytest.fixture
def search(context: RunContext) -> Search:
    """Statistics and noise are there already: a prompt's localisation alone is timed."""
    captions = context.suite.general_captions
    return Search(PARAMS, context.model, captions, Seeds(0, ("fit", "nemo")))


class OneByOne:
    """Judges as the authors' code does: two passes of all seeds a look, the first in vain."""

    def __init__(self, search: Search, first: Differences, prompt: Embeddings) -> None:
        self.search, self.first, self.prompt = search, first, prompt
        self.kept: list[int] = []
        self.last: tuple[Picks, float] | None = None

    def differences(self, candidate: Picks) -> Tensor:
        seeds = range(PARAMS.seeds)
        self.first(self.prompt, 0, seeds, [candidate])
        return self.search.differences(self.prompt, 0, seeds, [candidate])[0]

    def reach(self, below: bool) -> int:
        """One."""
        return 1

    def look_ahead(self, candidates: Sequence[Picks], threshold: float, below: bool) -> None:
        """Never."""

    def similarity(self, candidate: Picks, threshold: float) -> float:
        now = self.differences(candidate)[self.kept]
        value = self.search.similarity(self.unblocked[self.kept], now).max().item()
        self.last = candidate, value
        return value

    def exactly(self, candidate: Picks) -> float:
        """Only asked for what was looked at last."""
        assert self.last is not None
        assert self.last[0] == candidate
        return self.last[1]

    def locate(self) -> Picks:
        """All passes in the authors' order, but for those of the activations, which come last."""
        search = self.search
        nothing: Picks = ((),) * len(search.layers)
        self.unblocked = self.differences(nothing)
        closest = search.similarity.closest(self.unblocked)
        self.kept = (closest > search.threshold).nonzero().flatten().tolist()
        assert self.kept
        activation = [
            layer[0] for layer in activations(search.layers, self.prompt["prompt_embeds"][None])
        ]
        rounds = schedule(PARAMS.theta_start, PARAMS.theta_step, PARAMS.theta_min, 0, compat=False)
        selection = select(
            self,
            list(rounds),
            lambda one: search.statistics.picks(activation, one.theta, one.k, repeat=False),
            search.threshold,
        )
        # Before the refinement the unblocked and the blocked differences are computed once more,
        # after it those of the result; the activations in every round, by the whole U-Net.
        self.differences(nothing)
        self.differences(selection.picks)
        picks = refine(self, selection.picks, selection.threshold)
        self.differences(picks)
        for _ in range(selection.rounds):
            self.first(self.prompt, 0, [0], [nothing])
        return picks


def test_localisation(
    benchmark: BenchmarkFixture, context: RunContext, search: Search, target: Target
) -> None:
    (prompt,) = unstacked(context.model.encode_targets([target]))
    first = Differences(
        context.model,
        search.layers,
        search.noise,
        timestep=1,
        subtract_noise=False,
        batch_size=PARAMS.batch_size,
    )
    seconds: list[float] = []
    # Processor time as well: unlike wall time it does not wait for others on a busy machine.
    processor: tuple[list[float], list[float]] = ([], [])
    expected: list[Picks] = []

    def before_each_round() -> None:
        start, started = time.perf_counter(), time.process_time()
        expected.append(OneByOne(search, first, prompt).locate())
        seconds.append(time.perf_counter() - start)
        processor[0].append(time.process_time() - started)

    def locate() -> tuple[Picks, dict[str, Any]]:
        started = time.process_time()
        located = search.locate(target)
        processor[1].append(time.process_time() - started)
        return located

    found, note = benchmark.pedantic(locate, setup=before_each_round, rounds=ROUNDS)
    assert found == expected[0]
    assert any(note["initial_picks"])
    quickest = min(seconds)
    ratio = quickest / benchmark.stats.stats.min
    processor_ratio = min(processor[0]) / min(processor[1])
    benchmark.extra_info |= {
        "one_by_one_seconds": quickest,
        "ratio": ratio,
        "processor_ratio": processor_ratio,
    }
    print(
        f"\nNeMo: {ratio:.2f} times as fast as one by one ({quickest:.1f} s), by processor time "
        f"{processor_ratio:.2f}; {note['items']}"
    )
