"""Which task a worker is given."""

from __future__ import annotations

import random

import pytest

from dorib.workers.tasks import Schedule, Task


def tasks(rows: int = 3, attacks: int = 2) -> list[Task]:
    return [Task(row, attack) for row in range(rows) for attack in (None, *range(attacks))]


def test_rows_go_side_by_side_the_first_row_first() -> None:
    schedule = Schedule(tasks())
    given = [schedule.next(worker) for worker in range(4)]
    assert given == [Task(0, None), Task(1, None), Task(2, None), Task(0, 0)]


def test_where_few_are_left_several_are_at_one_task() -> None:
    schedule = Schedule(tasks(rows=1, attacks=1))
    given = [schedule.next(worker) for worker in range(4)]
    assert given == [Task(0, None), Task(0, 0)] * 2


def test_who_came_back_from_a_task_is_given_another_until_it_is_offered_again() -> None:
    schedule = Schedule([Task(0, None), Task(0, 0)])
    first, second = schedule.next("a"), schedule.next("b")
    assert first and second
    schedule.returned("b", second, finished=False)
    assert schedule.next("b") == first
    schedule.returned("b", first, finished=False)
    assert schedule.next("b") is None
    schedule.offer_again()
    assert schedule.next("b") == second


def test_what_is_finished_is_given_to_nobody_and_wakes_the_others() -> None:
    schedule = Schedule([Task(0, None), Task(0, 0)])
    first, second = schedule.next("a"), schedule.next("b")
    assert first and second
    schedule.returned("b", second, finished=False)
    schedule.returned("a", first, finished=True)
    assert schedule.open == 1
    assert schedule.next("b") == second


def test_a_lost_workers_task_is_anyones() -> None:
    schedule = Schedule([Task(0, None)])
    task = schedule.next("a")
    assert task
    assert schedule.next("b") == task
    schedule.returned("b", task, finished=False)
    assert schedule.next("b") is None
    schedule.lost(task)
    assert schedule.next("b") == task


def test_nobody_at_work_is_never_nothing_to_do() -> None:
    schedule = Schedule([Task(0, None)])
    for _ in range(3):
        task = schedule.next("a")
        assert task
        # Another run, which this one knows nothing of, is at it.
        schedule.returned("a", task, finished=False)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_workers_come_back_with_everything_is_finished(seed: int) -> None:
    rng = random.Random(seed)
    schedule = Schedule(tasks(rows=4, attacks=3))
    at_work: dict[int, Task] = {}
    finished: list[Task] = []
    for _ in range(10_000):
        for worker in range(6):
            if worker not in at_work and (task := schedule.next(worker)):
                at_work[worker] = task
        if not schedule.open:
            break
        worker = rng.choice(list(at_work))
        task = at_work.pop(worker)
        ending = rng.random()
        if ending < 0.1:
            schedule.lost(task)
        else:
            schedule.returned(worker, task, finished=ending > 0.5)
            finished += [task] if ending > 0.5 else []
    assert set(finished) == set(tasks(rows=4, attacks=3))
