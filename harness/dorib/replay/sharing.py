"""Further processes on this machine that replay the same rows into the same store."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dorib.errors import DoribError
from dorib.host.processors import threads_of_one_of
from dorib.replay.replaying import Replay
from dorib.reporting import Reporter


@contextmanager
def shared_by(workers: int, prepare: Callable[[], Replay], reporter: Reporter) -> Iterator[None]:
    """Have others at work, within, on the same replay; this process is the first of `workers`.

    Args:
        workers: how many, with this one; each has its share of the processors as threads.
        prepare: makes the replay in another process, so it can be pickled.
        reporter: is told where another was lost. What it would have done this process does.
    """
    # Started anew: a process that is forked from one that has threads may wait for them for ever.
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_work, args=(prepare, worker, workers), daemon=True)
        for worker in range(1, workers)
    ]
    for process in others:
        process.start()
    try:
        with threads_of_one_of(workers):
            yield
        if any(process.exitcode for process in others):
            reporter.note("a worker was lost; the others did what was its")
    finally:
        for process in others:
            process.terminate()
            process.join()


def _work(prepare: Callable[[], Replay], worker: int, workers: int) -> None:
    # A key that stops the first process reaches all; that one stops the others by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    with threads_of_one_of(workers):
        try:
            for _ in prepare().share(worker, workers):
                if parent is None or not parent.is_alive():
                    return
        except DoribError:
            # The first process meets the same, and tells it.
            return
