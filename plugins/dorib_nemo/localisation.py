"""The procedure: pick generously, then unblock what is not needed. Source: Hintersdorf et al. 2024.

Both parts take decisions in a fixed order. The judge looks ahead along the decisions as they are
expected; the first that comes out otherwise makes what lies beyond it void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dorib_nemo.judge import Judge
from dorib_nemo.picks import Picks, without_layer, without_neuron

Unblock = Callable[[Picks], Picks]
"""Takes one layer or one neuron out of the picks."""


@dataclass(frozen=True)
class Round:
    """One round of the initial selection."""

    theta: float
    k: int


@dataclass(frozen=True)
class Selection:
    """How the initial selection ended."""

    round: Round
    rounds: int
    picks: Picks
    accepted: bool
    threshold: float
    """What the refinement goes by: where no round was accepted, the last one's similarity."""


def schedule(
    theta_start: float, theta_step: float, theta_min: float, widest: int, compat: bool
) -> Iterator[Round]:
    """The rounds until one is accepted.

    As the authors have it, `theta_min` is compared by equality, before it is tried, and `k` may
    grow up to the widest layer (1280 there).
    """
    if not compat:
        index = 0
        while theta_start - index * theta_step > theta_min:
            yield Round(theta_start - index * theta_step, index)
            index += 1
        yield Round(min(theta_start, theta_min), index)
        return
    theta, k = theta_start, 0
    while True:
        yield Round(theta, k)
        if theta > theta_min:
            theta -= theta_step
        k += 1
        if theta == theta_min or k >= widest:
            return


def select(
    judge: Judge, rounds: Sequence[Round], choose: Callable[[Round], Picks], threshold: float
) -> Selection:
    """The first round that brings the similarity to `threshold` or below, else the last."""
    choices = [choose(one) for one in rounds]
    ahead = 1
    position = 0
    while position < len(rounds):
        chain = range(position, min(position + ahead, len(rounds)))
        judge.look_ahead([choices[i] for i in chain], threshold, below=False)
        for i in chain:
            if judge.similarity(choices[i], threshold) <= threshold:
                return Selection(rounds[i], i + 1, choices[i], True, threshold)
        position += ahead
        ahead = min(2 * ahead, judge.reach(below=False))
    last = choices[-1]
    return Selection(rounds[-1], len(rounds), last, False, judge.exactly(last))


def refine(judge: Judge, picks: Picks, threshold: float) -> Picks:
    """Unblock, from the last layer to the first, whole layers and then single neurons.

    What is unblocked stays so if the similarity remains below `threshold`.
    """
    layers = [_layer(layer) for layer in reversed(range(len(picks))) if picks[layer]]
    picks = _unblock_in_order(judge, picks, layers, threshold)
    neurons = [
        _neuron(layer, neuron) for layer in reversed(range(len(picks))) for neuron in picks[layer]
    ]
    return _unblock_in_order(judge, picks, neurons, threshold)


def _unblock_in_order(
    judge: Judge, picks: Picks, tests: Sequence[Unblock], threshold: float
) -> Picks:
    position, ahead, expected = 0, 1, True
    while position < len(tests):
        chain: list[Picks] = []
        assumed = picks
        for unblock in tests[position : position + ahead]:
            chain.append(unblock(assumed))
            assumed = chain[-1] if expected else assumed
        judge.look_ahead(chain, threshold, below=expected)
        ahead = min(2 * ahead, judge.reach(below=expected))
        for candidate in chain:
            harmless = judge.similarity(candidate, threshold) < threshold
            picks = candidate if harmless else picks
            position += 1
            if harmless != expected:
                expected, ahead = harmless, 1
                break
    return picks


def _layer(layer: int) -> Unblock:
    return lambda picks: without_layer(picks, layer)


def _neuron(layer: int, neuron: int) -> Unblock:
    return lambda picks: without_neuron(picks, layer, neuron)
