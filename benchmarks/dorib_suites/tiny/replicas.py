"""Two halves of a batch at a time: a U-Net this small does not fill two cores with one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

PieceLoss = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
"""The mean loss of one piece of a batch."""


class Replicas:
    """Copies of a network that share its weights, each differentiated in a thread of its own.

    On a CPU with two threads or more there are two, which trains a quarter faster than one with
    all threads; elsewhere the network itself is the only one.
    """

    def __init__(self, network: nn.Module) -> None:
        threads = torch.get_num_threads()
        on_cpu = next(network.parameters()).device.type == "cpu"
        count = 2 if on_cpu and threads >= 2 else 1
        self._network = network
        self._replicas = [copy.deepcopy(network).train() for _ in range(count)]
        for replica in self._replicas:
            for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
                own.data = shared.data
        self._pool = ThreadPoolExecutor(
            count, initializer=torch.set_num_threads, initargs=(max(1, threads // count),)
        )

    def backward(self, batch: Sequence[Tensor], loss: PieceLoss) -> float:
        """Add the gradients of `loss`, averaged over the batch, to the network; gives the loss.

        The first dimension of each tensor in `batch` is divided among the replicas.
        """
        total = len(batch[0])
        pieces = list(zip(*(t.chunk(len(self._replicas)) for t in batch), strict=True))

        def differentiate(replica: nn.Module, piece: tuple[Tensor, ...]) -> float:
            value = loss(replica, piece) * (len(piece[0]) / total)
            value.backward()  # type: ignore[no-untyped-call]
            return value.item()

        values = list(self._pool.map(differentiate, self._replicas, pieces))
        with torch.no_grad():
            for replica in self._replicas:
                for own, shared in zip(
                    replica.parameters(), self._network.parameters(), strict=True
                ):
                    if own.grad is not None:
                        shared.grad = own.grad if shared.grad is None else shared.grad + own.grad
                        own.grad = None
        return sum(values)
