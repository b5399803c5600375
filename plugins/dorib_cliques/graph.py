"""Cliques and components of a graph whose nodes are images, joined where they are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Adjacency = NDArray[np.bool_]
"""Symmetric, `[n, n]`; the diagonal does not count."""


def clique_of(alike: Adjacency) -> list[int]:
    """A large set of nodes that are all joined to each other, in rising order.

    Grown from every node in turn, each time by the node that most of those still possible are
    joined to; the largest that comes of it, the first of equals. Greedy: a clique that cannot be
    grown, though not always the largest there is, which would take exponential time to find.
    """
    joined = alike & ~np.eye(len(alike), dtype=bool)
    best: list[int] = []
    for node in range(len(joined)):
        clique, possible = [node], joined[node].copy()
        while possible.any():
            among = np.where(possible, joined[:, possible].sum(axis=1), -1)
            chosen = int(among.argmax())
            clique.append(chosen)
            possible &= joined[chosen]
        if len(clique) > len(best):
            best = clique
    return sorted(best)


def most_typical(alike: Adjacency, clique: list[int]) -> int:
    """The member of a clique that most nodes, inside or outside, are joined to; the first of
    equals."""
    return clique[int(alike[clique].sum(axis=1).argmax())]


def component_of(alike: Adjacency) -> list[int]:
    """For each node the first node that it is joined to over any number of steps, or itself."""
    leader = list(range(len(alike)))
    for node in range(len(alike)):
        if leader[node] != node:
            continue
        reached, found = [node], {node}
        while reached:
            for other in np.flatnonzero(alike[reached.pop()]).tolist():
                if other not in found:
                    found.add(other)
                    reached.append(other)
        for member in found:
            leader[member] = node
    return leader
